"""What an end that gives up says to the other one."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from casync_py.protocol.messages import Abort

if TYPE_CHECKING:
    from collections.abc import Callable


def last_words(error: BaseException, shown: Callable[[str], str] = str) -> Abort:
    """The error's number and one line that names the object and the cause.

    Args:
        shown: makes of a text with paths of ours one with those that the other end named.
    """
    if not isinstance(error, OSError):
        return Abort(0, shown(str(error)) or type(error).__name__)
    cause = error.strerror or str(error)
    name = error.filename
    return Abort(error.errno or 0, shown(f"{os.fsdecode(name)}: {cause}") if isinstance(name, (str, bytes)) else cause)
