"""The few inner loops and steps on files that Python is too slow for: in C where the module was built, else in Python.

`KERNEL` says which runs, "native" or "python". The environment variable `CASYNC_PY_KERNEL` chooses: `python` takes the
twin, `native` makes a missing C module an ImportError instead of a slow run.
"""

from __future__ import annotations

import os

_wanted = os.environ.get("CASYNC_PY_KERNEL")

try:
    if _wanted == "python":
        raise ImportError("CASYNC_PY_KERNEL=python")
    from casync_py.native._native import (
        candidates,
        create_files,
        open_and_examine,
        plain_run,
        read_rest,
        read_whole,
        siphash24,
        siphash24_many,
        syncfs,
    )

    KERNEL = "native"
except ImportError:
    if _wanted == "native":
        raise
    from casync_py.native._python import (
        candidates,
        create_files,
        open_and_examine,
        plain_run,
        read_rest,
        read_whole,
        siphash24,
        siphash24_many,
        syncfs,
    )

    KERNEL = "python"

__all__ = [
    "KERNEL",
    "candidates",
    "create_files",
    "open_and_examine",
    "plain_run",
    "read_rest",
    "read_whole",
    "siphash24",
    "siphash24_many",
    "syncfs",
]
