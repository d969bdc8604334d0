"""Every way to ask a LiteLLM proxy for a model, once for one that the member may use and once for one they may not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import pytest

from tests.litellm_proxy.organisation import ALLOWED, DENIED, LEAD, MEMBER
from tests.litellm_proxy.parts import Answer, Proxy
from tests.litellm_proxy.upstream import Provider

JSON = dict[str, Any]
HELLO = [{"role": "user", "content": "Hello"}]
MULTIPART = {"content-type": "multipart/form-data; boundary=B"}


class Kind(NamedTuple):
    """A kind of request; `{model}` in the path and in texts of the body stands for the model. `kind` says which of the
    models of organisation.py it takes."""

    path: str
    body: JSON | bytes
    kind: int = 0
    headers: Mapping[str, str] = {}

    def send(self, proxy: Proxy, key: str, model: str) -> Answer:
        body = self.body
        if isinstance(body, bytes):
            body = body.replace(b"{model}", model.encode())
        else:
            body = {name: model if value == "{model}" else value for name, value in body.items()}
        return proxy.request("POST", self.path.replace("{model}", model), key, body, self.headers)


TRANSCRIPTION = (
    b'--B\r\nContent-Disposition: form-data; name="model"\r\n\r\n{model}\r\n--B\r\nContent-Disposition: form-data; '
    b'name="file"; filename="a.wav"\r\nContent-Type: audio/wav\r\n\r\nRIFF\r\n--B--\r\n'
)
KINDS = {
    "chat": Kind("/v1/chat/completions", {"model": "{model}", "messages": HELLO}),
    "chat without v1": Kind("/chat/completions", {"model": "{model}", "messages": HELLO}),
    "chat streamed": Kind("/v1/chat/completions", {"model": "{model}", "messages": HELLO, "stream": True}),
    "chat, engine in the path": Kind("/engines/{model}/chat/completions", {"messages": HELLO}),
    "chat, deployment in the path": Kind("/openai/deployments/{model}/chat/completions", {"messages": HELLO}),
    "chat, model in the query": Kind("/v1/chat/completions?model={model}", {"messages": HELLO}),
    "chat, another in the query": Kind("/v1/chat/completions?model={model}", {"model": ALLOWED[0], "messages": HELLO}),
    "chat, another in the path": Kind("/engines/{model}/chat/completions", {"model": ALLOWED[0], "messages": HELLO}),
    "completions": Kind("/v1/completions", {"model": "{model}", "prompt": "Hello"}),
    "responses": Kind("/v1/responses", {"model": "{model}", "input": "Hello"}),
    "messages": Kind("/v1/messages", {"model": "{model}", "max_tokens": 5, "messages": HELLO}),
    "messages streamed": Kind("/v1/messages", {"model": "{model}", "max_tokens": 5, "messages": HELLO, "stream": True}),
    "gemini": Kind("/v1beta/models/{model}:generateContent", {"contents": [{"parts": [{"text": "Hello"}]}]}),
    "embeddings": Kind("/v1/embeddings", {"model": "{model}", "input": ["Hello"]}, 1),
    "embeddings, engine in the path": Kind("/engines/{model}/embeddings", {"input": "Hello"}, 1),
    "transcriptions": Kind("/v1/audio/transcriptions", TRANSCRIPTION, 2, MULTIPART),
    "images": Kind("/v1/images/generations", {"model": "{model}", "prompt": "Hello"}, 3),
    "moderations": Kind("/v1/moderations", {"model": "{model}", "input": "Hello"}, 4),
}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
def test_what_a_member_may_use_is_called(proxy: Proxy, provider: Provider, kind: Kind) -> None:
    answer = kind.send(proxy, MEMBER, ALLOWED[kind.kind])
    assert answer.status == 200, answer.body
    assert ALLOWED[kind.kind] in provider.take()


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
def test_what_a_member_may_not_use_reaches_nobody(proxy: Proxy, provider: Provider, kind: Kind) -> None:
    answer = kind.send(proxy, MEMBER, DENIED[kind.kind])
    assert answer.status == 403, answer.body
    error = answer.error
    assert error["type"] == "permission_error"
    assert f"may not use model {DENIED[kind.kind]!r}" in error["message"]
    assert "ask the team's administrator" in error["message"]
    assert DENIED[kind.kind] not in provider.take()
    # Somebody else's key shows that it is the policy that refuses.
    assert kind.send(proxy, LEAD, DENIED[kind.kind]).status == 200
    assert DENIED[kind.kind] in provider.take()


def test_the_error_is_what_clients_of_openai_read(proxy: Proxy) -> None:
    answer = proxy.chat(MEMBER, "gpt-4o")
    error = answer.error
    assert {key: error[key] for key in ("type", "param", "code")} == {
        "type": "permission_error",
        "param": "model",
        "code": "403",
    }
    fields = error["provider_specific_fields"]
    assert (fields["reason"], fields["model"]) == ("member_model_access_denied", "gpt-4o")
    assert "." in fields["revision"]
