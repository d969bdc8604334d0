"""A service, a provider, and between them proxies of LiteLLM, which take seconds to start: many tests share one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.litellm_proxy.organisation import POLICY, configuration
from tests.litellm_proxy.parts import NEWEST, OLDEST, Proxy, Service, running
from tests.litellm_proxy.upstream import Provider, providing

VERSIONS = {"newest": NEWEST, "oldest": OLDEST}  # of LiteLLM: the newest that was tried, and the oldest


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("litellm")


@pytest.fixture(scope="session")
def service(folder: Path) -> Iterator[Service]:
    """With the policy of the tests, which no test changes for good."""
    service = Service(folder)
    service.start()
    service.apply(POLICY, folder)
    yield service
    service.stop()


@pytest.fixture(scope="session")
def all_asked() -> Iterator[Provider]:
    with providing() as provider:
        yield provider


@pytest.fixture
def provider(all_asked: Provider) -> Provider:
    """What it is asked for from now on."""
    all_asked.take()
    return all_asked


@pytest.fixture(scope="session", params=VERSIONS)
def proxy(request: pytest.FixtureRequest, service: Service, all_asked: Provider, folder: Path) -> Iterator[Proxy]:
    """With a local replica, enforcing; of the newest LiteLLM that was tried, and of the oldest."""
    settings = {
        "follow": f"grpc://{service.target}",
        "without_model": "/anthropic/v1/files, avector_store_list, acreate_file",
        "prompts": "greeting",
    }
    places = {f"{name}_API_BASE": all_asked.url for name in ("ANTHROPIC", "GEMINI", "OPENAI")}
    own = folder / request.param
    with running(VERSIONS[request.param], configuration(all_asked.url), own, settings, places) as proxy:
        yield proxy
