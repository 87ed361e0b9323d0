"""Results as text: JSON lines for programs."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from _typeshed import DataclassInstance

JSON_VERSION = 1


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
