"""What an end that gives up says to the other one."""

from __future__ import annotations

import os

from casync_py.protocol.messages import Abort


def last_words(error: BaseException) -> Abort:
    """The error's number and one line that names the object and the cause."""
    if not isinstance(error, OSError):
        return Abort(0, str(error) or type(error).__name__)
    cause = error.strerror or str(error)
    name = error.filename
    return Abort(error.errno or 0, f"{os.fsdecode(name)}: {cause}" if isinstance(name, (str, bytes)) else cause)
