"""casync's protocol as a value: bytes in, messages out, no I/O and no clock.

What two ends of this package say beyond it, the dialect, is described in docs/protocol.md. Source: casync caprotocol.h,
caremote.c.
"""

from casync_py.protocol.connection import Connection, Role
from casync_py.protocol.local_error import LocalProtocolError

__all__ = ["Connection", "LocalProtocolError", "Role"]
