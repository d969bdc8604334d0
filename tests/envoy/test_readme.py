"""The README's commands, run as written, each with the output that stands there."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.envoy.certificates import make_certificates
from tests.envoy.stage import PROGRAM, acme, wait
from tests.support import console
from tests.support.envoy import CLIENTS, LIMIT_S, POLICY_SERVICE, ROOT, UPSTREAM, running_envoy, shipped

PAGE = (CLIENTS / "README.md").read_text()
VARIANTS = {
    "Ten minutes": ("envoy.yaml", "ext-authz.yaml", 7),
    "Callers with JWTs": ("envoy-jwt.yaml", "ext-authz-jwt.yaml", 1),
    "Callers with certificates": ("envoy-mtls.yaml", "ext-authz-mtls.yaml", 1),
}
VARYING = re.compile(r'"id": "chatcmpl-\w+"|"created": \d+')


def section(heading: str) -> str:
    return PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]


@contextmanager
def example_upstream() -> Iterator[str]:
    """examples/stub_upstream.py on a free port."""
    specification = importlib.util.spec_from_file_location("stub_upstream", ROOT / "examples" / "stub_upstream.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    with module.Server(("127.0.0.1", 0), module.Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def output_of(command: str, folder: Path, replaced: Mapping[str, str]) -> str:
    for text, by in replaced.items():
        command = command.replace(text, by)
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LIMIT_S,
    )
    return done.stdout


def blanked(text: str) -> str:
    return VARYING.sub("VARIES", console.blanked(text))


@pytest.mark.parametrize("heading", VARIANTS)
def test_the_commands_print_what_the_readme_shows(heading: str, tmp_path: Path) -> None:
    name, settings, count = VARIANTS[heading]
    page = tmp_path / "page.md"
    page.write_text(section(heading))
    steps = console.steps(page)
    assert len(steps) == count
    make_certificates(tmp_path)
    with acme(settings) as service, example_upstream() as upstream:
        addresses = {POLICY_SERVICE: service.target, UPSTREAM: upstream}
        configuration = shipped(name)
        wait(configuration)
        with running_envoy(configuration, addresses, cwd=tmp_path) as envoy:
            replaced = {f"{host}:10000": f"{host}:{envoy.port}" for host in ("127.0.0.1", "localhost")}
            replaced[".venv/bin/policy-service"] = f"POLICY_SERVICE_SERVER={service.target} {PROGRAM}"
            for command, output in steps:
                assert blanked(output_of(command, tmp_path, replaced)) == blanked(output), command


def test_what_is_run_beside_them_is_there() -> None:
    for name, settings, _ in VARIANTS.values():
        assert f".venv/bin/envoy -c clients/envoy/{name}" in PAGE
        assert settings == "ext-authz.yaml" or f"--ext-authz-config clients/envoy/{settings}" in PAGE
    makefile = (ROOT / "Makefile").read_text()
    assert all(
        re.search(f"^{target}:", makefile, re.MULTILINE) for target in re.findall(r"^make (\S+)", PAGE, re.MULTILINE)
    )
    assert (ROOT / "examples" / "stub_upstream.py").exists()


def test_every_file_is_listed() -> None:
    listed = set(re.findall(r"\]\(([\w.-]+\.yaml)\)", PAGE.split("\n## ")[0]))
    assert listed == {path.name for path in CLIENTS.glob("*.yaml")}


def test_every_link_leads_somewhere() -> None:
    for link in re.findall(r"\]\(([^)#:]+)\)", PAGE):
        assert (CLIENTS / link).resolve().is_relative_to(ROOT)
        assert (CLIENTS / link).exists(), link
