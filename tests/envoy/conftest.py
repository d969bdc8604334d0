"""Fixtures: gateways that are started once, since no test changes them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.envoy.stage import Gateway, Service, acme, gateway


@pytest.fixture(scope="session")
def acme_service() -> Iterator[Service]:
    """The service with the example organisation, for identities by key."""
    with acme() as service:
        yield service


@pytest.fixture(scope="session")
def closed_gateway(acme_service: Service) -> Iterator[Gateway]:
    """envoy.yaml."""
    with gateway("envoy.yaml", acme_service.target) as started:
        yield started


@pytest.fixture(scope="session")
def open_gateway(acme_service: Service) -> Iterator[Gateway]:
    """envoy-fail-open.yaml."""
    with gateway("envoy-fail-open.yaml", acme_service.target) as started:
        yield started


@pytest.fixture(autouse=True)
def nothing_is_left_over(request: pytest.FixtureRequest) -> None:
    """What an earlier test sent is not this one's."""
    for name in ("closed_gateway", "open_gateway"):
        if name in request.fixturenames:
            request.getfixturevalue(name).upstream.take()
