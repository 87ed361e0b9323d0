"""What can go wrong with a web server."""

from __future__ import annotations

from casync_py.errors import PeerError


class WebError(PeerError):
    """A web server did not answer, not in time, not in HTTP, or not what was hoped for.

    Attributes:
        status: of the answer; None where there is none.
        transient: whether the same request may succeed later.
        retry_after: seconds that the server asks to wait before.
    """

    def __init__(
        self,
        reason: str,
        name: str | None = None,
        *,
        status: int | None = None,
        transient: bool = False,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(reason, name)
        self.status = status
        self.transient = transient
        self.retry_after = retry_after


class Gone(WebError):
    """The connection ended before an answer came: no trouble where it was an idle one, which servers close at will."""


class TooLarge(WebError):
    """An answer whose body is larger than whoever asked takes."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"Answers with more than {limit} bytes")
