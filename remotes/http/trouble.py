"""What httpx says of a connection, for people, and whether it may go better next time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from casync_py.remotes.http.errors import Gone, WebError
from casync_py.remotes.http.lean import httpx
from casync_py.remotes.http.system_trouble import CONNECT_S, system_error

if TYPE_CHECKING:
    from collections.abc import Iterator

_NO_ANSWER = "without sending a response"
_EARLY = "without sending complete message body"


def web_error(error: Exception, timeout_s: float | None) -> WebError:
    """What httpx says, as ours.

    Args:
        timeout_s: how long the server was waited for.
    """
    if isinstance(error, httpx.ConnectTimeout):
        return WebError(f"No connection within {min(timeout_s or CONNECT_S, CONNECT_S):g} s", transient=True)
    if isinstance(error, httpx.TimeoutException):
        verb = "Takes" if isinstance(error, httpx.WriteTimeout) else "Sends"
        return WebError(f"{verb} nothing for {timeout_s:g} s", transient=True)
    words = "".join(letter for letter in str(error)[:120] if letter.isprintable())  # may quote what the server said
    if isinstance(error, httpx.ProxyError):
        # "407 Proxy Authentication Required": what the proxy answered; its own trouble is 5xx
        return WebError(f"The proxy failed: {words}", transient=words.startswith("5"))
    for cause in _causes(error):
        if isinstance(cause, OSError):
            connecting = isinstance(error, httpx.ConnectError)
            told = system_error(cause, connecting=connecting)
            return told if connecting or not told.transient else Gone(told.reason, transient=True)
    if _NO_ANSWER in words:
        return Gone("Closed the connection without an answer", transient=True)
    if _EARLY in words:
        return WebError("Answer ends early", transient=True)
    if words.startswith("Illegal header"):  # and what follows may be secret
        return WebError("A header has a character that cannot be sent")
    if "too long" in words:  # h11's bound of 100 KiB
        return WebError("Answers with a head that is too long")
    if isinstance(error, httpx.NetworkError):
        return Gone(f"Connection broke: {words}", transient=True)
    if isinstance(error, httpx.LocalProtocolError):
        # A server that ends an HTTP/2 connection (nginx after 1000 requests) makes h2 call what it still sends our
        # mistake.
        return Gone(f"Does not speak HTTP: {words}", transient=True)
    return WebError(f"Does not speak HTTP: {words}", transient=isinstance(error, httpx.ProtocolError))


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__
