"""The configuration file of the command line: named contexts, each a server and how to talk to it.

    current_context: production
    contexts:
      production:
        server: policy.acme.example:50051
        admin_server: policy.acme.example:50052   # where AdminService is, if not there
        tls_ca: ca.pem                            # files are relative to this one
        token_file: /run/secrets/policy-token

It holds no secrets, only where they are.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from policy_service.cli.files import why_unreadable, write_text
from policy_service.yaml_messages import Reader, YamlError, compose, line_of

DEFAULT_FOLDER = "~/.config"


class ContextError(Exception):
    """The configuration file cannot be used; the message says what to change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """A server and how to talk to it. `admin_server` is where AdminService and ReplicationService are, when that is
    another address."""

    server: str
    admin_server: str | None = None
    token_file: Path | None = None
    tls_ca: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None


KEYS = tuple(field.name for field in fields(Context))
FILES = ("token_file", "tls_ca", "tls_cert", "tls_key")


@dataclass(frozen=True, slots=True)
class Contexts:
    """What the file says. `current` is one of the names, or None."""

    current: str | None
    by_name: Mapping[str, Context]

    def get(self, name: str) -> Context:
        """Raises ContextError when there is none of this name."""
        if name not in self.by_name:
            raise ContextError(self.missing(name))
        return self.by_name[name]

    def missing(self, name: str) -> str:
        """What to say when there is none of this name."""
        there = f"are {', '.join(sorted(self.by_name))}" if self.by_name else "are none yet"
        return f"there is no context {name!r}; there {there}, see `policy-service context set`"


def default_path() -> Path:
    """By the XDG base directory specification."""
    folder = os.environ.get("XDG_CONFIG_HOME") or DEFAULT_FOLDER
    return Path(os.path.expanduser(folder)) / "policy-service" / "config.yaml"


def read_contexts(path: Path) -> Contexts:
    """No contexts when there is no file. Raises ContextError."""
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        return Contexts(None, {})
    except (OSError, UnicodeDecodeError) as error:
        raise ContextError(f"{path} cannot be read: {why_unreadable(error)}") from None
    if not text.strip():
        return Contexts(None, {})
    reader = Reader()
    try:
        found = _read(reader, compose(text), path.absolute().parent)
    except YamlError as error:
        raise ContextError(f"{path}:{error.line}: {error}") from None
    if reader.problems:
        raise ContextError("\n".join(f"{path}:{line}: {words}" for line, words in sorted(reader.problems)))
    return found


def _read(reader: Reader, root: yaml.Node, folder: Path) -> Contexts:
    top = reader.mapping(root, "", ("current_context", "contexts"))
    by_name: dict[str, Context] = {}
    nodes = reader.mapping(top["contexts"], "contexts") if "contexts" in top else {}
    for name, node in nodes.items():
        given = reader.mapping(node, f"contexts.{name}", KEYS, required=("server",))
        texts = {key: reader.text(value, f"contexts.{name}.{key}") for key, value in given.items()}
        for key, text in texts.items():
            if text == "":  # a context that is meant to talk TLS must not talk plaintext
                reader.problem(line_of(given[key]), f"contexts.{name}.{key}", "is empty; give it, or leave the key out")
        values = {
            key: folder / os.path.expanduser(text) if key in FILES else text for key, text in texts.items() if text
        }
        by_name[name] = Context(**{"server": ""} | values)  # type: ignore[arg-type]
    current = reader.text(top["current_context"], "current_context") if "current_context" in top else None
    if current is not None and current not in nodes:
        reader.problem(line_of(top["current_context"]), "current_context", f"there is no context {current!r}")
    return Contexts(current, by_name)


def write_contexts(path: Path, contexts: Contexts) -> None:
    """Puts the file in place whole. Raises ContextError."""
    document: dict[str, Any] = {} if contexts.current is None else {"current_context": contexts.current}
    folder = path.absolute().parent
    document["contexts"] = {
        name: {key: _from(folder, value) for key, value in context_fields(context).items()}
        for name, context in sorted(contexts.by_name.items())
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_text(path, [yaml.safe_dump(document, sort_keys=False, allow_unicode=True)], mode=0o600)
    except OSError as error:
        raise ContextError(f"{path} cannot be written: {error.strerror}") from None


def _from(folder: Path, value: str) -> str:
    """A file below the folder from there, so that the folder can be moved; anything else as it is."""
    path = Path(value)
    return str(path.relative_to(folder)) if path.is_absolute() and path.is_relative_to(folder) else value


def context_fields(context: Context) -> dict[str, str]:
    """The fields that are set, as text."""
    values = {key: getattr(context, key) for key in KEYS}
    return {key: str(value) for key, value in values.items() if value is not None}
