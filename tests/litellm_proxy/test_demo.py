"""`make demo-litellm`: what it prints works, and nothing of it stays behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.litellm_proxy.parts import COMMAND, NEWEST, until
from tests.support.demos import LIMIT_S, answer_to, demo, gone, printed

VARIABLES = ("LITELLM_LISTEN", "POLICY_SERVICE_LISTEN")


def test_what_it_prints_works_and_ctrl_c_ends_it_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LITELLM", str(NEWEST.with_name("litellm")))
    with demo(tmp_path, "demo_litellm.py", VARIABLES) as process:
        lines = [line.strip() for line in printed(process) if line.startswith("  ")]
        curls = [line for line in lines if line.startswith("curl ")]
        (change,) = (line for line in lines if line.startswith(".venv/bin/policy-service "))
        mini, alias, of_team, of_member, other, listed = map(answer_to, curls)
        assert [answer[0] for answer in (mini, alias, of_team, of_member, other, listed)] == [
            200,
            200,
            403,
            403,
            200,
            200,
        ]
        contents = [json.loads(answer[1])["choices"][0]["message"]["content"] for answer in (mini, alias, other)]
        assert contents == ["This is gpt-4o-mini.", "This is gpt-4o-mini.", "This is gpt-4o."]
        assert [model["id"] for model in json.loads(listed[1])["data"]] == ["gpt-4o-mini"]
        subprocess.run([COMMAND, *change.split()[1:]], check=True, stdout=subprocess.DEVNULL)
        until(lambda: answer_to(curls[3])[0] == 200, "sam may use gpt-4o")
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(LIMIT_S) == 0
        assert gone(process.pid)
    assert "Traceback" not in (tmp_path / "err").read_text()


def test_without_litellm_it_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LITELLM", str(tmp_path / "litellm"))
    with demo(tmp_path, "demo_litellm.py", VARIABLES) as process:
        assert process.wait(LIMIT_S) == 2
    assert "run `make demo-litellm`, which installs it" in (tmp_path / "err").read_text()
