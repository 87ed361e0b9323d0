"""The public functions: each takes paths or URLs as the command does, a `Settings` and a `Monitor`.

Errors are those of `casync_py.errors`, and OSError with the path in `filename`.
"""

from __future__ import annotations

from casync_py.api.extracting import ExtractResult, extract
from casync_py.api.making import MakeResult, make
from casync_py.api.reading import digest, entries, list_tree, mtree, open_listing, stat

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
