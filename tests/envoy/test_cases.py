"""The table of requests (tests/ext_authz/cases.py) through a real Envoy and the real service to a real upstream:
allowed, denied for each model that is asked for, and each trick."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from tests.envoy.stage import Gateway, Service, command_line, gateway, manager, running_service
from tests.ext_authz.cases import PROVIDER_CASES, TRICK_CASES, Case
from tests.ext_authz.organisation import CONFIGURATION, EVERYTHING, team_for, teams
from tests.support.envoy import Answer

READABLE = [case for case in (*PROVIDER_CASES, *TRICK_CASES) if not case.refusal and not case.envoy]
TRICKS = [case for case in (*PROVIDER_CASES, *TRICK_CASES) if case.refusal or case.envoy]


def manifest() -> dict[str, Any]:
    """The organisation, for `apply`."""
    return {
        "teams": [
            {
                "id": team.id,
                "models": {"mode": team.models.mode, "models": list(team.models.models)},
                "unlisted_users": team.unlisted_users,
            }
            for team in teams()
        ]
    }


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder: Path = tmp_path_factory.mktemp("cases")
    (folder / "ext-authz.yaml").write_text(CONFIGURATION)
    (folder / "teams.yaml").write_text(json.dumps(manifest()))
    with running_service("--in-memory", f"--ext-authz-config={folder / 'ext-authz.yaml'}") as started:
        command_line("apply", "-f", str(folder / "teams.yaml"), "--server", started.target)
        yield started


@pytest.fixture(scope="module")
def open_to_headers(service: Service) -> Iterator[Gateway]:
    """envoy.yaml, but that the team comes in a header."""

    def edit(configuration: Any) -> None:
        filters = manager(configuration)["http_filters"]
        filters[:] = [one for one in filters if one["name"] != "envoy.filters.http.api_key_auth"]
        (host,) = manager(configuration)["route_config"]["virtual_hosts"]
        for route in host["routes"]:
            route.get("typed_per_filter_config", {}).pop("envoy.filters.http.api_key_auth", None)

    with gateway("envoy.yaml", service.target, edit) as started:
        yield started


def name(case: Case) -> str:
    return case.id


def send(gateway: Gateway, case: Case, team: str) -> Answer:
    gateway.upstream.take()
    return gateway.envoy.request(case.method, case.path, [*case.headers, ("x-team", team)], case.body or None)


@pytest.mark.parametrize("case", READABLE, ids=name)
def test_allowed_and_denied(open_to_headers: Gateway, case: Case) -> None:
    allowed = send(open_to_headers, case, team_for(case.models))
    assert allowed.status == (101 if case.upgrade else 200), allowed.body
    received = open_to_headers.passed()
    # Envoy resolves encoded letters, before the service sees them.
    assert (received.method, unquote(received.path), received.body) == (case.method, unquote(case.path), case.body)
    assert received.values("x-policy-team") == [team_for(case.models)]
    for missing in set(case.models):
        denied = send(open_to_headers, case, team_for(model for model in case.models if model != missing))
        assert denied.status == 403
        assert missing in json.dumps(denied.json, ensure_ascii=False)
        assert open_to_headers.nothing_passed()


@pytest.mark.parametrize("case", TRICKS, ids=name)
def test_tricks(open_to_headers: Gateway, case: Case) -> None:
    """Where Envoy makes a plain request of it, that one is decided: it passes for who may use everything."""
    answer = send(open_to_headers, case, team_for(()) if case.envoy else EVERYTHING)
    assert answer.status not in (101, 200)
    assert open_to_headers.nothing_passed()
    if not (case.envoy or case.upgrade or answer.status == 400):  # else Envoy may have refused it by itself
        assert (answer.status, open_to_headers.envoy.line()["reason"]) == (403, case.refusal)
        assert case.method == "HEAD" or answer.json
