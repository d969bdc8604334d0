"""What nobody types on purpose: texts that are no UTF-8, times beyond the calendar, tags that do not fit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from policy_service.cli.litellm.configuration import read_configuration
from policy_service.cli.litellm.document import InputError
from tests.cli.commands import Cli

if TYPE_CHECKING:
    from tests.conftest import RunningServer

NO_UTF8 = "\udcff"  # what Python makes of the byte ff


@pytest.mark.parametrize(
    "arguments",
    [
        ("team", "create", "t", "--model", NO_UTF8),
        ("team", "create", "t", "--mode", "ALL", "--label", f"a={NO_UTF8}"),
        ("team", "create", "t", "--mode", "ALL", "--alias", f"{NO_UTF8}=a"),
        ("team", "create", "t", "--mode", "ALL", "--member", NO_UTF8),
        ("team", "create", NO_UTF8, "--mode", "ALL"),
        ("group", "set", "g", "--model", NO_UTF8),
        ("model", "set", NO_UTF8, "--provider", "p"),
        ("check", NO_UTF8, "u", "m"),
    ],
)
async def test_a_text_that_is_no_utf8(server: RunningServer, arguments: tuple[str, ...]) -> None:
    ended = await Cli(server.target)(*arguments)
    assert (ended.status, ended.out) == (2, "")
    assert "utf-8" in ended.err.lower() or "Unicode" in ended.err


@pytest.mark.parametrize("option", [("--since", "0001-01-01T00:00:00+23:59"), ("--until", "9999-12-31T23:59:59-23:59")])
async def test_a_time_beyond_the_calendar(server: RunningServer, option: tuple[str, str]) -> None:
    ended = await Cli(server.target)("audit", "list", *option)
    assert (ended.status, ended.out) == (2, "")
    assert "give a time such as 2026-11-25" in ended.err


@pytest.mark.parametrize("value", ["!!timestamp abc", "!!bool maybe", '!!int ""', '!!float ""'])
def test_a_tag_that_does_not_fit(value: str) -> None:
    with pytest.raises(InputError, match="config"):
        read_configuration(f"model_list: []\nother: {value}\n".encode(), "config.yaml")


async def test_a_full_disk_is_said(server: RunningServer) -> None:
    if Path("/dev/full").exists():
        ended = await Cli(server.target)("export", "--file", "/dev/full")
        assert (ended.status, ended.out) == (2, "")
        assert "/dev/full cannot be written: No space left on device" in ended.err
