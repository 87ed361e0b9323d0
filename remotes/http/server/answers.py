"""What goes back over ASGI: whole answers and refusals."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.types import Send

Header = tuple[bytes, bytes]

TEXT = (b"content-type", b"text/plain; charset=utf-8")
_NOT_KEPT = (b"cache-control", b"no-store")  # of a chunk that is not here yet, a cache would say so for too long
_FULL = (errno.ENOSPC, errno.EDQUOT)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.ESTALE, errno.ENXIO)
_TABLES_FULL = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN)


class Refusal(Exception):
    """An answer that is a status and one line that names the object and the cause."""

    def __init__(self, status: int, text: str, headers: Iterable[Header] = ()) -> None:
        super().__init__(status, text)
        self.status = status
        self.text = text
        self.headers = tuple(headers)


def busy(text: str) -> Refusal:
    """The refusal of what may work a moment later."""
    return Refusal(503, text, [(b"retry-after", b"1")])


def of_os_error(shown: str, error: OSError) -> Refusal:
    """The refusal for what the operating system said about something; its own path stays unsaid."""
    text = f"{shown}: {error.strerror or 'Input/output error'}"
    if error.errno in _FULL:
        return Refusal(507, text)
    if error.errno in _TABLES_FULL:
        return busy(text)
    if error.errno == errno.EREMOTEIO:
        return Refusal(502, text)
    status = 403 if error.errno in _FORBIDDEN else 404 if error.errno in _ABSENT else 500
    return Refusal(status, text)


async def answer(send: Send, status: int, headers: Iterable[Header] = (), body: bytes | None = b"") -> None:
    """Send a whole answer.

    Args:
        body: None where there is none and its length is not told (304, or an answer to HEAD that would have to be made
            to be measured).
    """
    told = [*headers]
    if body is not None and status != 204:
        told.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": told})
    await send({"type": "http.response.body", "body": body or b""})


async def refuse(send: Send, refusal: Refusal, *, end: bool = False) -> None:
    """Send a refusal.

    Args:
        end: the connection ends with it, because a body that nobody wants is on its way; the guard of the connection
            sees to it that the answer is read.
    """
    headers = [TEXT, _NOT_KEPT, *refusal.headers]
    if end:
        headers.append((b"connection", b"close"))
    await answer(send, refusal.status, headers, refusal.text.encode("utf-8", "replace") + b"\n")
