"""GET and HEAD where there is an upstream server: what is not here is fetched from there, or passed on."""

from __future__ import annotations

import re
from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple

from casync_py.remotes.http.errors import WebError
from casync_py.remotes.http.server.answers import Refusal, answer
from casync_py.remotes.http.server.open_proxied import ABSENT
from casync_py.remotes.http.server.places import shown
from casync_py.remotes.http.server.reading import Reading
from casync_py.remotes.http.server.work import Work
from casync_py.transport.retry import Attempts

if TYPE_CHECKING:
    from collections.abc import Generator

    from casync_py.remotes.http.server.answers import Header
    from casync_py.remotes.http.server.calls import Call, Pieces
    from casync_py.remotes.http.server.options import ServeOptions
    from casync_py.remotes.http.server.places import Names, Places
    from casync_py.remotes.http.server.upstream import Upstream
    from casync_py.remotes.http.web import Reply

_WAITING = 128  # threads; most of them wait for the upstream server
_ASKED = ("if-none-match", "if-modified-since", "range", "if-range")
_TOLD = ("content-length", "content-range", "etag", "last-modified", "accept-ranges")
_VALUE = re.compile(r"[\t -~\x80-\xff]*")
_PASSED = (200, 206, 304, 416)


class PatientWork(Work):
    """The threads of requests that may have to wait for another server, so that the others do not wait with them."""

    def __init__(self, work: Work) -> None:
        """Share the memory of `work`."""
        super().__init__(work.resources, readers=_WAITING)
        self.bodies = work.bodies
        self.large = work.large


class ProxyReading(Reading):
    """Answers GET and HEAD with what is here or upstream."""

    def __init__(self, options: ServeOptions, places: Places, upstream: Upstream, work: Work) -> None:
        super().__init__(options, places, upstream, work)
        self._upstream = upstream

    async def file(self, call: Call, names: Names, kind: str) -> None:
        """An index or an archive: the one that is here, else the one that is upstream now, which is not kept.

        Raises:
            Refusal: 404, there is none; 502, the upstream server failed.
        """
        try:
            await super().file(call, names, kind)
        except Refusal as refusal:
            if refusal.status != 404 or call.started:
                raise
            await self._pass_on(call, names, kind)

    async def _pass_on(self, call: Call, names: Names, kind: str) -> None:
        headers = {}
        for name in _ASKED:
            value = call.header(name.encode())
            if value is not None:
                headers[name] = value.decode("latin-1")
        passed = await self._work.read(self._ask, "HEAD" if call.head else "GET", names, headers)
        told = self.file_headers(kind) + passed.headers
        if call.head or passed.status == 304:
            passed.pieces.close()
            await answer(call.send, passed.status, told, None)
        else:
            await call.stream(passed.status, told, passed.pieces, self._work)

    # In a thread.

    def _ask(self, method: str, names: Names, headers: dict[str, str]) -> Passed:
        upstream = self._upstream
        attempts = Attempts(upstream.web.retry, upstream.web.stopped)
        while True:
            with ExitStack() as cleanup:
                try:
                    stream = upstream.web.stream(
                        method, upstream.url + shown(names), headers=headers, expect=(*_PASSED, *ABSENT)
                    )
                    reply = cleanup.enter_context(stream)
                except WebError as error:
                    try:
                        upstream.web.failed(attempts, error)
                    except WebError:
                        raise _failed(names, error) from None
                    continue
                if reply.status in ABSENT:
                    raise Refusal(404, f"{shown(names)}: No such file")
                return Passed(reply.status, _told(reply), _pieces(names, reply, cleanup.pop_all()))


class Passed(NamedTuple):
    """An answer on its way."""

    status: int
    headers: list[Header]
    pieces: Pieces


def _told(reply: Reply) -> list[Header]:
    """What is passed on of its head: no folded lines, no control characters, no length that does not count."""
    told = {name: reply.headers[name] for name in _TOLD if _VALUE.fullmatch(reply.headers.get(name, "\n"))}
    if "transfer-encoding" in reply.headers or not told.get("content-length", "").isdecimal():
        told.pop("content-length", None)
    return [(name.encode(), value.encode("latin-1")) for name, value in told.items()]


def _pieces(names: Names, reply: Reply, cleanup: ExitStack) -> Pieces:
    pieces = _body(names, reply, cleanup)
    next(pieces)
    return pieces


def _body(names: Names, reply: Reply, cleanup: ExitStack) -> Generator[bytes, None, None]:
    with cleanup:
        yield b""  # taken by `_pieces`: from here on, closing it ends the request
        try:
            for piece in reply.iter_bytes():
                if piece:
                    yield piece
        except WebError as error:
            raise _failed(names, error) from None


def _failed(names: Names, error: WebError) -> Refusal:
    return Refusal(502, f"{shown(names)}: The server that has it failed: {error.reason}")
