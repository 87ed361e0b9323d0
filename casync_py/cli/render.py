"""Results and amounts as text: JSON lines for programs, short sizes for people."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from _typeshed import DataclassInstance

JSON_VERSION = 1
_UNITS = ("KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_STEP = 1024


def json_line(verb: str, fields: Mapping[str, Any]) -> bytes:
    """One result as one line: `{"version": 1, "verb": VERB, ...}`; texts in `fields` are valid Unicode."""
    import json  # here, because few runs need it

    return json.dumps({"version": JSON_VERSION, "verb": verb, **fields}, ensure_ascii=False).encode() + b"\n"


def text_fields(name: str, text: str | bytes) -> dict[str, str]:
    """A text as members of a JSON object.

    What is no UTF-8 (a file name may hold any bytes) has replacement characters under `name`, and stands in full under
    `NAME_bytes`, in hex.
    """
    raw = os.fsencode(text)
    try:
        return {name: raw.decode()}
    except UnicodeDecodeError:
        return {name: raw.decode(errors="replace"), f"{name}_bytes": raw.hex()}


def result_line(verb: str, result: DataclassInstance) -> bytes:
    """A result of the library as one line: its fields, those that are None left out."""
    fields: dict[str, Any] = {}
    for name, value in asdict(result).items():
        if isinstance(value, str):
            fields |= text_fields(name, value)
        elif value is not None:
            fields[name] = value
    return json_line(verb, fields)


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
