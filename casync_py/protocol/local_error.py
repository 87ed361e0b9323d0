"""The error that is nobody's fault but ours."""

from __future__ import annotations


class LocalProtocolError(RuntimeError):
    """A connection was used wrongly by this program: a bug here, never the other end's doing.

    Nothing was sent and the connection is as it was.
    """
