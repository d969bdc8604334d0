"""The service away, back, changed; Redis away: what the callers of a proxy that nobody restarts notice of it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.litellm_proxy.organisation import MEMBER, POLICY, configuration
from tests.litellm_proxy.parts import NEWEST, Proxy, Service, free_port, running, until
from tests.litellm_proxy.upstream import Provider
from tests.replication.redis_servers import BINARIES

STALENESS = {"max_staleness_s": "2"}


def allow(service: Service, *models: str) -> None:
    """Gives mia these models, and no others."""
    given = [option for model in models for option in ("--model", model)]
    service.run("member", "update", "crew", "mia", *given)


@contextmanager
def own_service(folder: Path, *options: str) -> Iterator[Service]:
    folder.mkdir()
    service = Service(folder, *options)
    service.start()
    service.apply(POLICY, folder)
    try:
        yield service
    finally:
        service.stop()


def status(proxy: Proxy, model: str = "gpt-4o-mini") -> int:
    return proxy.chat(MEMBER, model).status


def expect(proxy: Proxy, wanted: int, what: str, model: str = "gpt-4o-mini") -> None:
    until(lambda: status(proxy, model) == wanted, what)


def test_a_local_replica(all_asked: Provider, folder: Path) -> None:
    with own_service(folder / "local") as service:
        settings = {"follow": f"grpc://{service.target}", **STALENESS}
        with running(NEWEST, configuration(all_asked.url), folder / "local-proxy", settings) as proxy:
            expect(proxy, 200, "the policy comes")
            allow(service, "gpt-4o")
            expect(proxy, 403, "a revocation arrives")
            expect(proxy, 200, "and what was granted", "gpt-4o")
            service.stop()
            expect(proxy, 503, "an old policy is not used", "gpt-4o")
            answer = proxy.chat(MEMBER, "gpt-4o")
            assert answer.error["type"] == "service_unavailable_error"
            assert "no current policy" in answer.error["message"]
            assert answer.error["provider_specific_fields"]["reason"] == "policy_unavailable"
            service.start()
            expect(proxy, 200, "the service is found again", "gpt-4o")
            assert proxy.log.count("policy_gate.no_policy") == 1
            assert "policy_gate.policy_is_back" in proxy.log


def test_a_server_that_is_asked_each_time(all_asked: Provider, folder: Path) -> None:
    with own_service(folder / "remote") as service:
        settings = {"server": service.target, "timeout_s": "0.5"}
        with running(NEWEST, configuration(all_asked.url), folder / "remote-proxy", settings) as proxy:
            assert (status(proxy), status(proxy, "gpt-4o"), status(proxy, "fast")) == (200, 403, 200)
            assert proxy.chat(MEMBER, "gpt-4o-mini", fallbacks=["mini", "gpt-4o"]).status == 403
            allow(service, "gpt-4o")
            assert (status(proxy), status(proxy, "gpt-4o")) == (403, 200)
            service.stop()
            assert status(proxy, "gpt-4o") == 503
            service.start()
            expect(proxy, 200, "the service is asked again", "gpt-4o")


def test_redis(all_asked: Provider, folder: Path) -> None:
    port = free_port()
    command = [str(BINARIES["redis"]), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)

    redis = start()
    try:
        url = f"redis://127.0.0.1:{port}"
        with own_service(folder / "redis", f"--publish={url}") as service:
            settings = {"follow": url, "trust_redis": "true", **STALENESS}
            with running(NEWEST, configuration(all_asked.url), folder / "redis-proxy", settings) as proxy:
                expect(proxy, 200, "the policy comes by Redis")
                allow(service, "gpt-4o")
                expect(proxy, 403, "a revocation comes by Redis")
                redis.kill()
                redis.wait()
                expect(proxy, 503, "an old policy is not used", "gpt-4o")
                redis = start()
                expect(proxy, 200, "Redis is filled and found again", "gpt-4o")
    finally:
        redis.kill()
        redis.wait()


def test_a_gate_may_be_open_where_there_is_no_policy(all_asked: Provider, tmp_path: Path) -> None:
    settings = {"follow": f"grpc://127.0.0.1:{free_port()}", "without_policy": "allow", "first_policy_wait_s": "0.2"}
    with running(NEWEST, configuration(all_asked.url), tmp_path / "proxy", settings) as proxy:
        assert status(proxy, "gpt-4o") == 200
        assert "calls are let through" in proxy.log
        assert proxy.chat("/mia", "gpt-4o").status == 403  # who is nobody needs no policy to be refused
        assert proxy.chat(MEMBER, "gpt-4o", prompt_id="x").status == 403
