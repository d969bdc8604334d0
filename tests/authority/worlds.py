"""Random mutations out of few names, most of them valid, so that they collide."""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import strategies as st

from policy_service.domain.records import INHERIT, MemberLimits, Mode, ModelScope, Role, ScopeSource, UnlistedUsers
from tests.authority.calls import (
    Call,
    add_member,
    batch_add,
    create_team,
    delete_group,
    delete_models,
    delete_team,
    remove_member,
    reseed,
    set_group,
    update_member,
    update_team,
    upsert,
)
from tests.store.support import NONE, group, member, model, only, seeded, team

TEAMS = ("t", "é")
USERS = ("ann", "bob", "😀")
GROUPS = ("g", "h")
MODELS = ("a", "A", "p/a", "b", "fast")
ALIASES = ("fast", "FAST", "a")
PROVIDERS = ("p", "q", "P")
ENTRIES = (*MODELS, *GROUPS, "p/*", "P/*", "*", "q*", "c")
ASKED = (*MODELS, *ALIASES, *GROUPS, "q/b", "B", "c")
QUESTIONS = tuple((name, user, asked) for name in TEAMS for user in ("", *USERS) for asked in ASKED)


class Sent(NamedTuple):
    """A call as it is sent."""

    call: Call
    request_id: str = ""
    validate_only: bool = False


class Again(NamedTuple):
    """Sends one of the last calls again."""

    back: int


class Wait(NamedTuple):
    """Lets time pass."""

    hours: int


class Restart(NamedTuple):
    """Closes the database and opens it again."""


Step = Sent | Again | Wait | Restart

BEGINNING = (
    upsert(model("a"), model("b", "q"), model("p/a", "q")),
    set_group(group("g", "a", "p/*", excluded=("b",))),
    create_team(team("t", default_team_member_models=only("g")), seeded("t", "ann"), member("t", "bob", NONE)),
    create_team(
        team("é", only("g", "b"), model_aliases={"fast": "a"}, unlisted_users=UnlistedUsers.TEAM_SCOPE),
        member("é", "ann"),
        member("é", "bob", only("b")),
    ),
)


def often(usual: tuple[str, ...], rare: str) -> st.SearchStrategy[str]:
    return st.sampled_from((*usual * 5, rare))


team_names, users, groups = st.sampled_from(TEAMS), st.sampled_from(USERS), st.sampled_from(GROUPS)
entries = st.lists(st.sampled_from(ENTRIES), min_size=1, max_size=3).map(tuple)
excluded = st.one_of(st.just(()), st.just(()), entries)
limit = st.sampled_from((None, 0, 7, 2**63 - 1))
amount = st.sampled_from((None, 0.0, 0.1))
duration = st.sampled_from((None, "1d"))
limits = st.one_of(st.just(MemberLimits()), st.builds(MemberLimits, amount, duration, limit, limit))
labels = st.sampled_from(({}, {}, {"k": ""}, {"k": '"\\', "é": "😀"}))
flag = st.sampled_from((False, False, True))
force = st.booleans()
etags = st.sampled_from(("", "", "", "", "current", "current", "old"))
unlisted = st.sampled_from(UnlistedUsers)
aliases = st.dictionaries(often(ALIASES, "h"), st.sampled_from(MODELS), max_size=2)


def scopes(*modes: Mode) -> st.SearchStrategy[ModelScope]:
    """Scopes of these modes, and now and then one that breaks a rule."""
    valid = st.sampled_from(modes).flatmap(
        lambda mode: st.builds(ModelScope, st.just(mode), entries if mode is Mode.ONLY else st.just(()), excluded)
    )
    return st.integers(0, 29).flatmap(lambda roll: st.just(ModelScope(Mode.ONLY)) if roll == 29 else valid)


team_scopes = scopes(Mode.ALL, Mode.ALL, Mode.ONLY, Mode.ONLY, Mode.NONE)
member_scopes = scopes(Mode.INHERIT, Mode.ONLY, Mode.ONLY, Mode.NONE)
new_teams = st.builds(
    team,
    team_names,
    team_scopes,
    display_name=st.sampled_from((None, "", "T")),
    default_team_member_models=member_scopes,
    default_member_limits=limits,
    model_aliases=aliases,
    blocked=flag,
    unlisted_users=unlisted,
    labels=labels,
)


def new_member(team_name: str, user: str) -> st.SearchStrategy:  # type: ignore[type-arg]
    return st.builds(
        member,
        st.just(team_name),
        st.just(user),
        st.one_of(st.just(INHERIT), member_scopes),
        scope_source=st.sampled_from(ScopeSource),
        role=st.sampled_from(Role),
        limits=limits,
        blocked=flag,
        labels=labels,
    )


def batch(least: int) -> st.SearchStrategy:  # type: ignore[type-arg]
    """New members with different names, but for a bad one now and then."""
    names = st.lists(often(USERS, ""), min_size=least, max_size=3, unique=True)
    return names.flatmap(lambda found: st.tuples(*(new_member("", user) for user in found)))


new_models = st.lists(
    st.builds(model, often(MODELS, "g"), st.sampled_from(PROVIDERS), labels=labels),
    min_size=1,
    max_size=3,
    unique_by=lambda new: new.name,
)
team_patches = st.fixed_dictionaries(
    {},
    optional={
        "display_name": st.sampled_from((None, "U")),
        "models": team_scopes,
        "default_team_member_models": member_scopes,
        "default_member_limits.max_budget_in_team": amount,
        "default_member_limits.tpm_limit": limit,
        "model_aliases": aliases,
        "blocked": flag,
        "unlisted_users": unlisted,
        "labels": labels,
    },
)
member_patches = st.fixed_dictionaries(
    {},
    optional={
        "role": st.sampled_from(Role),
        "allowed_models": st.one_of(st.none(), member_scopes),
        "limits.rpm_limit": limit,
        "limits.budget_duration": duration,
        "blocked": flag,
        "labels": labels,
    },
)

creating_teams = st.builds(lambda new, first: create_team(new, *first), new_teams, batch(0))
updating_teams = st.builds(lambda name, etag, patch: update_team(name, etag, **patch), team_names, etags, team_patches)
deleting_teams = st.builds(delete_team, team_names, etags, force)
adding = st.builds(new_member, team_names, users).flatmap(lambda new: new).map(add_member)
adding_batches = st.builds(lambda name, new: batch_add(name, *new), team_names, batch(1))
updating_members = st.builds(
    lambda name, user, etag, patch: update_member(name, user, etag, **patch), team_names, users, etags, member_patches
)
removing = st.builds(remove_member, team_names, users, etags, force)
reseeding = st.builds(reseed, team_names)
setting_groups = st.builds(
    lambda name, listed, without, etag: set_group(group(name, *listed, excluded=without), etag),
    groups,
    entries,
    excluded,
    etags,
)
deleting_groups = st.builds(delete_group, groups, etags, force)
upserting = new_models.map(lambda new: upsert(*new))
deleting_models = st.builds(
    lambda names, anyway: delete_models(*names, force=anyway),
    st.lists(st.sampled_from(MODELS), min_size=1, max_size=2),
    force,
)
calls: st.SearchStrategy[Call] = st.sampled_from(
    (
        *(creating_teams, updating_teams, updating_teams, deleting_teams),
        *(adding, adding, adding_batches, updating_members, updating_members, removing, removing, reseeding),
        *(setting_groups, deleting_groups, upserting, upserting, deleting_models),
    )
).flatmap(lambda chosen: chosen)

request_ids = st.sampled_from(("", "", "", "1", "2"))
sending = st.builds(Sent, calls, request_ids, st.sampled_from((False,) * 7 + (True,)))
steps: st.SearchStrategy[list[Step]] = st.lists(
    st.integers(0, 15).flatmap(
        lambda roll: {
            15: st.just(Restart()),
            14: st.builds(Wait, st.sampled_from((1, 24, 49))),
            13: st.builds(Again, st.integers(1, 4)),
            12: st.builds(Again, st.integers(1, 4)),
        }.get(roll, sending)
    ),
    min_size=20,
    max_size=60,
)
