"""A program: reads a JSON list of arguments of `policy-service`, runs them all at once, each in a fork, and prints a
JSON list of their exit statuses and outputs. Its argument is an empty folder."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import typer.main

from policy_service.cli.main import app

COMMAND = typer.main.get_command(app)


def start(arguments: list[str], *outputs: Path) -> int:
    """The process that runs them."""
    child = os.fork()  # gRPC starts no thread before the first call
    if child:
        return child
    for number, path in enumerate(outputs, 1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
    COMMAND.main(args=arguments, prog_name="policy-service")  # ends in SystemExit
    sys.exit("it went on")


if __name__ == "__main__":
    folder, commands = Path(sys.argv[1]), json.load(sys.stdin)
    outputs = [[folder / f"{number}.{name}" for name in ("out", "err")] for number in range(len(commands))]
    children = [start(each, *paths) for each, paths in zip(commands, outputs, strict=True)]
    statuses = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    texts = [[path.read_text() for path in paths] for paths in outputs]
    print(json.dumps([(status, *text) for status, text in zip(statuses, texts, strict=True)]))
