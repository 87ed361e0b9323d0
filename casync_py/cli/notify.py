"""Tell a service manager that work has begun, as casync does. Source: sd_notify(3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


def notify_ready(environ: Mapping[str, str]) -> None:
    """Send `READY=1` to `$NOTIFY_SOCKET`, a path or an abstract name (`@...`); a manager that is gone is no error."""
    address = environ.get("NOTIFY_SOCKET")
    if not address:
        return
    import socket
    from contextlib import suppress

    if address.startswith("@"):
        address = "\0" + address[1:]
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as manager:
        manager.sendto(b"READY=1", address)
