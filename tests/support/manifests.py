"""Random manifests: all that a file can say, with names that YAML would rather read as something else."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from hypothesis import strategies as st

from policy_service.cli.manifest import Manifest, MemberEntry, TeamEntry
from policy_service.domain.names import entry_problem, group_name_problem, identifier_problem, plain_name_problem
from policy_service.domain.records import (
    INHERIT,
    AccessGroup,
    Member,
    MemberLimits,
    Mode,
    Model,
    ModelScope,
    Role,
    ScopeSource,
    Team,
    UnlistedUsers,
)
from policy_service.domain.rules import LIMIT_NAMES

AWKWARD = (
    *("null", "NULL", "~", "true", "on", "No", "y", "1", "010", "1_0", "0x1f", "0b1", "1e5", "1.", ".5", ".inf", "-1"),
    *("12:30:00", "2026-01-01", "=", "<<", "-", "--", "---", "...", "- a", "-a", "?", "? a", ":", "a:", ": a", "a: b"),
    *("#", "a #b", "a#b", "[a", "a]", "{a}", "a,b", "&a", "!a", "!!str a", "%a", "@a", "`a`", "|", ">", "|-", "a\\nb"),
    *("'", "''", '"', 'a"b', "it's", "'a'", '"a"', "\\", "a\\", "a  b", "*", "*a", "a/*", "a/b", "é", "É", "ß", "中"),
    *(
        "😀",
        "a😀b",
        "👩🏽",
        "\u00a0b".strip(),
        "a\u00a0b",
        "\ue000",
        "\ufffd",
        "\ufffe",
        "\U0010ffff",
        "\u0301",
        "z" * 256,
    ),
)
BUDGETS = (0.0, 5e-324, 1e-7, 0.1, 0.30000000000000004, 1.0, 12.5, 1e15, 1e16, 1e22, 123456789.123456789, 1.7e308)


def texts(problem: Callable[[str], str | None]) -> st.SearchStrategy[str]:
    """Texts with which nothing is wrong."""
    usual = st.sampled_from([text for text in AWKWARD if problem(text) is None])
    return st.one_of(usual, usual, st.text(max_size=12).filter(lambda text: problem(text) is None))


names, entries = texts(identifier_problem), texts(entry_problem)
plain_names, group_names = texts(plain_name_problem), texts(group_name_problem)
labels = st.dictionaries(names, st.one_of(st.just(""), names), max_size=3)
some_entries = st.lists(entries, min_size=1, max_size=4).map(tuple)
exclusions = st.one_of(st.just(()), some_entries)
limits = st.builds(
    MemberLimits,
    st.one_of(st.none(), st.sampled_from(BUDGETS), st.floats(0, allow_infinity=False).map(abs)),
    st.one_of(st.none(), names),
    st.one_of(st.none(), st.sampled_from((0, 1, 2**63 - 1))),
    st.one_of(st.none(), st.integers(0, 2**63 - 1)),
)


def scopes(*modes: Mode) -> st.SearchStrategy[ModelScope]:
    return st.sampled_from(modes).flatmap(
        lambda mode: st.builds(
            ModelScope, st.just(mode), some_entries if mode is Mode.ONLY else st.just(()), exclusions
        )
    )


member_scopes = scopes(Mode.INHERIT, Mode.NONE, Mode.ONLY)


def _member_entry(member: Member, has_scope: bool, seeded: bool, unset: frozenset[str]) -> MemberEntry:
    source = ScopeSource.SEEDED if seeded or not has_scope else ScopeSource.EXPLICIT
    member = replace(member, scope_source=source, allowed_models=member.allowed_models if has_scope else INHERIT)
    return MemberEntry(member, has_scope, frozenset(name for name in unset if getattr(member.limits, name) is None))


member_entries = st.builds(
    _member_entry,
    st.builds(
        Member,
        team=st.just(""),
        user=names,
        role=st.sampled_from(Role),
        allowed_models=member_scopes,
        limits=limits,
        blocked=st.booleans(),
        labels=labels,
    ),
    st.booleans(),
    st.booleans(),
    st.frozensets(st.sampled_from(LIMIT_NAMES)),
)
teams = st.builds(
    Team,
    id=names,
    display_name=st.one_of(st.none(), st.just(""), names),
    models=scopes(Mode.ALL, Mode.NONE, Mode.ONLY),
    default_team_member_models=st.one_of(st.just(INHERIT), member_scopes),
    default_member_limits=limits,
    model_aliases=st.dictionaries(plain_names, plain_names, max_size=3),
    blocked=st.booleans(),
    unlisted_users=st.sampled_from(UnlistedUsers),
    labels=labels,
)


def _team_entry(team: Team, members: list[MemberEntry] | None) -> TeamEntry:
    if members is None:
        return TeamEntry(team, None)
    return TeamEntry(team, tuple(entry._replace(member=replace(entry.member, team=team.id)) for entry in members))


team_entries = st.builds(
    _team_entry,
    teams,
    st.one_of(st.none(), st.lists(member_entries, max_size=4, unique_by=lambda entry: entry.member.user)),
)
groups = st.builds(AccessGroup, name=group_names, models=some_entries, excluded_models=exclusions)
models = st.builds(Model, name=plain_names, provider=plain_names, labels=labels)


def _manifest(
    listed: Iterable[Model] | None, grouped: Iterable[AccessGroup] | None, found: Iterable[TeamEntry] | None
) -> Manifest:
    """A name is not both a group and something else."""
    taken = {group.name for group in grouped or ()}

    def without_taken(team: Team) -> Team:
        return replace(team, model_aliases={name: to for name, to in team.model_aliases.items() if name not in taken})

    return Manifest(
        None if listed is None else tuple(model for model in listed if model.name not in taken),
        None if grouped is None else tuple(grouped),
        None if found is None else tuple(entry._replace(team=without_taken(entry.team)) for entry in found),
    )


manifests = st.builds(
    _manifest,
    st.one_of(st.none(), st.lists(models, max_size=4, unique_by=lambda model: model.name)),
    st.one_of(st.none(), st.lists(groups, max_size=3, unique_by=lambda group: group.name)),
    st.one_of(st.none(), st.lists(team_entries, max_size=3, unique_by=lambda entry: entry.team.id)),
).filter(lambda manifest: manifest != Manifest(None, None, None))
