"""`python -m casync_py` is the same command as `casync-py`."""

from __future__ import annotations

import sys

from casync_py.cli import main

if __name__ == "__main__":
    sys.exit(main())
