"""Amounts as text for people."""

from __future__ import annotations

_UNITS = ("KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_STEP = 1024


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
