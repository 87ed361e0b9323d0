"""A store on a web server: many chunks under way at once, in the order of need."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from casync_py.compression import MAX_CHUNK_SIZE
from casync_py.errors import PeerError
from casync_py.peer.exchange import Exchange as Exchanged
from casync_py.peer.pull_stream import PullStore
from casync_py.peer.wanted import KEPT_SIZE_DIALECT
from casync_py.protocol.posted import Exchange
from casync_py.remotes.http.fetcher import Fetcher
from casync_py.remotes.http.getting import ByGets, ByPosts
from casync_py.remotes.http.offers import Offers, ask_offers
from casync_py.remotes.http.present import has_by_heads, has_by_post
from casync_py.remotes.http.terms import HAS
from casync_py.store.base import DEFAULT_BUDGET

if TYPE_CHECKING:
    from collections.abc import Sequence

    from casync_py.digest import Digest
    from casync_py.ids import ChunkId
    from casync_py.peer.pull_stream import PullStream
    from casync_py.remotes.http.getting import Way
    from casync_py.remotes.http.web import Web
    from casync_py.store.chunk import Chunk


class HttpStore:
    """The chunks below a URL. Thread-safe; none of them is verified here.

    What broke is tried again as the web's policy says; when that gave up, everything that waits raises, and the next
    question starts anew.

    Attributes:
        name: the URL without secrets.
        pipelined: True; see `is_pipelined`.
        digest: that the ids are of, as far as known: a server that fetches them from elsewhere is told.
    """

    pipelined = True

    def __init__(self, web: Web, url: str, name: str, *, suffix: str = ".cacnk", digest: Digest | None = None) -> None:
        """Begin to ask what the server speaks.

        Args:
            web: stays the caller's; ended by it before `join`.
            url: as `WebAddress.store`.
            suffix: of compressed chunks' files.
        """
        self.name = name
        self.digest = digest
        self._web = web
        self._url = url
        self._suffix = suffix
        self._lock = threading.RLock()
        self._offers: Offers | None = None
        self._round_trip_s = 0.0
        self._closed = False
        self._asking = threading.Lock()  # so that one thread asks
        self._used = False  # somebody has wanted something, and so was told if it failed
        self._old: list[_Pull] = []
        self._pull = _Pull(self)

    def get(self, chunk_id: ChunkId, limit: int = MAX_CHUNK_SIZE) -> Chunk:
        """Return the chunk, asked for before everything that only may be needed later.

        Raises:
            ChunkMissing: the server does not have it.
            ChunkInvalid: it is too large.
            PeerError: the server failed.
        """
        return self._live().get(chunk_id, limit)

    def get_many(self, ids: Sequence[ChunkId], budget: int = DEFAULT_BUDGET, limit: int = MAX_CHUNK_SIZE) -> PullStream:
        """Ask ahead; the first requests go out at once."""
        return self._live().get_many(ids, budget, limit)

    def has_many(self, ids: Sequence[ChunkId]) -> list[bool]:
        """Tell for each id whether it is there: in one request, or in one for each."""
        if HAS in self.offers():
            return has_by_post(self._web, self._url, ids, self.name)
        return has_by_heads(self._web, self._url, [self._suffix, ""] if self._suffix else [""], ids)

    def offers(self) -> Offers:
        """What the server can do, asked once. Raises PeerError."""
        with self._asking:
            if self._offers is None:
                began = time.monotonic()
                self._offers = ask_offers(self._web, self._url)
                self._round_trip_s = (time.monotonic() - began) / 2  # the connection took the other one
            return self._offers

    def close(self) -> None:
        """Ask for nothing more; streams that are open raise from now on. Twice is fine."""
        with self._lock:
            self._closed = True
            self._pull.exchange.close()

    def join(self) -> None:
        """Wait until no thread works for this store, after `close` and the end of its web."""
        for pull in [*self._old, self._pull]:
            pull.fetcher.join()

    def _live(self) -> PullStore:
        """What gets chunks now: something new if what did has failed somebody."""
        with self._lock:
            if self._closed:
                raise PeerError("The connection was closed", self.name)
            if self._pull.fetcher.over and self._used:
                self._old = [old for old in self._old if old.fetcher.alive]
                self._old.append(self._pull)
                self._pull = _Pull(self)
            self._used = True
            return self._pull.store

    def make_way(self, stop: threading.Event) -> Way:
        """How chunks are to be got. Raises PeerError."""
        offers = self.offers()
        files = ByGets(self._web, self._url, self._suffix, self._round_trip_s)
        if Exchange.PULL.value in offers:
            return ByPosts(self._web, self._url, self.name, files, stop, lambda: self.digest)
        return files


class _Pull:
    """Threads that get chunks, and what they share with those who want them."""

    def __init__(self, store: HttpStore) -> None:
        self.exchange = Exchanged()
        self.exchange.wanted.kept_limit = KEPT_SIZE_DIALECT
        self.store = PullStore(self.exchange, store.name)
        self.fetcher = Fetcher(self.exchange, store.make_way)
