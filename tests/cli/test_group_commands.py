"""`policy-service group`: what each command does, and what it prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .commands import Cli
from .world import build

if TYPE_CHECKING:
    from tests.conftest import RunningServer

KEYS = ["name", "models", "excluded_models", "etag", "create_time", "update_time"]  # programs rely on them: they stay


@pytest.fixture
async def cli(server: RunningServer) -> Cli:
    await build(server.target)
    return Cli(server.target)


async def test_list(cli: Cli) -> None:
    assert (await cli.done("group", "list")).splitlines() == [
        "GROUP   MODELS         EXCLUDED",
        "cheap   [gpt-4o-mini]",
        "unused  [gpt-*, o1]    [gpt-4o]",
    ]
    listed = await cli.json("group", "list")
    assert await cli.yaml("group", "list") == listed
    assert listed == [await cli.json("group", "show", name) for name in ("cheap", "unused")]


async def test_a_long_one_is_cut_in_the_table_alone(cli: Cli) -> None:
    models = [f"m{number}" for number in range(20)]
    await cli("group", "set", "long", *(f"--model={model}" for model in models))
    assert "[m0, m1, m2, m3, m4, m5, m6, m7, and 12 more]" in await cli.done("group", "list")
    assert ", ".join(models) in await cli.done("group", "show", "long")


async def test_show(cli: Cli) -> None:
    shown = await cli.json("group", "show", "unused")
    assert await cli.yaml("group", "show", "unused") == shown
    assert list(shown) == KEYS
    assert (shown["name"], shown["models"], shown["excluded_models"]) == ("unused", ["gpt-*", "o1"], ["gpt-4o"])
    assert (await cli.done("group", "show", "unused")).splitlines() == [
        "name                        unused",
        "models                      gpt-*, o1",
        "excluded_models             gpt-4o",
        *(f"{key:<27} {shown[key]}" for key in ("etag", "create_time", "update_time")),
    ]


async def test_set_makes_one(cli: Cli) -> None:
    before = await cli.revision()
    given = ("group", "set", "new", "--model", "gpt-4o", "--add-model", "o1", "--exclude", "x")
    dry = await cli.done(*given, "--dry-run")
    assert (dry, await cli.revision()) == ("+ group new\nDry run. Nothing was changed.\n", before)
    assert await cli.done(*given) == f"+ group new\nRevision {await cli.revision()}.\n"
    shown = await cli.json("group", "show", "new")
    assert (shown["models"], shown["excluded_models"]) == (["gpt-4o", "o1"], ["x"])


@pytest.mark.parametrize(
    ("options", "words", "models", "excluded"),
    [
        ("--add-model a --remove-model o1", "models: [+a, -o1]", ["gpt-*", "a"], ["gpt-4o"]),
        ("--model a", "models: [+a, -gpt-*, -o1]", ["a"], ["gpt-4o"]),
        ("--add-exclude a", "excluded_models: [+a]", ["gpt-*", "o1"], ["gpt-4o", "a"]),
        ("--remove-exclude gpt-4o", "excluded_models: [-gpt-4o]", ["gpt-*", "o1"], []),
        ("--exclude a", "excluded_models: [+a, -gpt-4o]", ["gpt-*", "o1"], ["a"]),
        (
            "--model o1 --model gpt-* --add-exclude a",
            "models: in another order; excluded_models: [+a]",
            ["o1", "gpt-*"],
            ["gpt-4o", "a"],
        ),
    ],
)
async def test_set_changes_one(cli: Cli, options: str, words: str, models: list[str], excluded: list[str]) -> None:
    """What is given and nothing else; a dry run says the same and changes nothing."""
    before, old = await cli.revision(), await cli.json("group", "show", "unused")
    given = ("group", "set", "unused", *options.split())
    dry = (await cli.done(*given, "--dry-run")).splitlines()
    assert (dry[0], dry[-1]) == (f"~ group unused: {words}", "Dry run. Nothing was changed.")
    assert (await cli.revision(), await cli.json("group", "show", "unused")) == (before, old)
    done = (await cli.done(*given)).splitlines()
    assert (done[:-1], done[-1]) == (dry[:-1], f"Revision {await cli.revision()}.")
    new = await cli.json("group", "show", "unused")
    assert (new["models"], new["excluded_models"]) == (models, excluded)


async def test_set_of_what_is_so_already(cli: Cli) -> None:
    before = await cli.revision()
    assert await cli.done("group", "set", "unused", "--add-model", "o1") == "No changes.\n"
    assert await cli.revision() == before


async def test_a_name_that_scopes_use_already_is_warned_of(cli: Cli) -> None:
    await cli("team", "create", "t", "--model", "later")
    made = await cli.done("group", "set", "later", "--model", "o1")
    assert made.splitlines()[1].startswith("  warning: ")
    answer = await cli.json("group", "set", "later", "--add-model", "gpt-4o")
    assert list(answer) == ["group", "revision", "warnings"]
    assert answer["group"] == await cli.json("group", "show", "later")


async def test_delete(cli: Cli) -> None:
    before = await cli.revision()
    dry = await cli.done("group", "delete", "unused", "--dry-run")
    assert (dry, await cli.revision()) == ("- group unused\nDry run. Nothing was changed.\n", before)
    assert await cli.done("group", "delete", "unused") == f"- group unused\nRevision {await cli.revision()}.\n"
    assert (await cli.json("group", "delete", "cheap", "--force"))["revision"] == await cli.revision()
    assert await cli.json("group", "list") == []
