"""`policy-service model`: what each command does, and what it prints; lists of more than a page."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from policy_client import AdminClient
from policy_service.v1.resources_pb2 import Model

from .commands import Cli
from .world import build

if TYPE_CHECKING:
    from tests.conftest import RunningServer


@pytest.fixture
async def cli(server: RunningServer) -> Cli:
    await build(server.target)
    return Cli(server.target)


async def test_list(cli: Cli) -> None:
    assert (await cli.done("model", "list")).splitlines() == [
        "MODEL        PROVIDER  LABELS",
        "ft/tuned     openai",
        "gpt-4o       openai    site=eu, tier=gold",
        "gpt-4o-mini  openai",
        "o1           openai",
    ]
    listed = await cli.json("model", "list")
    assert await cli.yaml("model", "list") == listed
    # Names that programs rely on: they stay.
    assert listed[1] == {"name": "gpt-4o", "provider": "openai", "labels": {"site": "eu", "tier": "gold"}}
    assert listed[0] == {"name": "ft/tuned", "provider": "openai", "labels": {}}
    assert [each["name"] for each in listed] == ["ft/tuned", "gpt-4o", "gpt-4o-mini", "o1"]


async def test_show(cli: Cli) -> None:
    shown = await cli.json("model", "show", "gpt-4o")
    assert await cli.yaml("model", "show", "gpt-4o") == shown == (await cli.json("model", "list"))[1]
    assert (await cli.done("model", "show", "gpt-4o")).splitlines() == [
        "name                        gpt-4o",
        "provider                    openai",
        "labels                      site=eu, tier=gold",
    ]


async def test_set(cli: Cli) -> None:
    """New ones and others at once: what is given changes, in those that it changes."""
    before = await cli.revision()
    given = ("model", "set", "o1", "new", "gpt-4o", "--provider", "azure", "--label", "tier=gold")
    lines = [
        "~ model o1: provider: openai -> azure; labels: [+tier=gold]",
        "+ model new",
        "~ model gpt-4o: provider: openai -> azure",
    ]
    dry = await cli.done(*given, "--dry-run")
    assert dry.splitlines() == [*lines, "Dry run. Nothing was changed."]
    assert await cli.revision() == before
    assert (await cli.done(*given)).splitlines() == [*lines, f"Revision {await cli.revision()}."]
    assert await cli.json("model", "show", "gpt-4o") == {
        "name": "gpt-4o",
        "provider": "azure",
        "labels": {"site": "eu", "tier": "gold"},
    }
    now = await cli.revision()
    assert await cli.done(*given) == "No changes.\n"
    assert await cli.revision() == now


async def test_set_of_labels_alone(cli: Cli) -> None:
    answer = await cli.json("model", "set", "gpt-4o", "--remove-label", "tier", "--label", "site=us")
    assert list(answer) == ["models", "revision", "warnings"]
    assert answer["models"] == [{"name": "gpt-4o", "provider": "openai", "labels": {"site": "us"}}]
    assert answer["revision"] == await cli.revision()


async def test_delete(cli: Cli) -> None:
    before = await cli.revision()
    lines = ["- model o1", "- model gpt-4o-mini"]
    dry = await cli.done("model", "delete", "o1", "gpt-4o-mini", "--dry-run")
    assert (dry.splitlines(), await cli.revision()) == ([*lines, "Dry run. Nothing was changed."], before)
    done = await cli.done("model", "delete", "o1", "gpt-4o-mini")
    assert done.splitlines() == [*lines, f"Revision {await cli.revision()}."]
    await cli.done("model", "delete", "ft/tuned", "--force")
    assert [each["name"] for each in await cli.json("model", "list")] == ["gpt-4o"]


async def test_a_name_is_not_taken_for_markup_or_an_option(cli: Cli) -> None:
    for name in ("[red]x[/red]", ":smile:", "--provider"):
        shown = await cli.done("model", "set", "--provider", "p", "--", name)
        assert shown.splitlines()[0] == f"+ model {name}"
        assert (await cli.done("model", "show", "--", name)).splitlines()[0].split() == ["name", name]


async def test_a_list_of_many_pages(cli: Cli) -> None:
    """One table, which grows wider where it must; one document."""
    names = [f"a{number:04}" for number in range(1_000)] + [f"bb-{number:04}" for number in range(1_000)]
    names += [f"c{number:04}" for number in range(300)]
    async with AdminClient(cli.target) as admin:
        await admin.delete_models(["ft/tuned", "gpt-4o", "gpt-4o-mini", "o1"], force=True)
        for start in range(0, len(names), 1_000):
            await admin.upsert_models([Model(name=name, provider="p") for name in names[start : start + 1_000]])
    assert [each["name"] for each in await cli.json("model", "list")] == names
    assert [each["name"] for each in await cli.yaml("model", "list")] == names
    heading, *lines = (await cli.done("model", "list")).splitlines()
    assert [line.split() for line in lines] == [[name, "p"] for name in names]
    assert heading.index("PROVIDER") == 7
    assert {line.index("p") for line in lines[:1_000]} == {7}
    assert {line.index("p") for line in lines[1_000:]} == {9}
