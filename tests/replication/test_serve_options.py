"""What `serve` refuses to start with as a replica or as an authority that is followed: one line, exit status 2."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

import policy_service.cli.serve
from policy_service.cli.main import app
from tests.support.keys import key_pair

LOCAL = "grpc://127.0.0.1:1"
REDIS = "redis://127.0.0.1:1/0"
REFUSED: dict[str, tuple[list[str], str]] = {
    "a replica of nothing": (["--role=replica"], "--role replica needs --follow with what to follow"),
    "an authority that follows": ([f"--follow={LOCAL}"], "--follow goes with --role replica; an authority follows"),
    "an authority with a key to verify by": (["--verify-key=k"], "--verify-key goes with --role replica; an authority"),
    "an authority with a cache": (["--state-cache=c"], "--state-cache goes with --role replica; an authority follows"),
    "an authority of an authority": (["--authority=a:1"], "--authority goes with --role replica; an authority follows"),
    "an authority that trusts": (["--trust-redis"], "--trust-redis goes with --role replica; an authority follows"),
    "no scheme": (["--role=replica", "--follow=127.0.0.1:50051"], "--follow is none of redis://..., rediss://"),
    "another scheme": (["--role=replica", "--follow=http://127.0.0.1:1"], "--follow is none of redis://"),
    "nothing after it": (["--role=replica", "--follow=grpc://"], "'' is no address; give HOST:PORT"),
    "no port": (["--role=replica", "--follow=grpc://localhost"], "'localhost' is no address; give HOST:PORT"),
    "a path": (["--role=replica", "--follow=grpc://127.0.0.1:1/x"], "'127.0.0.1:1/x' is no address"),
    "Redis without a key": (["--role=replica", f"--follow={REDIS}"], "give --verify-key with the authority's public"),
    "Redis trusted over gRPC": (["--role=replica", f"--follow={LOCAL}", "--trust-redis"], "--trust-redis goes with a"),
    "two authorities": (
        ["--role=replica", f"--follow={LOCAL}", "--authority=127.0.0.1:2"],
        "--authority goes with Redis; with --follow grpc:// the authority is what is followed",
    ),
    "no address of the authority": (
        ["--role=replica", f"--follow={REDIS}", "--trust-redis", "--authority=nowhere"],
        "'nowhere' is no address",
    ),
    "a token for nobody": (
        ["--role=replica", f"--follow={REDIS}", "--trust-redis", "--follow-token-file={file}"],
        "are for the authority; with Redis give --authority, too",
    ),
    "stale too soon": (["--role=replica", f"--follow={LOCAL}", "--max-staleness=0.5"], "--max-staleness is less than"),
    "no number": (["--role=replica", f"--follow={LOCAL}", "--max-staleness=nan"], "--max-staleness is less than 1 s"),
    "too old before it is stale": (
        ["--role=replica", f"--follow={LOCAL}", "--max-policy-age=5"],
        "--max-policy-age is less than --max-staleness",
    ),
    "an age that is none": (["--role=replica", f"--follow={LOCAL}", "--max-policy-age=nan"], "--max-policy-age is les"),
    "a wait that is none": (["--role=replica", f"--follow={LOCAL}", "--revision-wait=nan"], "--revision-wait"),
    "another machine in plain text": (
        ["--role=replica", "--follow=grpc://policy.acme.example:50051"],
        "policy.acme.example:50051 is another machine: give --follow-tls-ca",
    ),
    "no such token file": (
        ["--role=replica", f"--follow={LOCAL}", "--follow-token-file=/nowhere/token"],
        "cannot follow 127.0.0.1:1: [Errno 2] No such file or directory: '/nowhere/token'",
    ),
    "an empty token": (["--role=replica", f"--follow={LOCAL}", "--follow-token-file={empty}"], "the token is empty"),
    "no such CA": (["--role=replica", f"--follow={LOCAL}", "--follow-tls-ca=/nowhere/ca"], "/nowhere/ca"),
    "a CA that is none": (["--role=replica", f"--follow={LOCAL}", "--follow-tls-ca={file}"], "is not PEM"),
    "half a certificate": (
        ["--role=replica", f"--follow={LOCAL}", "--follow-tls-cert={file}"],
        "a client certificate needs both cert and key",
    ),
    "no such key": (["--role=replica", f"--follow={LOCAL}", "--verify-key=/nowhere/key"], "/nowhere/key"),
    "a key that is none": (["--role=replica", f"--follow={LOCAL}", "--verify-key={file}"], "--verify-key {file}"),
    "a private key to verify with": (
        ["--role=replica", f"--follow={LOCAL}", "--verify-key={private}"],
        "is a private key, which is for --signing-key of the authority alone",
    ),
    "a replica that publishes": (
        ["--role=replica", f"--follow={LOCAL}", f"--publish={REDIS}"],
        "--publish and --signing-key are the authority's; a replica publishes nothing",
    ),
    "a replica that signs": (
        ["--role=replica", f"--follow={LOCAL}", "--signing-key={private}"],
        "--publish and --signing-key are the authority's; a replica publishes nothing",
    ),
    "publishing elsewhere": ([f"--publish={LOCAL}"], "--publish takes redis://, rediss:// or unix://"),
    "a public key to sign with": (["--signing-key={public}"], "--signing-key {public} "),
    "no signing key": (["--signing-key=/nowhere/key"], "--signing-key /nowhere/key"),
    "another role": (["--role=leader"], "'leader' is not one of 'authority', 'replica'"),
    "a wait below 0": (["--role=replica", f"--follow={LOCAL}", "--revision-wait=-1"], "--revision-wait"),
}


@pytest.mark.parametrize(("arguments", "words"), REFUSED.values(), ids=REFUSED)
def test_it_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str) -> None:
    monkeypatch.setattr(policy_service.cli.serve, "set_up_logs", lambda: None)
    private, public = key_pair(tmp_path)
    names = {"private": private, "public": public, "file": tmp_path / "file", "empty": tmp_path / "empty"}
    names["file"].write_text("ps_recognisable-secret\n")
    names["empty"].touch()
    given = [argument.format(**names) for argument in arguments]
    common = ["serve", "--listen=127.0.0.1:0", f"--database={tmp_path}/policy.db"]
    ended = CliRunner().invoke(app, [*common, *given], env={"COLUMNS": "300"})
    assert (ended.exit_code, ended.stdout) == (2, "")
    assert words.format(**names) in ended.stderr
    assert "recognisable-secret" not in ended.stderr
    if not ended.stderr.startswith("Usage:"):
        assert ended.stderr.startswith("policy-service: ")
        assert ended.stderr.count("\n") == 1, ended.stderr


def test_a_secret_in_a_url_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor where the URL is no good."""
    monkeypatch.setattr(policy_service.cli.serve, "set_up_logs", lambda: None)
    for url in ("redis://user:hunter2@127.0.0.1:none/0", "hunter2:hunter2@127.0.0.1:6379", "http://u:hunter2@h:1"):
        for options in (["--role=replica", "--trust-redis", f"--follow={url}"], [f"--publish={url}", "--in-memory"]):
            ended = CliRunner().invoke(app, ["serve", "--listen=127.0.0.1:0", *options])
            assert ended.exit_code == 2, ended.output
            assert "hunter2" not in ended.output, url
