"""The gate's configuration: a YAML file, environment variables, or both, in which case the variable counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import yaml

from policy_client.litellm.identity import Field, IdentitySource, field_of, field_problem
from policy_service.replication.following import DEFAULT_PREFIX
from policy_service.yaml_messages import Reader, YamlError, compose, line_of

PREFIX = "POLICY_GATE_"
FILE_VARIABLE = PREFIX + "CONFIG"
_OF_REPLICA = ("authority", "redis_prefix", "verify_key", "trust_redis", "state_cache", "max_staleness_s")
TEAM_ID, USER_ID = field_of("team_id"), field_of("user_id")


class Mode(StrEnum):
    """SHADOW decides and logs, and refuses nothing."""

    ENFORCE = "enforce"
    SHADOW = "shadow"


class Otherwise(StrEnum):
    """What happens where the policy cannot say."""

    DENY = "deny"
    ALLOW = "allow"


class SettingsError(ValueError):
    """The configuration cannot be used; the message says what to change, and where."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """As docs/litellm_gate.md describes them. Times in seconds. `server`: ask there for every request, in place of
    following with a local replica."""

    mode: Mode = Mode.ENFORCE
    follow: str = field(default="grpc://127.0.0.1:50051", repr=False)  # Redis' may hold a password
    server: str = ""
    token: str = field(default="", repr=False)
    token_file: str = ""
    tls_ca: str = ""
    tls_cert: str = ""
    tls_key: str = ""
    authority: str = ""
    redis_prefix: str = DEFAULT_PREFIX
    verify_key: str = ""
    trust_redis: bool = False
    state_cache: str = ""
    max_staleness_s: float = 10.0
    max_policy_age_s: float = 86_400.0
    first_policy_wait_s: float = 5.0
    timeout_s: float = 1.0
    without_policy: Otherwise = Otherwise.DENY
    stale_policy: Otherwise = Otherwise.DENY
    team: Field = TEAM_ID
    user: Field = USER_ID
    without_model: tuple[str, ...] = ()
    prompts: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()

    @property
    def identity(self) -> IdentitySource:
        """Where team and user are."""
        return IdentitySource(self.team, self.user)


class _SettingsReader(Reader):
    """Reads one value each; what is wrong is in `problems`."""

    def plain(self, node: yaml.Node, path: str) -> str | None:
        text = self.text(node, path)
        if text == "":
            self.problem(line_of(node), path, "is empty; leave it out")
        return text

    def secret(self, node: yaml.Node, path: str) -> str | None:
        """Not shown, also when it is wrong."""
        if isinstance(node, yaml.ScalarNode) and node.tag.endswith(":str"):
            return self.plain(node, path)
        self.problem(line_of(node), path, "is no text; write it in quotes")
        return None

    def choice(self, kind: type[StrEnum]) -> Callable[[yaml.Node, str], Any]:
        def read(node: yaml.Node, path: str) -> Any:
            text = self.text(node, path)
            if text is None or text in list(kind):
                return None if text is None else kind(text)
            return self._wrong(node, path, f"there is no {text!r}; use {' or '.join(kind)}")

        return read

    def key_field(self, node: yaml.Node, path: str) -> Field | None:
        text = self.text(node, path)
        problem = None if text is None else field_problem(text)
        return self._wrong(node, path, problem) if problem else field_of(text or "")

    def seconds(self, node: yaml.Node, path: str) -> float | None:
        number = self.number(node, path)
        if number is not None and number < 0:
            self.problem(line_of(node), path, f"{number:g} is less than 0")
        return number

    def texts(self, node: yaml.Node, path: str) -> tuple[str, ...]:
        return tuple(text for item, inner in self.items(node, path) if (text := self.plain(item, inner)))

    def _wrong(self, node: yaml.Node, path: str, words: str) -> Any:
        self.problem(line_of(node), path, words)
        return None


_Read = Callable[[yaml.Node, str], Any]


def _readers(reader: _SettingsReader) -> Mapping[str, _Read]:
    paths = ("token_file", "tls_ca", "tls_cert", "tls_key", "verify_key", "state_cache")
    texts = ("follow", "server", "authority", "redis_prefix")
    seconds = ("max_staleness_s", "max_policy_age_s", "first_policy_wait_s", "timeout_s")
    return {
        "mode": reader.choice(Mode),
        "without_policy": reader.choice(Otherwise),
        "stale_policy": reader.choice(Otherwise),
        "team": reader.key_field,
        "user": reader.key_field,
        "trust_redis": reader.boolean,
        "token": reader.secret,
        **dict.fromkeys((*paths, *texts), reader.plain),
        **dict.fromkeys(seconds, reader.seconds),
        **dict.fromkeys(("without_model", "prompts", "keys"), reader.texts),
    }


def read_settings(environ: Mapping[str, str]) -> Settings:
    """The settings of the environment, and of the file that POLICY_GATE_CONFIG names. Raises SettingsError, which
    names everything that has to be changed."""
    path = environ.get(FILE_VARIABLE, "")
    values, problems = _of_file(path) if path else ({}, [])
    own_values, own_problems = _of_variables(environ)
    values |= own_values
    problems += own_problems + _contradictions(values)
    if problems:
        raise SettingsError("the policy gate's configuration cannot be used:\n" + "\n".join(problems))
    return Settings(**values)


def _of_file(path: str) -> tuple[dict[str, Any], list[str]]:
    try:
        root = compose(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        return {}, [f"{FILE_VARIABLE}: {path} cannot be read: {error.strerror}"]
    except UnicodeDecodeError:
        return {}, [f"{FILE_VARIABLE}: {path} is no UTF-8 text"]
    except YamlError as error:
        return {}, [f"{path}:{error.line}: {error}"]
    reader = _SettingsReader()
    readers = _readers(reader)
    values = {key: readers[key](node, key) for key, node in reader.mapping(root, "", tuple(readers)).items()}
    return values, [f"{path}:{line}: {words}" for line, words in sorted(reader.problems)]


def _of_variables(environ: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    reader = _SettingsReader()
    readers = _readers(reader)
    values: dict[str, Any] = {}
    for variable, text in environ.items():
        key = variable.removeprefix(PREFIX).lower()
        if variable == FILE_VARIABLE or not variable.startswith(PREFIX):
            continue
        if key not in readers or not variable.isupper():
            reader.problem(0, variable, f"there is no such variable; use {', '.join(_variables(readers))}")
            continue
        values[key] = readers[key](_node_of(text, readers[key], reader), variable)
    return values, [words for _, words in reader.problems]


def _node_of(text: str, read: _Read, reader: _SettingsReader) -> yaml.Node:
    """A variable's text: as it is where a text is wanted, else as YAML, a list with or without its brackets."""
    as_text = yaml.ScalarNode("tag:yaml.org,2002:str", text, yaml.Mark("", 0, -1, 0, "", 0))
    if read not in (reader.texts, reader.boolean, reader.seconds):
        return as_text
    try:
        return compose(f"[{text}]" if read == reader.texts and not text.lstrip().startswith("[") else text)
    except (YamlError, UnicodeError):
        return as_text


def _variables(keys: Mapping[str, object]) -> list[str]:
    return [FILE_VARIABLE, *(PREFIX + key.upper() for key in keys)]


def _contradictions(values: Mapping[str, Any]) -> list[str]:
    problems = []
    if values.get("server") and values.get("follow"):
        problems.append("both follow and server are given: follow is for a local replica, server is asked each time")
    of_replica = [key for key in _OF_REPLICA if key in values]
    if values.get("server") and of_replica:
        problems.append(f"{', '.join(of_replica)}: only for a local replica; leave it out, or give follow, not server")
    if values.get("token") and values.get("token_file"):
        problems.append("both token and token_file are given; give one")
    if ("tls_cert" in values) != ("tls_key" in values):
        problems.append("tls_cert and tls_key need each other; give both, or neither")
    return problems
