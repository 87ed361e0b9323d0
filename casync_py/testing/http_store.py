"""Stores over HTTP as tests open them: the client with what it needs, and servers of plain files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from casync_py.monitor import Monitor
from casync_py.options import Access, StoreOptions
from casync_py.remotes.http.fetch import HttpStore
from casync_py.remotes.http.web import Web
from casync_py.store.chunk import Chunk
from casync_py.store.local import LocalStore
from casync_py.testing.store_contract import plain_of
from casync_py.testing.web import Asked, ScriptedServer, answer
from casync_py.transport.retry import Retry

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from casync_py.ids import ChunkId
    from casync_py.testing.serving import Served


class Opened:
    """A store at a URL and what it needs, closed together."""

    pipelined = True

    def __init__(self, url: str, *, retries: int = 3, timeout: float = 10.0, also: list[Served] | None = None) -> None:
        self.web = Web(Access(), timeout=timeout, retries=retries, monitor=Monitor(), user_origins=())
        self.web.retry = Retry(retries, first_s=0.001, most_s=0.002)
        self.store = HttpStore(self.web, url, url)
        self.name = self.store.name
        self.get = self.store.get
        self.get_many = self.store.get_many
        self.has_many = self.store.has_many
        self._also = also or []

    def close(self) -> None:
        self.store.close()
        self.web.close()
        self.store.join()
        for server in self._also:
            server.close()

    def __enter__(self) -> HttpStore:
        return self.store

    def __exit__(self, *_error: object) -> None:
        self.close()


def fill(path: Path, chunks: Sequence[Chunk], options: StoreOptions) -> None:
    """Write a store, each chunk in the form that the options say."""
    store = LocalStore(str(path), options, create=True)
    for chunk in chunks:
        store.put(Chunk(chunk.chunk_id, plain=chunk.plain()))  # without a form that another test has asked for
    store.flush()
    store.close()


class FileServer(ScriptedServer):
    """Files below a directory, and nothing of casync."""

    def __init__(self, root: Path) -> None:
        super().__init__(lambda asked: [files(root, asked)])


def files(root: Path, asked: Asked) -> bytes:
    """What a server of plain files answers."""
    path = root / asked.target.lstrip("/")
    if asked.method not in {"GET", "HEAD"}:
        return answer(405)
    if not path.is_file():
        return answer(404)
    content = path.read_bytes()
    return answer(200, b"" if asked.method == "HEAD" else content, length=len(content))


def all_of(store: HttpStore, ids: Sequence[ChunkId]) -> list[bytes | None]:
    """What a store has of some chunks, up to 1 MiB each."""
    return [plain_of(chunk) for _, chunk in store.get_many(ids, limit=1 << 20)]
