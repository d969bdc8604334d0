"""LiteLLM's access groups (`model_info.access_groups`) as access groups here.

LiteLLM asks which deployments serve a name, and which groups those are in. Here a group is a list of entries, so what
differs is a group that holds a wildcard deployment, and a name that is no group's here.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping

from policy_service.cli.litellm.asking import as_team, granted_by_provider
from policy_service.cli.litellm.configuration import ENVIRONMENT, Deployment
from policy_service.cli.litellm.findings import Findings, listed, shown
from policy_service.domain.changes import key_of
from policy_service.domain.matching import Pattern
from policy_service.domain.names import RESERVED_ENTRIES, group_name_problem
from policy_service.domain.records import AccessGroup, Mode, ModelScope
from policy_service.domain.state import State
from policy_service.domain.validation import MAX_ENTRIES, MAX_PATTERNS


def load_groups(
    state: State, deployments: Iterable[Deployment], taken: Collection[str], findings: Findings
) -> Mapping[str, tuple[str, ...]]:
    """Takes the groups into the state, which has the models. Returns those that cannot be groups here, each with the
    entries that stand for it. `taken`: names that no group may have."""
    held: dict[str, list[str]] = {}
    deployed = dict.fromkeys(deployment.name for deployment in deployments)
    for deployment in deployments:
        for group in deployment.groups:
            held.setdefault(group, []).append(deployment.name)
    inlined = {}
    for name, names in held.items():
        entries = tuple(dict.fromkeys(names))
        problem = "is also that of a model or an alias" if name in taken else group_name_problem(name)
        if name in RESERVED_ENTRIES or name.startswith(ENVIRONMENT):
            findings.add(
                "GROUP_LEFT_OUT",
                f"access group {shown(name)!r}",
                litellm=f"has {listed(entries)} in it",
                here="does not have it: its name is a word or a variable that stands for something else",
            )
        elif problem is not None:
            inlined[name] = _inlined(name, entries, problem, findings)
        else:
            _load(state, name, entries, deployed, findings)
    return inlined


def _inlined(name: str, entries: tuple[str, ...], problem: str, findings: Findings) -> tuple[str, ...]:
    plain = _plain(entries)
    left_out = f", but {listed(set(entries) - set(plain))}" if len(plain) < len(entries) else ""
    findings.add(
        "GROUP_INLINED",
        f"access group {shown(name)!r}",
        litellm=f"grants {listed(entries)} to whoever lists the group, and what is put into it later",
        here=f"has no such group (its name {problem}); where it was listed, its models are{left_out}",
    )
    return plain


def _load(state: State, name: str, entries: tuple[str, ...], deployed: Collection[str], findings: Findings) -> None:
    """A wildcard in a group grants neither what has a deployment of its own outside of the group, nor what a longer
    wildcard serves. Both are excluded; where that would exclude a model of the group, the wildcards are left out."""
    wildcards = [entry for entry in entries if "*" in entry]
    excluded = [each for each in deployed if each not in entries and any(_serves(each, own) for own in wildcards)]
    plain = _plain(entries)
    whole = AccessGroup(name=name, models=entries, excluded_models=tuple(sorted(excluded)))
    fits = len(entries) + len(excluded) <= MAX_ENTRIES and _pattern_count([*entries, *excluded]) <= MAX_PATTERNS
    state.load(whole)
    complete = fits and all(map(as_team(state, ModelScope(Mode.ONLY, (name,))), plain))
    if not complete:
        state.put(key_of(whole), AccessGroup(name=name, models=plain[:MAX_ENTRIES]) if plain else None)
    if wildcards:
        findings.add(
            "GROUP_WILDCARD",
            f"access group {shown(name)!r}",
            litellm=f"grants through {listed(wildcards)} what no deployment of its own and no longer wildcard serves, "
            "also by bare names that its own list of known models has under that provider",
            here=_wildcard_words(state, wildcards, excluded, complete=complete),
        )
    if len(plain) > MAX_ENTRIES:
        findings.add(
            "TOO_MANY_ENTRIES",
            f"access group {shown(name)!r}",
            litellm=f"has {len(plain)} models in it",
            here=f"has the first {MAX_ENTRIES} of them, and denies the others",
        )


def _wildcard_words(state: State, wildcards: list[str], excluded: list[str], *, complete: bool) -> str:
    if not complete:
        return f"leaves {listed(wildcards)} out: what it had to exclude would take models of the group with it"
    without = f" without {listed(excluded)}" if excluded else ""
    names = listed(granted_by_provider(state, wildcards)) or "none"
    return f"grants {listed(wildcards)}{without}, also by the names that the catalogue has under that provider: {names}"


def _plain(entries: Iterable[str]) -> tuple[str, ...]:
    return tuple(entry for entry in entries if "*" not in entry)


def _pattern_count(entries: Iterable[str]) -> int:
    return sum("*" in entry for entry in entries)


def _serves(name: str, wildcard: str) -> bool:
    """Whether a deployment's name takes requests from a deployed wildcard."""
    if "*" not in name:
        return Pattern(wildcard).matches(name)
    prefixes = name.partition("*")[0], wildcard.partition("*")[0]
    suffixes = name.rpartition("*")[2], wildcard.rpartition("*")[2]
    overlap = (prefixes[0].startswith(prefixes[1]) or prefixes[1].startswith(prefixes[0])) and (
        suffixes[0].endswith(suffixes[1]) or suffixes[1].endswith(suffixes[0])
    )
    return overlap and _weight(name) >= _weight(wildcard)


def _weight(wildcard: str) -> int:
    # LiteLLM tries the longest regular expression first, in which a star is four characters.
    return len(re.escape(wildcard)) + 2 * wildcard.count("*")
