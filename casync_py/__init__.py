"""Content-addressed sync of file trees and disk images, with casync's own formats and protocol.

The public names below are resolved when they are first used, so that importing the package costs nothing:

    make, extract, entries, list_tree, mtree, stat           the verbs, as functions (`casync_py.api` has them all)
    open_index, open_stores                                  an index to read, and the stores of its chunks
    Settings, StoreOptions, Resources, Monitor               choices, and progress
    CasyncError and its kinds                                what goes wrong
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from casync_py.api import entries, extract, list_tree, make, mtree, stat
    from casync_py.api.sources import open_index, open_stores
    from casync_py.errors import CasyncError, ChunkInvalid, ChunkMissing, FormatError, SourceChanged, UsageError
    from casync_py.ids import ChunkId
    from casync_py.monitor import Monitor
    from casync_py.options import Resources, Settings, StoreOptions

__version__ = "0.1.0"

_HOMES = {
    "casync_py.api": ("entries", "extract", "list_tree", "make", "mtree", "stat"),
    "casync_py.errors": (
        "CasyncError",
        "ChunkInvalid",
        "ChunkMissing",
        "FormatError",
        "SourceChanged",
        "UsageError",
    ),
    "casync_py.ids": ("ChunkId",),
    "casync_py.monitor": ("Monitor",),
    "casync_py.api.sources": ("open_index", "open_stores"),
    "casync_py.options": ("Resources", "Settings", "StoreOptions"),
}

__all__ = [
    "CasyncError",
    "ChunkId",
    "ChunkInvalid",
    "ChunkMissing",
    "FormatError",
    "Monitor",
    "Resources",
    "Settings",
    "SourceChanged",
    "StoreOptions",
    "UsageError",
    "entries",
    "extract",
    "list_tree",
    "make",
    "mtree",
    "open_index",
    "open_stores",
    "stat",
]


def __getattr__(name: str) -> object:
    from importlib import import_module

    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(home), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
