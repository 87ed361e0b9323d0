"""Indexes and archives from web servers: whole, resumed, restarted, changed meanwhile, and never mixed."""

from __future__ import annotations

import os
import re
import resource
import tempfile
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from casync_py.errors import FormatError, PeerError, SourceChanged
from casync_py.format.index import IndexWriter
from casync_py.monitor import Monitor
from casync_py.options import Access
from casync_py.remotes.http import download, files
from casync_py.remotes.http.files import WebArchive, fetch_index
from casync_py.remotes.http.web import Web, WebError
from casync_py.testing.web import CLOSE, RESET, Asked, ScriptedServer, Step, answer
from casync_py.transport.retry import Retry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from casync_py.testing.nginx import Nginx

ARCHIVE = os.urandom(300_000)
OTHER = os.urandom(300_000)


def index_bytes(rows: int, seed: int = 0) -> bytes:
    data = bytearray()
    writer = IndexWriter(data.extend, 0, (1, 2, 1000))
    for row in range(rows):
        writer.append((row + 1) * 7, bytes([seed]) * 28 + row.to_bytes(4, "little"))
    writer.finish()
    return bytes(data)


INDEX = index_bytes(5000)
OTHER_INDEX = index_bytes(5000, seed=1)


@pytest.fixture(name="web")
def _web() -> Iterator[Web]:
    web = Web(Access(), timeout=5, retries=3, monitor=Monitor(), user_origins=())
    web.retry = Retry(3, first_s=0.001, most_s=0.002)
    yield web
    web.close()


class Breaking:
    """A server's script: a file whose transfer breaks, again and again, after so many bytes of each answer.

    Attributes:
        content, etag: may be changed in the middle.
        ranges: whether it understands them; `told`: what it says of that.
        breaks: after how many bytes of the body of each answer; those that follow are whole.
    """

    def __init__(
        self,
        content: bytes,
        breaks: list[int],
        *,
        etag: str | None = '"1"',
        modified: str | None = None,
        ranges: bool = True,
        end: Step = RESET,
    ) -> None:
        self.content = content
        self.etag = etag
        self.modified = modified
        self.ranges = ranges
        self.told = "bytes" if ranges else "none"
        self.breaks = breaks
        self.end = end
        self.after: dict[int, tuple[bytes, str | None]] = {}  # content and ETag from the request of this number on
        self.starts: list[int] = []

    def __call__(self, asked: Asked) -> Iterator[Step]:
        self.content, self.etag = self.after.get(asked.number, (self.content, self.etag))
        lines = ["Date: Tue, 15 Nov 1994 08:12:31 GMT"]
        lines += [f"ETag: {self.etag}"] if self.etag else []
        lines += [f"Last-Modified: {self.modified}"] if self.modified else []
        start, status = 0, 200
        wanted = re.fullmatch(r"bytes=([0-9]+)-", asked.headers.get("range", ""))
        if self.ranges and wanted and asked.headers.get("if-range") in (self.etag, self.modified):
            start, status = int(wanted[1]), 206
            lines.append(f"Content-Range: bytes {start}-{len(self.content) - 1}/{len(self.content)}")
        if self.told:
            lines.append(f"Accept-Ranges: {self.told}")
        self.starts.append(start)
        whole = answer(status, self.content[start:], *lines)
        if len(self.starts) <= len(self.breaks):
            head = len(whole) - len(self.content[start:])
            yield whole[: head + self.breaks[len(self.starts) - 1]]
            yield self.end
        else:
            yield whole


def read_all(archive: WebArchive) -> bytes:
    pieces = []
    while piece := archive.read():
        pieces.append(bytes(piece))
    return b"".join(pieces)


# Indexes.


def test_an_index(web: Web) -> None:
    with ScriptedServer(Breaking(INDEX, [])) as server:
        with fetch_index(web, server.url("/a.caibx"), "name") as index:
            assert (len(index), index.size, index.name) == (5000, 35_000, "name")
        with fetch_index(web, server.url("/a.caibx"), "name"):
            pass
        assert server.connections == 1


@pytest.mark.parametrize("end", [CLOSE, RESET])
def test_an_index_goes_on_after_a_break(web: Web, end: Step) -> None:
    script = Breaking(INDEX, [100_000, 50_000, 0], end=end)
    with ScriptedServer(script) as server, fetch_index(web, server.url("/a.caibx"), "name") as index:
        assert len(index) == 5000
        assert index.ids() == [row.chunk_id for row in index]
    if end is CLOSE:  # a reset may take what is under way with it
        assert script.starts == [0, 100_000, 150_000, 150_000]


@pytest.mark.parametrize(
    "script",
    [
        Breaking(INDEX, [100_000], ranges=False),
        Breaking(INDEX, [100_000], etag=None),
        Breaking(INDEX, [100_000], etag='W/"weak"'),
        Breaking(INDEX, [100_000], etag=None, modified="Tue, 15 Nov 1994 08:12:31 GMT"),  # within a second of Date
    ],
)
def test_an_index_is_begun_anew(web: Web, script: Breaking) -> None:
    with ScriptedServer(script) as server, fetch_index(web, server.url("/a.caibx"), "name") as index:
        assert len(index) == 5000
    assert script.starts == [0, 0]


def test_an_index_of_old_times_goes_on_too(web: Web) -> None:
    script = Breaking(INDEX, [100_000], etag=None, modified="Mon, 14 Nov 1994 08:12:31 GMT", end=CLOSE)
    with ScriptedServer(script) as server, fetch_index(web, server.url("/a.caibx"), "name") as index:
        assert len(index) == 5000
    assert script.starts == [0, 100_000]


def test_an_index_that_changes_meanwhile_is_the_new_one(web: Web) -> None:
    script = Breaking(INDEX, [100_000], end=CLOSE)
    script.after = {1: (OTHER_INDEX, '"2"')}
    with ScriptedServer(script) as server, fetch_index(web, server.url("/a.caibx"), "name") as index:
        assert {row.chunk_id[0] for row in index} == {1}


def test_failures_in_a_row_are_counted_progress_forgives_them(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "_PROGRESS", 1000)
    many = Breaking(INDEX, [5000] * 30, end=CLOSE)
    with ScriptedServer(many) as server, fetch_index(web, server.url("/a.caibx"), "name") as index:
        assert len(index) == 5000
    with ScriptedServer(Breaking(INDEX, [500] * 30, end=CLOSE)) as server:
        with pytest.raises(WebError, match=r": Answer ends early$"):
            fetch_index(web, server.url("/a.caibx"), "name")
        assert len(server.asked) == 4


@pytest.mark.parametrize("ranges", [True, False])
def test_beginning_anew_is_no_progress(web: Web, monkeypatch: pytest.MonkeyPatch, ranges: bool) -> None:
    """A server that breaks and then has another index, or knows no ranges, would be asked for ever."""
    monkeypatch.setattr(download, "_PROGRESS", 1000)
    script = Breaking(INDEX, [5000] * 30, end=CLOSE, ranges=ranges)
    script.after = {number: (INDEX, f'"{number}"') for number in range(30)}
    with ScriptedServer(script) as server:
        with pytest.raises(WebError, match=r": (Answer ends early|Changed while it was read)$"):
            fetch_index(web, server.url("/a.caibx"), "name")
        assert len(server.asked) == 4


@pytest.mark.parametrize("content", [b"", b"<html>", INDEX[:-1], INDEX[1:], INDEX + b"x", INDEX * 2])
def test_what_is_no_index(web: Web, content: bytes) -> None:
    with ScriptedServer(Breaking(content, [])) as server, pytest.raises(FormatError) as caught:
        fetch_index(web, server.url("/a.caibx"), "name")
    assert caught.value.name == "name"


def test_no_index(web: Web) -> None:
    for status in (404, 410):
        with (
            ScriptedServer(lambda _asked, status=status: [answer(status)]) as server,  # type: ignore[misc]
            pytest.raises(PeerError, match=r"/a\.ca[a-z]+(\?\.\.\.)?: No such file$"),
        ):
            fetch_index(web, server.url("/a.caibx?token"), "name")


def test_an_index_that_is_too_large(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "TRAVELLING_INDEX_MAX", 100_000)

    def endless(_asked: Asked) -> Iterator[bytes]:
        yield answer(200, INDEX[:64], length=-1)
        while True:
            yield bytes(1 << 16)

    def told(_asked: Asked) -> list[Step]:
        return [answer(200, b"x", length=10**17), 10.0]

    for script in (endless, told):
        with ScriptedServer(script) as server, pytest.raises(PeerError, match="An index of more than 100000 bytes"):
            fetch_index(web, server.url("/a.caibx"), "name")


def test_what_is_no_index_is_not_read_to_its_end(web: Web) -> None:
    def endless(_asked: Asked) -> Iterator[bytes]:
        yield answer(200, b"<html>", length=-1)
        while True:
            yield bytes(1 << 16)

    with ScriptedServer(endless) as server, pytest.raises(FormatError, match="Not an index") as caught:
        fetch_index(web, server.url("/a.caibx"), "name")
    assert caught.value.name == "name"


def test_a_full_disk(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with ScriptedServer(Breaking(INDEX, [])) as server:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
        try:
            with pytest.raises(OSError, match="File too large") as caught:
                fetch_index(web, server.url("/a.caibx"), "name")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert caught.value.filename == tempfile.gettempdir()
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    with ScriptedServer(Breaking(INDEX, [])) as server, pytest.raises(OSError, match="No such file"):
        fetch_index(web, server.url("/a.caibx"), "name")


# Archives.


def test_an_archive(web: Web) -> None:
    with ScriptedServer(Breaking(ARCHIVE, [])) as server:
        archive = WebArchive(web, server.url("/a.catar"), "name")
        assert read_all(archive) == ARCHIVE
        assert archive.read() == b""
        archive.close()
        archive.close()


def test_no_archive(web: Web) -> None:
    with (
        ScriptedServer(lambda _asked: [answer(404)]) as server,
        pytest.raises(PeerError, match=r"/a\.ca[a-z]+(\?\.\.\.)?: No such file$"),
    ):
        WebArchive(web, server.url("/a.catar"), "name")


@pytest.mark.parametrize("etag", ['"1"', '"\xe9"', '"\xc3\xa9"'])  # of any bytes, whatever they are in any charset
@pytest.mark.parametrize("ranges", [True, False])
def test_an_archive_goes_on_after_breaks(web: Web, ranges: bool, etag: str) -> None:
    script = Breaking(ARCHIVE, [100_000, 150_000, 170_000], ranges=ranges, etag=etag)
    with ScriptedServer(script) as server:
        archive = WebArchive(web, server.url("/a.catar"), "name")
        assert read_all(archive) == ARCHIVE
        archive.close()
    assert (script.starts[-1] > 0) is ranges


@pytest.mark.parametrize("etag", ['"2"', '"1"', None])
@pytest.mark.parametrize("content", [OTHER, ARCHIVE[:200_000], ARCHIVE + b"x"])
@pytest.mark.parametrize("ranges", [True, False])
def test_an_archive_that_changes_is_no_archive(web: Web, etag: str | None, content: bytes, ranges: bool) -> None:
    """Even where the server's ETag says that nothing changed, as far as the size gives it away."""
    if etag == '"1"' and len(content) == len(ARCHIVE):
        return
    script = Breaking(ARCHIVE, [100_000], ranges=ranges)
    script.after = {1: (content, etag)}
    with ScriptedServer(script) as server:
        archive = WebArchive(web, server.url("/a.catar"), "name")
        with pytest.raises((SourceChanged, PeerError), match=r"^name: (Changed while|Broke, and the server)"):
            read_all(archive)
        archive.close()


def test_an_archive_of_a_server_that_tells_nothing(web: Web) -> None:
    with ScriptedServer(Breaking(ARCHIVE, [100_000], etag=None)) as server:
        archive = WebArchive(web, server.url("/a.catar"), "name")
        with pytest.raises(PeerError, match="does not say whether the file is still the same"):
            read_all(archive)
        archive.close()


@pytest.mark.parametrize(
    "told", ["bytes 99999-299999/300000", "bytes 0-299999/300000", "bytes */300000", "", "bytes 100000-1/300000"]
)
def test_another_part_than_was_asked_for(web: Web, told: str) -> None:
    def script(asked: Asked) -> list[Step]:
        if asked.number == 0:
            return [answer(200, ARCHIVE[:100_000], 'ETag: "1"', length=len(ARCHIVE)), CLOSE]
        return [answer(206, ARCHIVE[100_000:], f"Content-Range: {told}")]

    with ScriptedServer(script) as server:
        archive = WebArchive(web, server.url("/a.catar"), "name")
        with pytest.raises(WebError, match=r"^name: Answers with another part"):
            read_all(archive)
        archive.close()


def test_what_is_skipped_far_is_not_asked_for(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_WORTH_A_REQUEST", 50_000)
    script = Breaking(ARCHIVE, [])
    with ScriptedServer(script) as server:
        archive = WebArchive(web, server.url("/a.catar"), "name")
        got = b""
        while len(got) < 10_000:
            got += bytes(archive.read())
        archive.skip(200_000 - len(got))
        assert got + read_all(archive) == ARCHIVE[: len(got)] + ARCHIVE[200_000:]
        archive.skip(60_000)
        assert archive.read() == b""
        archive.close()
    assert script.starts == [0, 200_000]


@pytest.mark.parametrize("told", ["bytes", "", "none"])
def test_a_server_that_does_no_ranges_is_read_twice_at_most(
    web: Web, monkeypatch: pytest.MonkeyPatch, told: str
) -> None:
    monkeypatch.setattr(files, "_WORTH_A_REQUEST", 10_000)
    script = Breaking(ARCHIVE, [], ranges=False)
    script.told = told
    with ScriptedServer(script) as server:
        archive = WebArchive(web, server.url("/a.catar"), "name")
        at = len(archive.read())
        for _ in range(8):
            archive.skip(20_000)
            at += 20_000
            piece = bytes(archive.read())
            assert piece == ARCHIVE[at : at + len(piece)]
            at += len(piece)
        archive.close()
    assert script.starts == ([0, 0] if told == "bytes" else [0])


def test_parts_of_parts(web: Web) -> None:
    """A server may give less of the rest than was asked for, and never more."""

    def script(asked: Asked) -> list[Step]:
        if asked.number == 0:
            return [answer(200, ARCHIVE[:100_000], 'ETag: "1"', length=len(ARCHIVE)), CLOSE]
        start = int(asked.headers["range"][6:-1])
        end = min(start + 50_000, len(ARCHIVE))
        more = b"x" if asked.target == "/more" and end == len(ARCHIVE) else b""
        return [answer(206, ARCHIVE[start:end] + more, f"Content-Range: bytes {start}-{end - 1}/{len(ARCHIVE)}")]

    with ScriptedServer(script) as server:
        archive = WebArchive(web, server.url("/a.catar"), "name")
        with pytest.raises(WebError, match=r"Answer ends early"):
            read_all(archive)
        assert len(server.asked) == 4  # that was no progress to speak of
        archive.close()
    with ScriptedServer(script) as server:
        web.retry = Retry(10, first_s=0.0)
        archive = WebArchive(web, server.url("/a.catar"), "name")
        assert read_all(archive) == ARCHIVE
        archive.close()
        server.asked.clear()
        archive = WebArchive(web, server.url("/more"), "name")
        with pytest.raises(WebError, match="Sends more than the 300000 bytes"):
            read_all(archive)
        archive.close()


@settings(max_examples=40, deadline=None)
@given(
    steps=st.lists(st.tuples(st.booleans(), st.integers(0, 90_000)), max_size=8),
    breaks=st.lists(st.integers(70_000, 200_000), max_size=5),
    ranges=st.booleans(),
)
def test_reading_and_skipping_in_any_order(steps: list[tuple[bool, int]], breaks: list[int], ranges: bool) -> None:
    """What was read is the archive's bytes at that place, whatever breaks."""
    web = Web(Access(), timeout=5, retries=10, monitor=Monitor(), user_origins=())
    web.retry = Retry(10, first_s=0.0, most_s=0.0)
    before, files._WORTH_A_REQUEST = files._WORTH_A_REQUEST, 40_000
    try:
        with ScriptedServer(Breaking(ARCHIVE, breaks, ranges=ranges)) as server:
            archive = WebArchive(web, server.url("/a.catar"), "name")
            at = 0
            for reads, size in steps:
                if reads:
                    piece = bytes(archive.read())
                    assert piece == ARCHIVE[at : at + len(piece)]
                    assert piece or at >= len(ARCHIVE)
                    at += len(piece)
                else:
                    archive.skip(size)
                    at += size
            rest = read_all(archive)
            assert rest == ARCHIVE[at:]
            archive.close()
    finally:
        files._WORTH_A_REQUEST = before
        web.close()


def test_from_nginx(start_nginx: Callable[..., Nginx], tmp_path: Path, web: Web) -> None:
    """What a real server says of ranges is understood."""
    (tmp_path / "a.catar").write_bytes(ARCHIVE * 40)
    (tmp_path / "a.caibx").write_bytes(INDEX)
    nginx = start_nginx(tmp_path)
    with fetch_index(web, f"{nginx.url}/a.caibx", "name") as index:
        assert len(index) == 5000
    archive = WebArchive(web, f"{nginx.url}/a.catar", "name")
    first = bytes(archive.read())
    archive.skip(10_000_000 - len(first))
    assert read_all(archive) == (ARCHIVE * 40)[10_000_000:]
    archive.close()
    web.close()
    nginx.stop()
    assert [line.split()[2] for line in nginx.requests()] == ["200", "200", "206"]
