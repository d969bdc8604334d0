"""`policy-service keygen`, as installed."""

from __future__ import annotations

from pathlib import Path

from policy_service.replication.signing import Signer, Verifier
from tests.cli.commands import run


async def test_it_makes_a_pair_and_says_what_for(tmp_path: Path) -> None:
    file = tmp_path / "signing.pem"
    ended = await run("keygen", str(file))
    assert (ended.status, ended.err) == (0, "")
    private, public = ended.lines
    assert "--signing-key" in private
    assert private.endswith(str(file))
    assert "--verify-key" in public
    assert public.endswith(f"{file}.pub")
    Verifier.read(Path(f"{file}.pub")).verify(b"text", Signer.read(file).sign(b"text"))
    assert not any(line in ended.out for line in file.read_text().splitlines())


async def test_it_overwrites_nothing(tmp_path: Path) -> None:
    file = tmp_path / "signing.pem"
    await run("keygen", str(file))
    before = file.read_bytes()
    ended = await run("keygen", str(file))
    assert (ended.status, ended.out) == (2, "")
    assert ended.err == f"policy-service: {file} exists already and is not overwritten; name another file\n"
    assert file.read_bytes() == before


async def test_where_it_cannot_write(tmp_path: Path) -> None:
    ended = await run("keygen", str(tmp_path / "absent" / "signing.pem"))
    assert (ended.status, ended.out, len(ended.err.splitlines())) == (2, "", 1)
    assert "No such file or directory" in ended.err
