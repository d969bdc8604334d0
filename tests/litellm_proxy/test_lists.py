"""What `/v1/models` shows: what the caller may use, and no more. LiteLLM asks no callback about it before 1.104.9."""

from __future__ import annotations

import pytest

from tests.litellm_proxy.organisation import ALLOWED, DENIED, FLAKY, LEAD, MEMBER
from tests.litellm_proxy.parts import Proxy

pytestmark = pytest.mark.parametrize("proxy", ["newest"], indirect=True)


def names(proxy: Proxy, key: str) -> set[str]:
    answer = proxy.request("GET", "/v1/models", key)
    assert answer.status == 200, answer.body
    return {model["id"] for model in answer.json["data"]}


def test_a_member_sees_what_the_member_may_use(proxy: Proxy) -> None:
    shown = names(proxy, MEMBER)
    assert shown >= {*ALLOWED, *FLAKY, "mini"}
    assert not shown & {*DENIED, "gpt-4.1"}


def test_what_is_listed_can_be_called_and_nothing_else(proxy: Proxy) -> None:
    shown = names(proxy, MEMBER)
    for name in names(proxy, LEAD):
        assert (proxy.chat(MEMBER, name).status != 403) == (name in shown), name


def test_who_is_nobody_sees_nothing(proxy: Proxy) -> None:
    assert names(proxy, "crew/stranger") == set()
    assert names(proxy, "crew/bob") == set()


def test_a_model_that_may_not_be_used_does_not_exist(proxy: Proxy) -> None:
    assert proxy.request("GET", "/v1/models/gpt-4o-mini", MEMBER).status == 200
    assert proxy.request("GET", "/v1/models/gpt-4o", MEMBER).status == 404
