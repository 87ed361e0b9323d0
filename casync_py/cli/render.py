"""Results and amounts as text: JSON lines for programs, short sizes for people."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

JSON_VERSION = 1
_UNITS = ("KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_STEP = 1024


def json_line(verb: str, fields: Mapping[str, Any]) -> bytes:
    """One result as one line: `{"version": 1, "verb": VERB, ...}`.

    A text that is no UTF-8 (a file name may hold any bytes) has replacement characters in it, and stands beside it
    under its name with `_bytes`, in hex.
    """
    members: dict[str, Any] = {"version": JSON_VERSION, "verb": verb}
    for name, value in fields.items():
        text = value.decode(errors="surrogateescape") if isinstance(value, bytes) else value
        if isinstance(text, str):
            raw = text.encode(errors="surrogateescape")
            members[name] = raw.decode(errors="replace")
            if members[name] != text:
                members[f"{name}_bytes"] = raw.hex()
        else:
            members[name] = text
    return json.dumps(members, ensure_ascii=False).encode() + b"\n"


def size_text(size: float) -> str:
    """A number of bytes in three digits or four: `375 B`, `1.5 KiB`, `323 MiB`."""
    if size < _STEP:
        return f"{size:.0f} B"
    unit = ""
    for unit in _UNITS:  # noqa: B007 - the last one is what is left
        size /= _STEP
        if size < _STEP:
            break
    return f"{size:.1f} {unit}" if size < 100 else f"{size:,.0f} {unit}"


def count_text(number: int, noun: str) -> str:
    """`1 chunk`, `4,999 chunks`, `2 entries`."""
    plural = noun[:-1] + "ies" if noun.endswith("y") else noun + "s"
    return f"{number:,} {noun if number == 1 else plural}"
