"""What the operating system says of a connection, for people, and whether it may go better next time."""

from __future__ import annotations

import socket
import ssl

from casync_py.remotes.http.errors import WebError

CONNECT_S = 30.0  # the kernel sends SYN after 0, 1, 3, 7, 15 s: who answers none of these is not there
_NO_HOST = {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME), socket.EAI_FAIL}


def system_error(error: OSError, *, connecting: bool) -> WebError:
    """What the operating system or OpenSSL says of a connection, or of making one."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return WebError(f"Its certificate is not trusted: {error.verify_message}")
    if isinstance(error, socket.gaierror):
        return WebError(f"Host not found: {error.strerror}", transient=error.errno not in _NO_HOST)
    if isinstance(error, ssl.SSLError) and not _is_early_end(error):
        return WebError(f"TLS failed: {error.reason or error}")
    what = "No connection" if connecting else "Connection broke"
    return WebError(f"{what}: {error.strerror or error}", transient=True)


def _is_early_end(error: ssl.SSLError) -> bool:
    return (
        isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError)) or error.reason == "UNEXPECTED_EOF_WHILE_READING"
    )
