"""The configuration file: `policy-service context`, and which server a command talks to, as whom."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from policy_client import AdminClient
from policy_service.addresses import Address
from policy_service.v1.resources_pb2 import Model
from tests.security.principals import with_token, write_credentials

from .commands import Ended, invoke, run

if TYPE_CHECKING:
    from tests.conftest import RunningServer, StartServer

TOKEN = "ps_the-admins-token"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Where the configuration file will be."""
    return tmp_path / "conf" / "config.yaml"


async def context(config: Path, *arguments: str) -> str:
    """What `context` prints, with the file named."""
    ended = await invoke("context", *arguments, "--config", str(config))
    assert (ended.status, ended.err) == (0, "")
    return ended.out


async def models(**environment: str) -> Ended:
    return await invoke("model", "list", "-o", "json", **environment)


async def named(target: str, name: str) -> None:
    """Gives the server a model, to be known by."""
    async with AdminClient(target) as admin:
        await admin.upsert_models([Model(name=name, provider="p")])


async def found(*arguments: str, **environment: str) -> str:
    """Which server is asked, by its model."""
    ended = await invoke("model", "list", "-o", "json", *arguments, **environment)
    assert (ended.status, ended.err) == (0, "")
    (model,) = json.loads(ended.out)
    return str(model["name"])


async def test_set_use_list_delete(config: Path) -> None:
    assert await context(config, "set", "one", "--server", "127.0.0.1:1") == "context one: 127.0.0.1:1 (current)\n"
    assert await context(config, "set", "two", "--server", "unix:/run/two") == "context two: unix:/run/two\n"
    assert (await context(config, "list")).splitlines() == [
        "   CONTEXT  SERVER",
        "*  one      127.0.0.1:1",
        "   two      unix:/run/two",
    ]
    assert await context(config, "use", "two") == "context two: unix:/run/two (current)\n"
    documents = [
        {"name": "one", "current": False, "server": "127.0.0.1:1"},
        {"name": "two", "current": True, "server": "unix:/run/two"},
    ]
    assert json.loads(await context(config, "list", "-o", "json")) == documents
    assert yaml.safe_load(await context(config, "list", "-o", "yaml")) == documents
    assert await context(config, "delete", "one") == "context one: deleted\n"
    assert await context(config, "delete", "two") == "context two: deleted\n"
    assert await context(config, "list", "-o", "json") == "[]\n"
    assert yaml.safe_load(config.read_text()) == {"contexts": {}}


async def test_set_changes_what_is_given(config: Path, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)
    await context(config, "set", "one", "--server", "127.0.0.1:1", "--token-file", str(tmp_path / "token"))
    await context(config, "set", "one", "--admin-server", "127.0.0.1:9")
    assert await context(config, "set", "one", "--server", "127.0.0.1:3") == "context one: 127.0.0.1:3 (current)\n"
    told = await context(config, "set", "one", "--admin-server", "127.0.0.1:2")
    assert told == "context one: 127.0.0.1:3, admin at 127.0.0.1:2 (current)\n"
    (shown,) = json.loads(await context(config, "list", "-o", "json"))
    assert shown == {
        "name": "one",
        "current": True,
        "server": "127.0.0.1:3",
        "admin_server": "127.0.0.1:2",
        "token_file": str(tmp_path / "token"),
    }
    assert TOKEN not in config.read_text()


async def test_the_environment_is_not_kept_in_a_context(config: Path, tmp_path: Path) -> None:
    """It says who one is now, to some server."""
    (tmp_path / "token").write_text(TOKEN)
    environment = {"POLICY_SERVICE_TOKEN_FILE": str(tmp_path / "token"), "POLICY_SERVICE_SERVER": "127.0.0.1:2"}
    ended = await invoke("context", "set", "one", "--server", "127.0.0.1:1", "--config", str(config), **environment)
    assert ended.status == 0
    assert yaml.safe_load(config.read_text())["contexts"] == {"one": {"server": "127.0.0.1:1"}}
    ended = await invoke("context", "set", "two", "--config", str(config), **environment)
    assert (ended.status, "there is no context 'two' yet; give its --server" in ended.err) == (2, True)


async def test_the_file_is_its_owners_and_written_whole(config: Path) -> None:
    await context(config, "set", "one", "--server", "127.0.0.1:1")
    first = config.read_bytes()
    with config.open("rb") as reader:
        await context(config, "set", "zürich", "--server", "127.0.0.1:2")
        assert reader.read() == first
    assert "zürich" in config.read_text("utf-8")
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    assert list(config.parent.iterdir()) == [config]


async def test_a_file_that_is_a_link_stays_one(config: Path, tmp_path: Path) -> None:
    config.parent.mkdir()
    config.symlink_to(tmp_path / "kept.yaml")
    await context(config, "set", "one", "--server", "127.0.0.1:1")
    assert config.is_symlink()
    assert "one" in (tmp_path / "kept.yaml").read_text()


@pytest.mark.parametrize("given", ["option", "variable", "XDG_CONFIG_HOME", "HOME"])
async def test_where_the_file_is(given: str, server: RunningServer, tmp_path: Path) -> None:
    await named(server.target, "here")
    file = {
        "option": tmp_path / "any.yaml",
        "variable": tmp_path / "any.yaml",
        "XDG_CONFIG_HOME": tmp_path / "policy-service" / "config.yaml",
        "HOME": tmp_path / ".config" / "policy-service" / "config.yaml",
    }[given]
    environment = {
        "option": {},
        "variable": {"POLICY_SERVICE_CONFIG": str(file)},
        "XDG_CONFIG_HOME": {"XDG_CONFIG_HOME": str(tmp_path)},
        "HOME": {"XDG_CONFIG_HOME": "", "HOME": str(tmp_path)},
    }[given]
    option = ["--config", str(file)] if given == "option" else []
    ended = await invoke("context", "set", "one", "--server", server.target, *option, **environment)
    assert ended.status == 0
    assert file.is_file()
    assert await found(*option, **environment) == "here"


async def test_which_server(start_server: StartServer, config: Path) -> None:
    """An option before the environment, that before the file, there the named context before the current one."""
    names = ("option", "environment", "context", "current")
    targets = {}
    for name in names:
        targets[name] = (await start_server(database=None)).target
        await named(targets[name], name)
    await context(config, "set", "current", "--server", targets["current"])
    await context(config, "set", "other", "--server", targets["context"])
    file = ("--config", str(config))
    assert await found(*file) == "current"
    assert await found(*file, "--context", "other") == "context"
    assert await found(*file, POLICY_SERVICE_CONTEXT="other") == "context"
    assert await found(*file, POLICY_SERVICE_SERVER=targets["environment"]) == "environment"
    assert await found(*file, "--server", targets["option"], POLICY_SERVICE_SERVER=targets["environment"]) == "option"
    assert await found(*file, "--context", "current", POLICY_SERVICE_CONTEXT="other") == "current"
    ended = await invoke("model", "list", *file, "--server", targets["option"], POLICY_SERVICE_CONTEXT="other")
    assert (ended.status, "each name a server; give one" in ended.err) == (2, True)


async def test_by_default_it_is_the_one_on_this_machine(tmp_path: Path) -> None:
    """With no file, and with one that has no current context. One may be running, somebody else's."""
    empty = tmp_path / "empty.yaml"
    empty.write_text("contexts: {}\n")
    for arguments in ((), ("--config", str(empty))):
        ended = await invoke("status", *arguments)
        assert "role" in ended.out or "127.0.0.1:50051" in ended.err


async def test_files_are_relative_to_the_configuration(
    start_server: StartServer, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However that is named, also after it was written anew, and in another place."""
    admin = with_token("the-admin", TOKEN, "admin")
    server = await start_server(credentials=write_credentials(config.parent.parent / "credentials", admin))
    config.parent.mkdir()
    (config.parent / "secret").write_text(TOKEN)
    config.write_text(f"contexts:\n  one:\n    server: {server.target}\n    token_file: secret\n")
    monkeypatch.chdir(config.parent.parent)
    for name in (str(config), "conf/config.yaml"):
        assert (await models(POLICY_SERVICE_CONFIG=name, POLICY_SERVICE_CONTEXT="one")).status == 0
        await context(Path(name), "use", "one")
        assert yaml.safe_load(config.read_text())["contexts"]["one"]["token_file"] == "secret"
    moved = config.parent.rename(config.parent.with_name("moved"))
    assert (await models(POLICY_SERVICE_CONFIG=str(moved / "config.yaml"))).status == 0


async def test_a_file_that_is_given_is_found_from_everywhere(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (config.parent.parent / "secret").write_text(TOKEN)
    monkeypatch.chdir(config.parent.parent)
    await context(config, "set", "one", "--server", "127.0.0.1:1", "--token-file", "secret")
    assert yaml.safe_load(config.read_text())["contexts"]["one"]["token_file"] == str(config.parent.parent / "secret")


@pytest.mark.parametrize("path", ["~nobody-of-this-name/token", "/nonexistent/token"])
async def test_a_token_file_that_is_gone(path: str, config: Path) -> None:
    config.parent.mkdir()
    config.write_text(f"contexts:\n  one: {{server: '127.0.0.1:1', token_file: '{path}'}}\n")
    ended = await models(POLICY_SERVICE_CONFIG=str(config), POLICY_SERVICE_CONTEXT="one")
    assert (ended.status, ended.out) == (2, "")
    assert path in ended.err
    assert "cannot be read: No such file or directory" in ended.err


async def test_a_context_says_who_one_is(start_server: StartServer, config: Path, tmp_path: Path) -> None:
    """To its server alone: one that is named gets no token, unless that is given with it."""
    token = tmp_path / "token"
    token.write_text(TOKEN)
    credentials = write_credentials(tmp_path / "credentials", with_token("the-admin", TOKEN, "admin", "check"))
    server = await start_server(credentials=credentials)
    await context(config, "set", "one", "--server", server.target, "--token-file", str(token))
    environment = {"POLICY_SERVICE_CONFIG": str(config)}
    assert (await models(**environment)).status == 0
    question = ("check", "t", "u", "m")
    assert (await invoke(*question, **environment)).status == 1
    for command in (("model", "list"), question):
        for how in (("--server", server.target), ()):
            more = environment if how else environment | {"POLICY_SERVICE_SERVER": server.target}
            refused = await invoke(*command, *how, **more)
            assert (refused.status, refused.out) == (2, "")
            assert "--token-file" in refused.err
            assert (await invoke(*command, *how, "--token-file", str(token), **more)).status < 2


async def test_checks_and_administration_at_two_addresses(start_server: StartServer, config: Path) -> None:
    server = await start_server(admin_listen=Address("localhost:0"))
    assert server.target != server.admin_target
    await context(config, "set", "both", "--server", server.target, "--admin-server", server.admin_target)
    await context(config, "set", "checks", "--server", server.target)
    file = {"POLICY_SERVICE_CONFIG": str(config)}
    assert (await invoke("model", "set", "m", "--provider", "p", **file)).status == 0
    for arguments, status in ((("check", "t", "u", "m"), 1), (("model", "list"), 0), (("status",), 0)):
        assert (await invoke(*arguments, **file)).status == status
    ended = await invoke("model", "list", "--context", "checks", **file)
    assert (ended.status, ended.out) == (2, "")
    assert f"{server.target} does not offer ListModels; give the address it is served at" in ended.err


async def test_as_a_process(server: RunningServer, tmp_path: Path) -> None:
    await named(server.target, "here")
    home = {"XDG_CONFIG_HOME": str(tmp_path)}
    assert (await run("context", "set", "one", "--server", server.target, **home)).status == 0
    ended = await run("model", "list", **home)
    assert (ended.status, "here" in ended.out) == (0, True)


async def test_a_token_of_the_environment_is_not_sent_where_the_context_has_its_own(
    config: Path, tmp_path: Path
) -> None:
    for name in ("own", "other"):
        (tmp_path / name).write_text(TOKEN)
    await context(config, "set", "one", "--server", "127.0.0.1:1", "--token-file", str(tmp_path / "own"))
    arguments = ("team", "list", "--config", str(config))
    ended = await invoke(*arguments, POLICY_SERVICE_TOKEN_FILE=str(tmp_path / "other"))
    assert (ended.status, ended.out) == (2, "")
    assert "the context and POLICY_SERVICE_TOKEN_FILE each say token_file" in ended.err


@pytest.mark.parametrize("key", ["token_file", "tls_ca", "server"])
async def test_an_empty_text_in_the_file_is_refused(config: Path, key: str) -> None:
    fields = {"server": "127.0.0.1:1", key: ""}
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text(yaml.safe_dump({"contexts": {"one": fields}}))
    ended = await invoke("context", "list", "--config", str(config))
    assert (ended.status, ended.out) == (2, "")
    assert f"contexts.one.{key}: is empty; give it, or leave the key out" in ended.err


async def test_an_empty_file_has_no_contexts(config: Path) -> None:
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text("\n")
    assert await context(config, "list", "-o", "json") == "[]\n"
