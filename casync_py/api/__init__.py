"""The public functions: each takes paths or URLs as the command does, a `Settings` and a `Monitor`.

Errors are those of `casync_py.errors`, and OSError with the path in `filename`. The names are resolved when they are
first used: whoever extracts does not import what makes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from casync_py.api.extracting import ExtractResult, extract
    from casync_py.api.making import MakeResult, make
    from casync_py.api.reading import digest, entries, list_tree, mtree, open_listing, stat

_HOMES = {
    "extracting": ("ExtractResult", "extract"),
    "making": ("MakeResult", "make"),
    "reading": ("digest", "entries", "list_tree", "mtree", "open_listing", "stat"),
}

__all__ = [
    "ExtractResult",
    "MakeResult",
    "digest",
    "entries",
    "extract",
    "list_tree",
    "make",
    "mtree",
    "open_listing",
    "stat",
]


def __getattr__(name: str) -> object:
    from importlib import import_module

    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
