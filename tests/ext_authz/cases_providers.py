"""Requests as the APIs' own clients send them: every method and path of the default table."""

from __future__ import annotations

from tests.ext_authz.cases_shape import UPGRADE, Case, bare_cases, json_cases, multipart_cases

GPT, MINI, IMAGE, WHISPER, EMBED = "gpt-4o", "gpt-4o-mini", "gpt-image-1", "whisper-1", "text-embedding-3-small"
CLAUDE, HAIKU, OPUS = "claude-sonnet-4-5", "claude-haiku-4-5", "claude-opus-4-6"
GEMINI, FLASH, ADA = "gemini-2.5-pro", "gemini-2.5-flash", "ada-deployment"
NOVA = "amazon.nova-pro-v1:0"
ARN = "arn:aws:bedrock:eu-west-1:123456789012:inference-profile/eu.amazon.nova-pro-v1:0"
ARN_IN_A_PATH = "arn%3Aaws%3Abedrock%3Aeu-west-1%3A123456789012%3Ainference-profile%2Feu.amazon.nova-pro-v1%3A0"
COMMAND, RERANK = "command-a-03-2025", "rerank-v3.5"

# What the tests' configuration has as `stored_models`.
STORED_MODELS = {"pmpt_known": MINI, "cachedContents/known": FLASH}

HELLO = [{"role": "user", "content": "Hello"}]
CONTENTS = [{"role": "user", "parts": [{"text": "Hello"}]}]
ADVISOR = {"type": "advisor_20260301", "name": "advisor", "model": OPUS}
FUNCTION = {"type": "function", "name": "weather", "parameters": {"type": "object", "properties": {"model": {}}}}
PAINTER = {"type": "image_generation", "model": IMAGE}
VECTOR = {"type": "image_generation", "model": IMAGE, "svg": {"model": "svg-model"}}
# Anthropic's tools that are defined, or changed, within the messages. Texts stand beside what is looked at.
TOLD = [
    {"role": "user", "content": "Hello"},
    {"role": "user", "content": ["text", {"type": "text", "text": "Hello"}]},
    {"role": "system", "content": [{"type": "tool_addition", "tool": {"definition": {"name": "a", "model": "told"}}}]},
    {"role": "system", "content": [{"tool_changes": [{"tool": {"definition": {"name": "b", "model": "changed"}}}]}]},
]

CHAT = ("/v1/chat/completions", "/openai/v1/chat/completions")
RESPONSES = ("/v1/responses", "/openai/v1/responses")
RESPONSES_SIDE = ("/v1/responses/compact", "/v1/responses/input_tokens")
RESPONSES_SIDE += ("/openai/v1/responses/compact", "/openai/v1/responses/input_tokens")
RESPONSES_SIDE += ("/openai/responses?api-version=2025-04-01-preview", "/openai/responses/compact")
RESPONSES_SIDE += ("/openai/responses/input_tokens",)
CONVERSATION = ("", "/items", "/items/msg_1")
VECTOR_STORE = ("", "/files", "/files/file-1", "/files/file-1/content", "/file_batches/b1", "/file_batches/b1/files")
OPENAI_VERSIONS = ("/v1", "/openai/v1")
MESSAGES = ("/v1/messages", "/anthropic/v1/messages")
COUNT_TOKENS = ("/v1/messages/count_tokens", "/anthropic/v1/messages/count_tokens")
BATCHES = ("/v1/messages/batches", "/anthropic/v1/messages/batches")
VERTEX = "/v1/projects/acme/locations/global/publishers"
VERTEX_BETA = "/v1beta1/projects/acme/locations/global/publishers"

_OPENAI = (
    *json_cases("openai.chat.completions", "", {"model": GPT, "messages": HELLO}, (GPT,), *CHAT),
    *json_cases(
        "openai.chat.completions",
        "router fallbacks",
        {"model": GPT, "models": [MINI, "llama"], "fallbacks": ["mistral"], "messages": HELLO},
        (GPT, MINI, "llama", "mistral"),
        *CHAT,
    ),
    *json_cases(
        "openai.chat.completions",
        "fallbacks of a gateway",
        {"model": GPT, "providerOptions": {"gateway": {"order": ["azure"], "models": [MINI]}}, "messages": HELLO},
        (GPT, MINI),
        CHAT[0],
    ),
    *json_cases(
        "openai.chat.completions",
        "side models",
        {"model": GPT, "moderation": {"model": "omni"}, "safety_model": "guard", "draft_model": "small"},
        (GPT, "omni", "guard", "small"),
        CHAT[0],
    ),
    *json_cases(
        "openai.chat.completions",
        "tools with models",
        {
            "model": GPT,
            "tools": [
                {"type": "function", "function": {"name": "f", "parameters": {"properties": {"model": {}}}}},
                {"type": "openrouter:advisor", "parameters": {"model": OPUS}},
                {"type": "openrouter:image_generation", "parameters": {"model": IMAGE}},
            ],
            "plugins": [{"id": "web"}, {"id": "judge", "model": MINI}],
        },
        (GPT, OPUS, IMAGE, MINI),
        CHAT[0],
    ),
    *json_cases(
        "openai.chat.completions", "svg of a tool", {"model": GPT, "tools": [VECTOR]}, (GPT, IMAGE, "svg-model"), *CHAT
    ),
    *json_cases(
        "openai.chat.completions",
        "embeddings of one's own data",
        {
            "model": GPT,
            "data_sources": [
                {"parameters": {"embedding_dependency": {"type": "deployment_name", "deployment_name": ADA}}}
            ],
        },
        (GPT, ADA),
        CHAT[0],
    ),
    *json_cases(
        "openai.chat.completions", "stored prompt", {"model": GPT, "prompt_id": "pmpt_known"}, (GPT, MINI), *CHAT
    ),
    *json_cases(
        "openai.completions",
        "",
        {"model": "gpt-3.5-turbo-instruct", "prompt": "Hello"},
        ("gpt-3.5-turbo-instruct",),
        "/v1/completions",
        "/openai/v1/completions",
    ),
    *json_cases(
        "openai.embeddings", "", {"model": EMBED, "input": "Hello"}, (EMBED,), "/v1/embeddings", "/openai/v1/embeddings"
    ),
    *json_cases("openai.responses", "", {"model": GPT, "input": "Hello"}, (GPT,), *RESPONSES, *RESPONSES_SIDE),
    *json_cases(
        "openai.responses",
        "tools with models",
        {"model": GPT, "input": HELLO, "tools": [FUNCTION, PAINTER, {"type": "x", "model": MINI}]},
        (GPT, IMAGE, MINI),
        *RESPONSES,
    ),
    *json_cases(
        "openai.responses",
        "svg of a tool",
        {"model": GPT, "input": HELLO, "tools": [VECTOR]},
        (GPT, IMAGE, "svg-model"),
        *RESPONSES,
        "/openai/responses",
    ),
    *(
        case
        for kind in ("additional_tools", "tool_search_output")
        for case in json_cases(
            "openai.responses",
            f"svg of a tool in {kind}",
            {"model": GPT, "input": [{"type": kind, "tools": [VECTOR]}]},
            (GPT, IMAGE, "svg-model"),
            RESPONSES[0],
        )
    ),
    *json_cases(
        "openai.responses",
        "stored prompt",
        {"model": GPT, "prompt": {"id": "pmpt_known", "variables": {"model": "text"}}, "moderation": {"model": "omni"}},
        (GPT, MINI, "omni"),
        *RESPONSES,
    ),
    *bare_cases("openai.responses.websocket", "", "GET", (), *RESPONSES, headers=UPGRADE, refusal="route_denied"),
    *json_cases(
        "openai.images.generations",
        "",
        {"model": IMAGE, "prompt": "A cat", "moderation": "low"},
        (IMAGE,),
        "/v1/images/generations",
        "/openai/v1/images/generations",
    ),
    *json_cases(
        "openai.images.generations",
        "svg",
        {"model": IMAGE, "prompt": "A cat", "svg": {"model": "svg-model"}},
        (IMAGE, "svg-model"),
        "/v1/images/generations",
    ),
    *json_cases(
        "openai.images.edits",
        "svg",
        {"model": IMAGE, "images": [], "svg": {"model": "svg-model"}},
        (IMAGE, "svg-model"),
        "/v1/images/edits",
    ),
    *multipart_cases(
        "openai.images.edits",
        "",
        {"model": IMAGE, "prompt": "A cat"},
        (IMAGE,),
        "/v1/images/edits",
        "/v1/images/variations",
        "/openai/v1/images/edits",
    ),
    *json_cases("openai.images.edits", "json", {"model": IMAGE, "images": []}, (IMAGE,), "/v1/images/edits"),
    *json_cases(
        "openai.audio.speech",
        "",
        {"model": "tts-1", "input": "Hello", "voice": "alloy"},
        ("tts-1",),
        "/v1/audio/speech",
        "/openai/v1/audio/speech",
    ),
    *multipart_cases(
        "openai.audio.transcriptions",
        "",
        {"model": WHISPER, "timestamp_granularities[]": "word"},
        (WHISPER,),
        "/v1/audio/transcriptions",
        "/v1/audio/translations",
        "/openai/v1/audio/transcriptions",
        "/openai/v1/audio/translations",
    ),
    *json_cases(
        "openai.moderations",
        "",
        {"model": "omni-moderation-latest", "input": "Hello"},
        ("omni-moderation-latest",),
        "/v1/moderations",
        "/openai/v1/moderations",
    ),
    *json_cases(
        "openai.videos", "", {"model": "sora-2", "prompt": "A cat"}, ("sora-2",), "/v1/videos", "/openai/v1/videos"
    ),
    *multipart_cases("openai.videos", "multipart", {"model": "sora-2", "prompt": "A cat"}, ("sora-2",), "/v1/videos"),
    *json_cases(
        "openai.videos.derived",
        "",
        {"prompt": "More of it"},
        (),
        "/v1/videos/video_1/remix",
        "/v1/videos/edits",
        "/v1/videos/extensions",
        "/v1/videos/characters",
        "/openai/v1/videos/video_1/remix",
        "/openai/v1/videos/edits",
        "/openai/v1/videos/extensions",
        "/openai/v1/videos/characters",
        refusal="route_denied",
    ),
    *bare_cases(
        "openai.videos.stored",
        "",
        "GET",
        (),
        "/v1/videos",
        "/v1/videos/video_1",
        "/v1/videos/video_1/content?variant=video",
        "/v1/videos/characters/char_1",
        "/openai/v1/videos",
        "/openai/v1/videos/video_1",
        "/openai/v1/videos/video_1/content",
    ),
    *bare_cases("openai.videos.stored", "deleted", "DELETE", (), "/v1/videos/video_1"),
    *json_cases(
        "openai.fine_tuning.jobs",
        "",
        {"model": MINI, "training_file": "file-1"},
        (MINI,),
        "/v1/fine_tuning/jobs",
        "/openai/v1/fine_tuning/jobs",
    ),
    *json_cases(
        "openai.fine_tuning.jobs",
        "grader",
        {"model": MINI, "method": {"reinforcement": {"grader": {"type": "score_model", "model": GPT}}}},
        (MINI, GPT),
        "/v1/fine_tuning/jobs",
    ),
    *bare_cases(
        "openai.fine_tuning.jobs.stored",
        "",
        "GET",
        (),
        "/v1/fine_tuning/jobs?limit=2",
        "/v1/fine_tuning/jobs/ftjob-1",
        "/v1/fine_tuning/jobs/ftjob-1/events",
        "/v1/fine_tuning/jobs/ftjob-1/checkpoints",
        "/openai/v1/fine_tuning/jobs",
        "/openai/v1/fine_tuning/jobs/ftjob-1",
        "/openai/v1/fine_tuning/jobs/ftjob-1/events",
        "/openai/v1/fine_tuning/jobs/ftjob-1/checkpoints",
    ),
    *bare_cases(
        "openai.fine_tuning.jobs.control",
        "",
        "POST",
        (),
        "/v1/fine_tuning/jobs/ftjob-1/cancel",
        "/v1/fine_tuning/jobs/ftjob-1/pause",
        "/v1/fine_tuning/jobs/ftjob-1/resume",
        "/openai/v1/fine_tuning/jobs/ftjob-1/cancel",
        "/openai/v1/fine_tuning/jobs/ftjob-1/pause",
        "/openai/v1/fine_tuning/jobs/ftjob-1/resume",
    ),
    *bare_cases(
        "openai.realtime",
        "",
        "GET",
        ("gpt-realtime",),
        "/v1/realtime?model=gpt-realtime",
        "/v1/realtime/translations?model=gpt-realtime",
        "/openai/v1/realtime?model=gpt-realtime",
        headers=UPGRADE,
    ),
    *json_cases(
        "openai.realtime.client_secrets",
        "",
        {
            "session": {
                "type": "realtime",
                "model": "gpt-realtime",
                "prompt": {"id": "pmpt_known"},
                "audio": {"input": {"transcription": {"model": WHISPER}}},
                "tools": [{"type": "function", "name": "f"}, {"type": "x", "model": "side"}],
            }
        },
        ("gpt-realtime", MINI, WHISPER, "side"),
        "/v1/realtime/client_secrets",
        "/v1/realtime/translations/client_secrets",
        "/openai/v1/realtime/client_secrets",
    ),
    *json_cases(
        "openai.realtime.sessions",
        "",
        {
            "model": "gpt-realtime",
            "input_audio_transcription": {"model": WHISPER},
            "tools": [{"type": "x", "model": "side"}],
        },
        ("gpt-realtime", WHISPER, "side"),
        "/v1/realtime/sessions",
    ),
    *json_cases(
        "openai.realtime.transcription_sessions",
        "",
        {"input_audio_transcription": {"model": WHISPER}},
        (WHISPER,),
        "/v1/realtime/transcription_sessions",
    ),
    *multipart_cases(
        "openai.realtime.calls",
        "",
        {"session": '{"model": "gpt-realtime"}'},
        (),
        "/v1/realtime/calls",
        "/openai/v1/realtime/calls",
        refusal="route_denied",
    ),
    *bare_cases("openai.models.list", "", "GET", (), "/v1/models", "/openai/v1/models", "/openai/models"),
    *bare_cases(
        "openai.models",
        "",
        "GET",
        ("ft:gpt-4o:acme::1",),
        "/v1/models/ft:gpt-4o:acme::1",
        "/openai/v1/models/ft:gpt-4o:acme::1",
        "/openai/models/ft:gpt-4o:acme::1?api-version=2024-10-21",
    ),
    *bare_cases("openai.models", "with slashes", "GET", ("meta/llama/3",), "/v1/models/meta/llama/3"),
    *bare_cases("openai.models", "encoded", "GET", ("meta/llama 3",), "/v1/models/meta%2Fllama%203"),
    *bare_cases("openai.models", "deleted", "DELETE", (MINI,), f"/v1/models/{MINI}", f"/openai/v1/models/{MINI}"),
    *multipart_cases(
        "openai.files", "", {"purpose": "user_data"}, (), "/v1/files", "/openai/v1/files", "/openai/files"
    ),
    *bare_cases(
        "openai.files.stored",
        "",
        "GET",
        (),
        "/v1/files?purpose=batch",
        "/v1/files/file-1",
        "/v1/files/file-1/content",
        "/openai/v1/files",
        "/openai/v1/files/file-1",
        "/openai/v1/files/file-1/content",
        "/openai/files?api-version=2024-10-21",
        "/openai/files/file-1",
        "/openai/files/file-1/content",
    ),
    *bare_cases("openai.files.stored", "deleted", "DELETE", (), "/v1/files/file-1"),
    *json_cases(
        "openai.batches",
        "",
        {"input_file_id": "file-1", "endpoint": "/v1/chat/completions", "completion_window": "24h"},
        (),
        "/v1/batches",
        "/openai/v1/batches",
        refusal="route_denied",
    ),
    *bare_cases(
        "openai.batches.stored",
        "",
        "GET",
        (),
        "/v1/batches",
        "/v1/batches/batch_1",
        "/openai/v1/batches",
        "/openai/v1/batches/batch_1",
    ),
    *bare_cases(
        "openai.batches.cancel", "", "POST", (), "/v1/batches/batch_1/cancel", "/openai/v1/batches/batch_1/cancel"
    ),
    *bare_cases(
        "openai.chat.completions.stored",
        "",
        "GET",
        (),
        "/v1/chat/completions?limit=5",
        "/v1/chat/completions/chatcmpl-1",
        "/v1/chat/completions/chatcmpl-1/messages",
    ),
    *bare_cases("openai.chat.completions.stored", "deleted", "DELETE", (), "/v1/chat/completions/chatcmpl-1"),
    *json_cases("openai.chat.completions.update", "", {"metadata": {"a": "b"}}, (), "/v1/chat/completions/chatcmpl-1"),
    *bare_cases(
        "openai.responses.stored",
        "",
        "GET",
        (),
        "/v1/responses/resp_1",
        "/v1/responses/resp_1/input_items",
        "/openai/v1/responses/resp_1",
        "/openai/v1/responses/resp_1/input_items",
        "/openai/responses/resp_1",
        "/openai/responses/resp_1/input_items",
    ),
    *bare_cases("openai.responses.stored", "deleted", "DELETE", (), "/v1/responses/resp_1"),
    *bare_cases(
        "openai.responses.cancel",
        "",
        "POST",
        (),
        "/v1/responses/resp_1/cancel",
        "/openai/v1/responses/resp_1/cancel",
        "/openai/responses/resp_1/cancel",
    ),
    *(
        case
        for what, method in (("", "GET"), ("deleted", "DELETE"))
        for route, paths in (
            (
                "openai.conversations.stored",
                [f"{version}/conversations/conv_1{more}" for version in OPENAI_VERSIONS for more in CONVERSATION],
            ),
            (
                "openai.vector_stores.stored",
                [f"{version}/vector_stores/vs_1{more}" for version in OPENAI_VERSIONS for more in VECTOR_STORE],
            ),
            ("openai.uploads.stored", [f"{version}/uploads/upload_1" for version in OPENAI_VERSIONS]),
        )
        for case in bare_cases(route, what, method, (), *(paths if method == "GET" else paths[:1]))
    ),
    *bare_cases(
        "openai.vector_stores.stored", "listed", "GET", (), "/v1/vector_stores?limit=2", "/openai/v1/vector_stores"
    ),
)

_AZURE = (
    *json_cases(
        "azure.chat.completions",
        "",
        {"messages": HELLO},
        (GPT,),
        f"/openai/deployments/{GPT}/chat/completions?api-version=2024-10-21",
    ),
    *json_cases(
        "azure.chat.completions",
        "the same model in the body",
        {
            "model": GPT,
            "data_sources": [{"parameters": {"embedding_dependency": {"deployment_name": ADA}}}],
            "fallbacks": [MINI],
        },
        (GPT, ADA, MINI),
        f"/openai/deployments/{GPT}/chat/completions",
    ),
    *json_cases(
        "azure.chat.completions",
        "svg of a tool",
        {"tools": [VECTOR]},
        (GPT, IMAGE, "svg-model"),
        f"/openai/deployments/{GPT}/chat/completions",
    ),
    *json_cases(
        "azure.deployments",
        "svg",
        {"prompt": "A cat", "svg": {"model": "svg-model"}},
        (IMAGE, "svg-model"),
        f"/openai/deployments/{IMAGE}/images/generations",
    ),
    *json_cases(
        "azure.deployments",
        "",
        {"input": "Hello"},
        (ADA,),
        f"/openai/deployments/{ADA}/embeddings?api-version=2024-10-21",
        f"/openai/deployments/{ADA}/completions",
        f"/openai/deployments/{ADA}/images/generations",
        f"/openai/deployments/{ADA}/audio/speech",
    ),
    *multipart_cases(
        "azure.deployments.multipart",
        "",
        {"language": "de"},
        (WHISPER,),
        f"/openai/deployments/{WHISPER}/audio/transcriptions?api-version=2024-10-21",
        f"/openai/deployments/{WHISPER}/audio/translations",
        f"/openai/deployments/{WHISPER}/images/edits",
    ),
)

_ANTHROPIC = (
    *json_cases(
        "anthropic.messages",
        "",
        {"model": CLAUDE, "max_tokens": 8, "messages": HELLO},
        (CLAUDE,),
        *MESSAGES,
        *COUNT_TOKENS,
        "/v1/messages?beta=true",
    ),
    *json_cases(
        "anthropic.messages",
        "fallbacks and tools",
        {
            "model": CLAUDE,
            "fallbacks": [{"model": HAIKU, "max_tokens": 8}],
            "tools": [{"name": "f", "input_schema": {"properties": {"model": {}}}}, ADVISOR],
        },
        (CLAUDE, HAIKU, OPUS),
        *MESSAGES,
        *COUNT_TOKENS,
    ),
    *json_cases(
        "anthropic.messages",
        "tools in messages",
        {"model": CLAUDE, "messages": TOLD},
        (CLAUDE, "told", "changed"),
        *MESSAGES,
        *COUNT_TOKENS,
    ),
    *json_cases(
        "anthropic.messages.batches",
        "tools in messages",
        {"requests": [{"params": {"model": CLAUDE, "messages": TOLD, "prompt_id": "pmpt_known"}}]},
        (CLAUDE, "told", "changed", MINI),
        *BATCHES,
    ),
    *json_cases(
        "anthropic.messages.batches",
        "",
        {
            "requests": [
                {"custom_id": "1", "params": {"model": CLAUDE, "fallbacks": [{"model": HAIKU}]}},
                {"custom_id": "2", "params": {"model": "claude-3", "tools": [ADVISOR]}},
            ]
        },
        (CLAUDE, HAIKU, "claude-3", OPUS),
        *BATCHES,
    ),
    *bare_cases(
        "anthropic.messages.batches.stored",
        "",
        "GET",
        (),
        "/v1/messages/batches",
        "/v1/messages/batches/msgbatch_1",
        "/v1/messages/batches/msgbatch_1/results",
        "/anthropic/v1/messages/batches",
        "/anthropic/v1/messages/batches/msgbatch_1",
        "/anthropic/v1/messages/batches/msgbatch_1/results",
    ),
    *bare_cases("anthropic.messages.batches.stored", "deleted", "DELETE", (), "/v1/messages/batches/msgbatch_1"),
    *bare_cases(
        "anthropic.messages.batches.cancel",
        "",
        "POST",
        (),
        "/v1/messages/batches/msgbatch_1/cancel",
        "/anthropic/v1/messages/batches/msgbatch_1/cancel",
    ),
    *json_cases(
        "anthropic.complete",
        "",
        {"model": "claude-2.1", "prompt": "Hi"},
        ("claude-2.1",),
        "/v1/complete",
        "/anthropic/v1/complete",
    ),
)

_GEMINI = (
    *json_cases(
        "gemini.generate",
        "",
        {"contents": CONTENTS},
        (GEMINI,),
        f"/v1beta/models/{GEMINI}:generateContent",
        f"/v1beta/models/{GEMINI}:streamGenerateContent?alt=sse",
        f"/v1beta/models/{GEMINI}:generateAnswer",
        f"/v1/models/{GEMINI}:generateContent",
        f"/v1/models/{GEMINI}:streamGenerateContent",
    ),
    *json_cases(
        "gemini.generate",
        "the same model in the body",
        {"model": f"models/{GEMINI}", "contents": CONTENTS},
        (GEMINI,),
        f"/v1beta/models/{GEMINI}:generateContent",
    ),
    *json_cases(
        "gemini.generate",
        "cachedContent",
        {"contents": CONTENTS, "cachedContent": "cachedContents/known"},
        (GEMINI, FLASH),
        f"/v1beta/models/{GEMINI}:generateContent",
    ),
    *json_cases(
        "gemini.generate",
        "cached_content",
        {"contents": CONTENTS, "cached_content": "cachedContents/known"},
        (GEMINI, FLASH),
        f"/v1beta/models/{GEMINI}:generateContent",
    ),
    *json_cases(
        "gemini.countTokens",
        "",
        {"generateContentRequest": {"model": f"models/{FLASH}", "cachedContent": "cachedContents/known"}},
        (GEMINI, FLASH),
        f"/v1beta/models/{GEMINI}:countTokens",
    ),
    *json_cases(
        "gemini.countTokens",
        "snake_case",
        {"generate_content_request": {"model": f"models/{FLASH}"}},
        (GEMINI, FLASH),
        f"/v1/models/{GEMINI}:countTokens",
    ),
    *json_cases("gemini.embed", "", {"content": {}}, ("embedding-001",), "/v1beta/models/embedding-001:embedContent"),
    *json_cases(
        "gemini.embed",
        "batch",
        {"requests": [{"model": "models/embedding-001"}, {"model": "models/embedding-002"}, {}]},
        ("embedding-001", "embedding-002"),
        "/v1beta/models/embedding-001:batchEmbedContents",
    ),
    *json_cases(
        "gemini.predict",
        "",
        {"instances": [{"prompt": "A cat"}]},
        ("imagen-4",),
        "/v1beta/models/imagen-4:predict",
        "/v1beta/models/imagen-4:predictLongRunning",
    ),
    *json_cases(
        "gemini.batches",
        "",
        {"batch": {"input_config": {"file_name": "files/1"}}},
        (),
        f"/v1beta/models/{GEMINI}:batchGenerateContent",
        f"/v1beta/models/{GEMINI}:asyncBatchEmbedContent",
        refusal="route_denied",
    ),
    *json_cases(
        "gemini.interactions",
        "",
        {"model": f"models/{GEMINI}", "input": "Hi"},
        (GEMINI,),
        "/v1beta/interactions",
        "/v1/interactions",
    ),
    *bare_cases("gemini.interactions.stored", "", "GET", (), "/v1beta/interactions/int_1", "/v1/interactions/int_1"),
    *bare_cases("gemini.interactions.stored", "deleted", "DELETE", (), "/v1beta/interactions/int_1"),
    *bare_cases(
        "gemini.interactions.cancel",
        "",
        "POST",
        (),
        "/v1beta/interactions/int_1/cancel",
        "/v1/interactions/int_1/cancel",
    ),
    *json_cases(
        "gemini.cachedContents",
        "",
        {"model": f"models/{FLASH}", "tools": [{"googleSearch": {}}]},
        (FLASH,),
        "/v1beta/cachedContents",
        "/v1/cachedContents",
    ),
    *bare_cases(
        "gemini.cachedContents.stored",
        "",
        "GET",
        (),
        "/v1beta/cachedContents",
        "/v1beta/cachedContents/c1",
        "/v1/cachedContents",
        "/v1/cachedContents/c1",
    ),
    *bare_cases("gemini.cachedContents.stored", "deleted", "DELETE", (), "/v1beta/cachedContents/c1"),
    *bare_cases("gemini.models.list", "", "GET", (), "/v1beta/models?pageSize=5"),
    *bare_cases("gemini.models", "", "GET", (GEMINI,), f"/v1beta/models/{GEMINI}"),
    *bare_cases(
        "gemini.models.operations",
        "",
        "GET",
        (GEMINI,),
        f"/v1beta/models/{GEMINI}/operations/op1",
        f"/v1/models/{GEMINI}/operations/op1",
    ),
    *multipart_cases("gemini.files", "", {}, (), "/upload/v1beta/files", "/v1beta/files", "/upload/v1/files"),
    *bare_cases("gemini.files", "put", "PUT", (), "/upload/v1beta/files?upload_id=1"),
    *bare_cases("gemini.files.stored", "", "GET", (), "/v1beta/files", "/v1beta/files/f1"),
    *bare_cases("gemini.files.stored", "deleted", "DELETE", (), "/v1beta/files/f1"),
    *bare_cases(
        "gemini.live",
        "",
        "GET",
        (),
        "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent",
        "/ws/google.ai.generativelanguage.v1alpha.GenerativeService.BidiGenerateContent",
        "/ws/google.ai.generativelanguage.v1alpha.GenerativeService.BidiGenerateContentConstrained",
        "/ws/google.ai.generativelanguage.v1alpha.GenerativeService.BidiGenerateMusic",
        "/ws/google.cloud.aiplatform.v1.LlmBidiService/BidiGenerateContent",
        "/ws/google.cloud.aiplatform.v1beta1.LlmBidiService/BidiGenerateContent",
        headers=UPGRADE,
        refusal="route_denied",
    ),
    *json_cases(
        "gemini.openai",
        "",
        {"model": f"models/{GEMINI}", "messages": HELLO, "extra_body": {"google": {"thinking_config": {}}}},
        (GEMINI,),
        "/v1beta/openai/chat/completions",
        "/v1beta/openai/embeddings",
        "/v1beta/openai/images/generations",
    ),
    *json_cases(
        "gemini.openai",
        "cached content",
        {"model": GEMINI, "extra_body": {"google": {"cached_content": "cachedContents/known"}}},
        (GEMINI, FLASH),
        "/v1beta/openai/chat/completions",
    ),
    *bare_cases("gemini.openai.models.list", "", "GET", (), "/v1beta/openai/models"),
    *bare_cases(
        "gemini.openai.models",
        "",
        "GET",
        (GEMINI,),
        f"/v1beta/openai/models/{GEMINI}",
        f"/v1beta/openai/models/models/{GEMINI}",
    ),
)

_VERTEX = (
    *json_cases(
        "vertex.anthropic.count_tokens",
        "",
        {"model": "claude-sonnet-4@20250514", "messages": HELLO, "tools": [ADVISOR]},
        ("claude-sonnet-4@20250514", OPUS),
        f"{VERTEX}/anthropic/models/count-tokens:rawPredict",
    ),
    *json_cases(
        "vertex.anthropic.count_tokens",
        "fallbacks and tools in messages",
        {"model": CLAUDE, "messages": TOLD, "fallbacks": [{"model": HAIKU}]},
        (CLAUDE, "told", "changed", HAIKU),
        f"{VERTEX}/anthropic/models/count-tokens:rawPredict",
    ),
    *json_cases(
        "vertex.predict",
        "tools in messages",
        {"messages": TOLD},
        (CLAUDE, "told", "changed"),
        f"{VERTEX}/anthropic/models/{CLAUDE}:rawPredict",
    ),
    *json_cases(
        "vertex.generate",
        "",
        {"contents": CONTENTS},
        (GEMINI,),
        f"{VERTEX}/google/models/{GEMINI}:generateContent",
        f"{VERTEX_BETA}/google/models/{GEMINI}:streamGenerateContent?alt=sse",
        f"{VERTEX}/google/models/{GEMINI}:countTokens",
        f"{VERTEX}/google/models/{GEMINI}:computeTokens",
        f"/v1/publishers/google/models/{GEMINI}:generateContent",
        f"/v1/publishers/google/models/{GEMINI}:streamGenerateContent",
        f"/v1beta1/publishers/google/models/{GEMINI}:countTokens",
        f"/v1beta1/publishers/google/models/{GEMINI}:computeTokens",
    ),
    *json_cases(
        "vertex.generate",
        "a resource name in the body",
        {"model": f"projects/acme/locations/global/publishers/google/models/{GEMINI}", "contents": CONTENTS},
        (GEMINI,),
        f"{VERTEX}/google/models/{GEMINI}:countTokens",
    ),
    *json_cases(
        "vertex.predict",
        "",
        {
            "anthropic_version": "vertex-2023-10-16",
            "messages": HELLO,
            "tools": [ADVISOR],
            "fallbacks": [{"model": HAIKU}],
        },
        ("claude-sonnet-4@20250514", OPUS, HAIKU),
        f"{VERTEX}/anthropic/models/claude-sonnet-4@20250514:rawPredict",
        f"{VERTEX}/anthropic/models/claude-sonnet-4@20250514:streamRawPredict",
    ),
    *json_cases(
        "vertex.predict",
        "instances",
        {"instances": [{"prompt": "A cat"}]},
        ("imagen-4",),
        f"{VERTEX}/google/models/imagen-4:predict",
        f"{VERTEX}/google/models/imagen-4:predictLongRunning",
        f"{VERTEX}/google/models/imagen-4:fetchPredictOperation",
        f"{VERTEX}/google/models/imagen-4:serverStreamingPredict",
        f"{VERTEX}/google/models/imagen-4:embedContent",
        "/v1/publishers/google/models/imagen-4:predict",
    ),
    *json_cases(
        "vertex.openai",
        "",
        {"model": "google/gemini-2.5-pro", "messages": HELLO, "google": {"cached_content": "cachedContents/known"}},
        ("google/gemini-2.5-pro", FLASH),
        "/v1/projects/acme/locations/global/endpoints/openapi/chat/completions",
    ),
    *json_cases(
        "vertex.cachedContents",
        "",
        {"model": f"projects/acme/locations/global/publishers/google/models/{FLASH}"},
        (FLASH,),
        "/v1/projects/acme/locations/global/cachedContents",
    ),
    *bare_cases(
        "vertex.cachedContents.stored",
        "",
        "GET",
        (),
        "/v1/projects/acme/locations/global/cachedContents",
        "/v1/projects/acme/locations/global/cachedContents/c1",
    ),
    *bare_cases(
        "vertex.cachedContents.stored", "deleted", "DELETE", (), "/v1/projects/acme/locations/global/cachedContents/c1"
    ),
)

_BEDROCK_AND_COHERE = (
    *json_cases(
        "bedrock.invoke",
        "",
        {"anthropic_version": "bedrock-2023-05-31", "messages": HELLO, "tools": [ADVISOR]},
        (NOVA, OPUS),
        "/model/amazon.nova-pro-v1%3A0/invoke",
        "/model/amazon.nova-pro-v1:0/invoke-with-response-stream",
    ),
    *json_cases(
        "bedrock.invoke",
        "fallbacks and tools in messages",
        {"messages": TOLD, "fallbacks": [{"model": HAIKU}]},
        (NOVA, "told", "changed", HAIKU),
        "/model/amazon.nova-pro-v1%3A0/invoke",
    ),
    *(
        Case(
            f"bedrock.invoke {what}",
            "POST",
            "/model/amazon.nova-pro-v1%3A0/invoke",
            headers,
            b'{"tools": [{"model": "side"}]}',
            (NOVA, "side"),
            "",
            "bedrock.invoke",
        )
        for what, headers in (
            ("without a content type", ()),
            ("bytes", (("content-type", "application/octet-stream"),)),
        )
    ),
    *json_cases("bedrock.invoke", "arn", {"messages": HELLO}, (ARN,), f"/model/{ARN_IN_A_PATH}/invoke"),
    *json_cases(
        "bedrock.converse",
        "",
        {"messages": HELLO, "additionalModelRequestFields": {"tools": [ADVISOR], "fallbacks": [{"model": HAIKU}]}},
        (ARN, OPUS, HAIKU),
        f"/model/{ARN_IN_A_PATH}/converse",
        f"/model/{ARN_IN_A_PATH}/converse-stream",
    ),
    *json_cases(
        "bedrock.count_tokens",
        "",
        {"input": {"converse": {"messages": HELLO, "additionalModelRequestFields": {"tools": [ADVISOR]}}}},
        (NOVA, OPUS),
        "/model/amazon.nova-pro-v1%3A0/count-tokens",
    ),
    *json_cases(
        "bedrock.count_tokens",
        "fallbacks",
        {"input": {"converse": {"additionalModelRequestFields": {"model": "x", "fallbacks": [{"model": HAIKU}]}}}},
        (NOVA, "x", HAIKU),
        "/model/amazon.nova-pro-v1%3A0/count-tokens",
    ),
    *bare_cases(
        "bedrock.bidirectional",
        "",
        "POST",
        (),
        "/model/amazon.nova-sonic-v1%3A0/invoke-with-bidirectional-stream",
        refusal="route_denied",
    ),
    *json_cases("cohere.chat", "", {"model": COMMAND, "messages": HELLO}, (COMMAND,), "/v2/chat", "/v1/chat"),
    *json_cases(
        "cohere.rerank", "", {"model": RERANK, "query": "?", "documents": []}, (RERANK,), "/v2/rerank", "/v1/rerank"
    ),
    *json_cases("cohere.embed", "", {"model": "embed-v4.0", "texts": []}, ("embed-v4.0",), "/v2/embed", "/v1/embed"),
)

PROVIDER_CASES: tuple[Case, ...] = (
    *_OPENAI,
    *_AZURE,
    *_ANTHROPIC,
    *_GEMINI,
    *_VERTEX,
    *_BEDROCK_AND_COHERE,
)
