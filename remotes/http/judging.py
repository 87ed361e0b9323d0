"""What an answer's status means: where it sends us, what is wrong, and whether it may be better later."""

from __future__ import annotations

import time
from contextlib import suppress
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING

from casync_py.errors import UsageError
from casync_py.remotes.http.address import parse_web, redirected, shown
from casync_py.remotes.http.errors import WebError

if TYPE_CHECKING:
    from casync_py.remotes.http.lanes import Answering

REDIRECTS = frozenset({301, 302, 303, 307, 308})
_TRANSIENT = frozenset({408, 425, 429})
_FINAL = frozenset({501, 505, 507})  # what a server cannot do today it cannot do tomorrow; its disk is full
_WORDS = 512  # bytes of an error's body that are looked at
_DRAINED = 1 << 16  # bytes of a body that is not wanted, read so that the connection can be used again
_DRAINED_S = 5.0


def next_url(method: str, url: str, answering: Answering) -> str:
    """Where a redirect leads."""
    status = answering.status
    location = answering.headers.get("location")
    _rest(answering)
    if location is None:
        raise WebError(f"Answers {status}, but not where to go", status=status)
    if method not in {"GET", "HEAD", "OPTIONS"} and status not in {307, 308}:
        raise WebError(f"Answers {status} to {method}: elsewhere it would not be the same request", status=status)
    try:
        target = redirected(parse_web(url), location)
    except (UsageError, ValueError) as error:
        raise WebError(f"Redirects to what is no URL of a web server: {shown(location)}", status=status) from error
    if url.startswith("https:") and not target.url.startswith("https:"):
        raise WebError(f"Redirects from https to http: {target.shown}", status=status)
    return target.url


def _rest(answering: Answering) -> bytes:
    """A short body of which little is wanted; a connection with more of it, or a slow one, is not used again."""
    body = b""
    until = time.monotonic() + _DRAINED_S
    with suppress(WebError):  # what came of it is enough
        while len(body) < _DRAINED and (piece := answering.read()) and time.monotonic() < until:
            body += piece
    return body


def refusal(answering: Answering, url: str) -> WebError:
    """An unexpected status as an error; our servers say in one line of text what is wrong."""
    status = answering.status
    words = _rest(answering)
    reason = "No such file" if status in {404, 410} else f"Server answers {status} {_phrase(status)}".rstrip()
    if answering.headers.get("content-type", "").startswith("text/plain"):
        lines = words[:_WORDS].decode("utf-8", "replace").strip().splitlines() or [""]
        line = "".join(letter for letter in lines[0] if letter.isprintable())[:200]
        reason += f": {line}" if line else ""
    return WebError(
        reason,
        shown(url),
        status=status,
        transient=status in _TRANSIENT or (500 <= status < 600 and status not in _FINAL),
        retry_after=_retry_after(answering.headers.get("retry-after")),
    )


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def _retry_after(text: str | None) -> float | None:
    """Seconds, from seconds or a date."""
    if text is None:
        return None
    if text.isascii() and text.isdigit():
        return float(text[:6])
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, OverflowError, OSError):
        return None
