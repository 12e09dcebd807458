"""Log lines of components as people read them. Pure.

Components log JSON when nobody looks (mesh.logs). `22:08:31.250  info     host_ready  took_ms=802` says the same in
less room; a line that is not JSON, a traceback for example, stays as it is.
"""

import datetime
import json
from typing import Any

SAID = frozenset({"event", "level", "timestamp", "component"})
"""Fields that have their place at the beginning, or are known from where the line came from."""


def readable(line: str) -> str:
    """One line for people."""
    try:
        fields = json.loads(line)
    except ValueError:
        return line
    if not isinstance(fields, dict) or "event" not in fields:
        return line
    rest = "  ".join(f"{key}={_value(value)}" for key, value in fields.items() if key not in SAID and value is not None)
    return f"{_time(str(fields.get('timestamp', '')))}  {fields.get('level', ''):7}  {fields['event']}  {rest}".rstrip()


def _time(written: str) -> str:
    """`22:08:31.250` in the time zone of this machine."""
    try:
        return datetime.datetime.fromisoformat(written).astimezone().strftime("%H:%M:%S.%f")[:-3]
    except ValueError:
        return written


def _value(value: Any) -> str:
    return value if isinstance(value, str) and value and " " not in value else json.dumps(value, ensure_ascii=False)
