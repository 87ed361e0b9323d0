"""httpx without its command line, whose libraries would make up half of the time that it takes to import: 45 of 100 ms.

Whoever imports httpx imports it from here.
"""

from __future__ import annotations

import sys

_COMMAND_LINE = "httpx._main"

_hidden = "httpx" not in sys.modules and _COMMAND_LINE not in sys.modules
if _hidden:
    sys.modules[_COMMAND_LINE] = None  # type: ignore[assignment] # an import of it fails, which httpx takes
import httpx  # noqa: E402

if _hidden:
    del sys.modules[_COMMAND_LINE]

__all__ = ["httpx"]
