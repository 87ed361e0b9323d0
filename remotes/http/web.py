"""Requests to web servers: with credentials where they belong, redirects followed, and what failed tried again."""

from __future__ import annotations

import math
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from casync_py.remotes.http.address import shown
from casync_py.remotes.http.errors import WebError
from casync_py.remotes.http.judging import REDIRECTS, next_url, refusal
from casync_py.remotes.http.lanes import read_all
from casync_py.remotes.http.origins import Origins
from casync_py.transport.retry import Attempts, Retry

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from casync_py.monitor import Monitor
    from casync_py.options import Access
    from casync_py.remotes.http.client import Content
    from casync_py.remotes.http.lanes import Answering, Lane

__all__ = ["Answer", "Reply", "Web", "WebError"]

OK = (200,)
_MOST_REDIRECTS = 10
# Where half of all answers are errors, one of thousands of requests fails many times in a row by chance. Who runs out
# of attempts gets this many times as many more, if other requests were answered meanwhile.
_AGAIN = 2
_COUNTED = 1 << 20  # bytes of a stream that are counted together


@dataclass(slots=True)
class Answer:
    """A whole answer.

    Attributes:
        headers: names in lower case.
    """

    status: int
    headers: dict[str, str]
    body: bytes


class Reply:
    """An answer whose body is read piece by piece.

    Attributes:
        status, headers: names in lower case.
    """

    __slots__ = ("_answering", "_lane", "_name", "headers", "status")

    def __init__(self, lane: Lane, answering: Answering, name: str) -> None:
        self._lane = lane
        self._answering = answering
        self._name = name
        self.status = answering.status
        self.headers = answering.headers

    def iter_bytes(self) -> Iterator[bytes]:
        """The body as it comes.

        Raises:
            WebError: transient, where it stalls, breaks or ends early.
        """
        answering = self._answering
        counted = 0
        try:
            while piece := answering.read():
                yield piece
                counted += len(piece)
                if counted >= _COUNTED:
                    counted = 0
                    self._lane.count(answering)
        except WebError as error:
            error.name = error.name or self._name
            raise


class Web:
    """Asks web servers. Thread-safe.

    Attributes:
        retry: how often what failed is tried again.
        stopped: set by `close`.
    """

    def __init__(
        self, access: Access, *, timeout: float, retries: int, monitor: Monitor, user_origins: Collection[str]
    ) -> None:
        """
        Args:
            timeout: seconds that a server may be silent while something is expected of it.
            retries: how often in a row what failed is tried again.
            user_origins: locators or origins that the user named, with user and password where they have any: only
                these are told who we are.

        Raises:
            UsageError: what tells who we are cannot be used.
        """
        self.retry = Retry(retries)
        self.stopped = threading.Event()
        self._answered = 0  # requests so far; only whether it changes matters, so no lock
        self._monitor = monitor
        self._origins = Origins(access, timeout if math.isfinite(timeout) else None, monitor, user_origins)

    def request(
        self,
        method: str,
        url: str,
        *,
        content: Content = None,
        headers: Mapping[str, str] | None = None,
        expect: Collection[int] = OK,
        limit: int = 1 << 20,
    ) -> Answer:
        """Ask, and again where it may help: for requests that do no harm when they arrive twice.

        Args:
            url: as `WebAddress.url`.
            content: the body; what is called gives it anew for each try, in chunks unless `headers` has its length.
            expect: statuses that are no error; a redirect among them is not followed.
            limit: most bytes of the body.

        Raises:
            WebError: any other status, a body beyond `limit`, or no answer; it was tried as often as it may be.
        """
        attempts: Attempts | None = None
        again, answered = _AGAIN, self._answered
        while True:
            try:
                lane, answering = self._open(method, url, content, headers, expect, bulk=False)
                try:
                    if answering.status not in expect:
                        raise refusal(answering, url)
                    answer = Answer(answering.status, answering.headers, read_all(answering, limit))
                    self._answered += 1
                    return answer
                finally:
                    lane.done(answering)
            except WebError as error:
                error.name = error.name or shown(url)
                attempts = attempts or Attempts(self.retry, self.stopped)
                if again and attempts.failures and attempts.used_up and self._answered != answered:
                    again, answered = again - 1, self._answered
                    attempts.progress()
                self.failed(attempts, error)

    @contextmanager
    def stream(
        self,
        method: str,
        url: str,
        *,
        content: Content = None,
        headers: Mapping[str, str] | None = None,
        expect: Collection[int] = OK,
    ) -> Iterator[Reply]:
        """Ask once, for an answer of any size.

        Args and Raises: as `request`.
        """
        try:
            lane, answering = self._open(method, url, content, headers, expect, bulk=True)
        except WebError as error:
            error.name = error.name or shown(url)
            raise
        try:
            if answering.status not in expect:
                raise refusal(answering, url)
            yield Reply(lane, answering, shown(url))
        finally:
            lane.done(answering)

    def failed(self, attempts: Attempts, error: WebError) -> None:
        """Wait until it may be tried again: for `request`, and for who uses `stream`.

        Raises:
            error: that would not help, or it has been tried often enough.
        """
        if not error.transient or self.stopped.is_set():
            raise error
        if not attempts.used_up:
            self._monitor.detail(f"{error}; trying again")
        attempts.failed(error, error.retry_after)

    def _open(
        self,
        method: str,
        url: str,
        content: Content,
        headers: Mapping[str, str] | None,
        expect: Collection[int],
        *,
        bulk: bool,
    ) -> tuple[Lane, Answering]:
        """Send a request, and again wherever it is redirected to."""
        for _ in range(_MOST_REDIRECTS + 1):
            url = _with_path(url)
            at = url.find("/", 8)
            lane = self._origins.lane(url[:at], bulk)
            answering = lane.open(method, url[at:], content, headers)
            if answering.status not in REDIRECTS or answering.status in expect:
                coding = answering.headers.get("content-encoding", "identity")
                if coding != "identity" and answering.status in expect:
                    lane.done(answering)
                    raise WebError(f"Answers with Content-Encoding {coding[:20]!r}, which was not asked for")
                return lane, answering
            try:
                url = next_url(method, url, answering)
            finally:
                lane.done(answering)
        raise WebError(f"Redirects more than {_MOST_REDIRECTS} times")

    def close(self) -> None:
        """Break what is under way and ask nothing any more; twice is fine."""
        self.stopped.set()
        self._origins.close()


def _with_path(url: str) -> str:
    """A store that is all of a server is named without a slash, and with a query by some."""
    slash, query = url.find("/", 8), url.find("?", 8)
    if slash >= 0 and not 0 <= query < slash:
        return url
    end = len(url) if query < 0 else query
    return f"{url[:end]}/{url[end:]}"
