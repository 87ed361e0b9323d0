"""One file from a web server, in order: after a break the rest is asked for by range, as long as it is the same file.

Source: RFC 9110, 8.8 (validators), 13.1.5 (If-Range), 14 (ranges).
"""

from __future__ import annotations

import re
from contextlib import ExitStack
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from casync_py.errors import PeerError, SourceChanged
from casync_py.remotes.http.errors import WebError
from casync_py.transport.retry import Attempts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from casync_py.remotes.http.web import Reply, Web

_STRONG = re.compile(r'"[!#-~\x80-\xff]{0,512}"')
_LENGTH = re.compile(r"[0-9]{1,18}")
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)")
_PROGRESS = 64 << 10  # bytes that have to come until earlier failures are forgotten
_PLAIN, _PART, _NO_SUCH_PART = 200, 206, 416


class Download:
    """Reads a file. Used by one thread.

    Attributes:
        position: bytes that were read, or jumped over.
        size: of the whole file; None while unknown.
    """

    def __init__(self, web: Web, url: str, name: str, *, may_restart: bool) -> None:
        """
        Args:
            name: for messages.
            may_restart: where it cannot go on, or the file is another one, `position` may fall back to 0; else what
                was read already must stay true.
        """
        self.position = 0
        self.size: int | None = None
        self._web = web
        self._url = url
        self._name = name
        self._may_restart = may_restart
        self._validator: str | None = None  # for If-Range
        self._ranges: bool | None = None  # whether the server understands them; None: it does not say
        self._opened = False
        self._attempts = Attempts(web.retry, web.stopped)
        self._furthest = 0  # position so far
        self._came = 0  # since the last failure, beyond that
        self._drop = 0  # bytes that come again
        self._connection = ExitStack()
        self._pieces: Iterator[bytes] | None = None

    def open(self) -> None:
        """Ask for the file, where it was not asked for yet. Raises as `read`."""
        while self._pieces is None:
            try:
                self._open()
            except WebError as error:
                self._failed(error)

    def read(self) -> bytes:
        """The next piece, empty at the end.

        Raises:
            PeerError: the file is not there, or it cannot be had.
            SourceChanged: it is another one now.
        """
        while True:
            self.open()
            assert self._pieces is not None
            try:
                piece = next(self._pieces, b"")
            except WebError as error:
                self._failed(error)
                continue
            if self._drop and piece:
                dropped = min(self._drop, len(piece))
                self._drop -= dropped
                piece = piece[dropped:]
                if not piece:
                    continue
            if not piece and self.size is not None and self.position < self.size:
                self._failed(WebError("Answer ends early", self._name, transient=True))
                continue
            self.position += len(piece)
            if self.size is None:
                self.size = None if piece else self.position
            elif self.position > self.size:
                raise WebError(f"Sends more than the {self.size} bytes that it told", self._name)
            self._progress(len(piece))
            return piece

    def jump(self, size: int) -> bool:
        """Go on `size` bytes further, but not beyond the end; False where that takes reading them."""
        if self._ranges is not True or self._validator is None or self.size is None or self._drop:
            return False
        self.close()
        self.position = min(self.position + size, self.size)
        return True

    def close(self) -> None:
        """Let go of the connection; reading on makes another one."""
        self._pieces = None
        self._connection.close()

    def _failed(self, error: WebError) -> None:
        self.close()
        self._came = 0
        self._web.failed(self._attempts, error)

    def _progress(self, size: int) -> None:
        """What comes for the first time is progress: a server that makes us begin anew again and again gives none."""
        before = self._furthest
        self._furthest = max(before, self.position)
        if self._attempts.failures:
            self._came += min(size, self._furthest - before)
            if self._came >= _PROGRESS:
                self._attempts.progress()

    def _open(self) -> None:
        if self._opened and self.position == self.size:
            self._pieces = iter(())
            return
        headers = {}
        if self.position and self._ranges is not False and self._validator is not None:
            headers = {"Range": f"bytes={self.position}-", "If-Range": self._validator}
        expect = (_PLAIN, _PART, _NO_SUCH_PART) if headers else (_PLAIN,)
        reply = self._connection.enter_context(self._web.stream("GET", self._url, headers=headers, expect=expect))
        self._drop = 0
        if reply.status == _PART:
            self._check_part(reply)
        elif reply.status == _PLAIN:
            self._begin(reply, bool(headers))
        else:
            self._changed()
        self._pieces = reply.iter_bytes()

    def _check_part(self, reply: Reply) -> None:
        """A 206: it must be the part that was asked for, of the same file."""
        found = _CONTENT_RANGE.fullmatch(reply.headers.get("content-range", "").strip())
        if found is None or int(found[1]) != self.position or int(found[2]) < self.position:
            raise WebError("Answers with another part than was asked for", self._name)
        if found[3] != "*" and self.size is not None and int(found[3]) != self.size:
            self._changed()
        by_etag = self._validator is not None and self._validator.startswith('"')
        if by_etag and reply.headers.get("etag", self._validator) != self._validator:
            self._changed()

    def _begin(self, reply: Reply, part_wanted: bool) -> None:
        """A 200: the whole file, from its beginning."""
        validator = _validator(reply.headers)
        length = reply.headers.get("content-length", "")
        size = int(length) if _LENGTH.fullmatch(length) else None
        before = self._validator
        if self.position:
            if self._may_restart:
                self.position = 0
            elif validator is None or before is None:
                raise PeerError("Broke, and the server does not say whether the file is still the same", self._name)
            elif validator != before or size != self.size:
                self._changed()
            self._drop = self.position
        self.size = size
        self._validator = validator
        told = reply.headers.get("accept-ranges", "").strip().lower()
        self._ranges = {"bytes": True, "none": False}.get(told)
        if part_wanted and validator == before:
            self._ranges = False  # whatever it says
        self._opened = True

    def _changed(self) -> None:
        """It is another file now."""
        if not self._may_restart:
            raise SourceChanged(f"{self._name}: Changed while it was read")
        self.position = 0
        self.size = None
        self._validator = None
        raise WebError("Changed while it was read", self._name, transient=True)


def _validator(headers: Mapping[str, str]) -> str | None:
    """What tells whether a file is still the same: a strong ETag, or a time long enough ago."""
    etag = headers.get("etag", "")
    if _STRONG.fullmatch(etag):
        return etag
    try:
        modified, now = (parsedate_to_datetime(headers[name]) for name in ("last-modified", "date"))
        if (now - modified).total_seconds() >= 1:  # RFC 9110, 8.8.2.2
            return headers["last-modified"]
    except (KeyError, ValueError, TypeError):
        pass
    return None
