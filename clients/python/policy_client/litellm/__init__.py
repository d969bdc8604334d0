"""The policy as a callback of a LiteLLM proxy, switched on by one line of its configuration:

    litellm_settings:
      callbacks: policy_client.litellm.policy_gate

It is configured by environment variables (POLICY_GATE_...) and the YAML file that POLICY_GATE_CONFIG names;
docs/litellm_gate.md has all of them. A configuration that cannot be used stops the proxy's start.
"""

from __future__ import annotations

import os
from typing import Any

from policy_client.litellm.settings import Mode, Otherwise, Settings, SettingsError, read_settings

__all__ = ["Mode", "Otherwise", "Settings", "SettingsError", "policy_gate", "read_settings"]


def __getattr__(name: str) -> Any:
    """`policy_gate`, made when LiteLLM asks for it: to import this package reads and starts nothing."""
    if name != "policy_gate":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from policy_client.litellm.gate import PolicyGate

    gate = PolicyGate(read_settings(os.environ))
    globals()[name] = gate
    return gate
