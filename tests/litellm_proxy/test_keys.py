"""Whose request it is: what the authenticated key says, and nothing that the client could write."""

from __future__ import annotations

import pytest

from tests.litellm_proxy.organisation import MEMBER
from tests.litellm_proxy.parts import Proxy
from tests.litellm_proxy.upstream import Provider

REFUSED = {
    "/mia": ("no_identity", "belongs to no team"),
    "/": ("no_identity", "belongs to no team"),
    "nobody/mia": ("membership_denied", "not a member of team 'nobody'"),
    "crew/": ("membership_denied", "not a member of team 'crew'"),
    "crew/stranger": ("membership_denied", "not a member of team 'crew'"),
    "crew/bob": ("member_blocked", "blocked"),
    "crew/mia ": ("malformed_identity", "white space"),
}


@pytest.mark.parametrize(("key", "reason", "words"), [(key, *why) for key, why in REFUSED.items()])
def test_a_key_that_is_nobodys_gets_nothing(
    proxy: Proxy, provider: Provider, key: str, reason: str, words: str
) -> None:
    if key.endswith(" "):
        key = key.replace(" ", "%20")  # keys.py decodes it: HTTP would strip it
    answer = proxy.chat(key, "gpt-4o-mini")
    assert (answer.status, provider.take()) == (403, [])
    assert answer.error["provider_specific_fields"]["reason"] == reason
    assert words in answer.error["message"]


@pytest.mark.parametrize("key", ["open/", "open/whoever"])
def test_a_team_may_be_open_to_keys_of_nobody(proxy: Proxy, key: str) -> None:
    assert proxy.chat(key, "gpt-4o-mini").status == 200
    assert proxy.chat(key, "gpt-4o").status == 403


@pytest.mark.parametrize(
    ("more", "headers"),
    [
        ({"user": "lena"}, {}),
        ({"metadata": {"user_api_key_user_id": "lena", "user_api_key_team_id": "crew"}}, {}),
        ({"litellm_metadata": {"user_api_key_auth": {"team_id": "crew", "user_id": "lena"}}}, {}),
        ({}, {"x-litellm-end-user-id": "lena", "x-litellm-team-id": "crew", "x-litellm-user-id": "lena"}),
    ],
)
def test_nothing_in_the_request_makes_it_somebody_elses(
    proxy: Proxy, more: dict[str, object], headers: dict[str, str]
) -> None:
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "x"}], **more}
    assert proxy.request("POST", "/v1/chat/completions", MEMBER, body, headers).status == 403


def test_litellms_limiter_holds_a_member_to_the_limits_of_the_policy(proxy: Proxy) -> None:
    statuses = [proxy.chat("crew/rita", "gpt-4o-mini").status for _ in range(3)]
    assert statuses[0] == 200
    assert 429 in statuses[1:]  # the minute may have turned once
