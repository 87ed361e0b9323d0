"""The command `casync-py`. Only `main` is public; everything else is imported when it is needed."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit status, 0 or 1, as casync does.

    Args:
        argv: arguments without the program's name; those of the process by default.
    """
    from casync_py.cli.start import run

    return run(list(sys.argv[1:] if argv is None else argv))
