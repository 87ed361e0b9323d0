"""The way from the command line to a verb; answers `--version` before anything heavy is imported."""

from __future__ import annotations

import casync_py


def run(argv: list[str]) -> int:
    """Run one command line; returns the exit status."""
    if "--version" in argv:
        print(f"casync-py {casync_py.__version__}")
        return 0
    return 1
