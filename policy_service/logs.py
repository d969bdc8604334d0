"""Log lines: an event with fields, one line each, on standard error. No secrets and no request bodies go in."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        fields: dict[str, object] = getattr(record, "fields", {})
        words = [time, record.levelname.lower(), record.getMessage(), *(f"{k}={_value(v)}" for k, v in fields.items())]
        if record.exc_info:
            words.append(f"exception={json.dumps(self.formatException(record.exc_info))}")
        return " ".join(words)


def _value(value: object) -> str:
    text = str(value)
    plain = text.isprintable() and not any(char in text for char in ' "=')
    return text if plain and text else json.dumps(text, ensure_ascii=False)


def set_up_logs() -> None:
    """Sends the log to standard error. For a program's main function alone."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
