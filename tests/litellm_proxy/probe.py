"""Another callback of the tests' proxy: shows what LiteLLM logs, and renames the model where a test wants it. Runs
inside the proxy."""

import json
from typing import Any

from litellm.integrations.custom_logger import CustomLogger


class Probe(CustomLogger):
    """Prints the gate's event of each call to the proxy's log."""

    async def async_pre_call_hook(self, user_api_key_dict: Any, cache: Any, data: Any, call_type: str) -> Any:
        if data.get("user") == "rename":
            data["model"] = "gpt-4o"
        return data

    async def async_log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        self._show("success", kwargs)

    async def async_log_failure_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        self._show("failure", kwargs)

    def _show(self, what: str, kwargs: Any) -> None:
        payload = kwargs.get("standard_logging_object") or {}
        kept = (payload.get("metadata") or {}).get("spend_logs_metadata") or {}
        print(f"probe.{what} {json.dumps(kept.get('policy_service'))}", flush=True)


probe = Probe()
