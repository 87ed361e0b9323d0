"""The two ways to get chunks over HTTP: many with one POST from a server that speaks casync's messages, one with each
GET from any server."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

from casync_py.errors import ChunkInvalid, PeerError, ProtocolError
from casync_py.protocol.messages import REQUEST_IDS_MAX, ChunkData, Missing, Request
from casync_py.protocol.posted import MEDIA_TYPE, BodyReader, Exchange, Side, body
from casync_py.remotes.http.address import chunk_url
from casync_py.remotes.http.errors import TooLarge, WebError
from casync_py.remotes.http.present import NOT_IN_THIS_FORM, NOT_THERE
from casync_py.transport.retry import Attempts

if TYPE_CHECKING:
    import threading
    from collections.abc import Sequence

    from casync_py.digest import Digest
    from casync_py.ids import ChunkId
    from casync_py.peer.wanted import Answer
    from casync_py.remotes.http.web import Web

DIGEST_HEADER = "Casync-Digest"
POST_SIZE = 8 << 20  # bytes of chunks, as far as can be told, that one POST asks for
_POSTS = 6  # at once: what may be asked ahead is in flight even where a round trip takes long
_LEAST_IDS, _MOST_IDS = 16, 1024
_USUAL = 32 << 10  # stored bytes of a chunk that are expected before any came
_GETS = 32  # at once, at most
_WORK_S = 1e-3  # processor time that a request takes, until it is known better: rather too much
_ANSWERS = (200, *NOT_THERE)
_ANSWERS_IN_SEVERAL_FORMS = (*_ANSWERS, NOT_IN_THIS_FORM)


class Take(Protocol):
    """Whoever wants chunks.

    Attributes:
        limit: most stored bytes that any of them may have.
    """

    limit: int

    def arrived(self, answer: Answer) -> None:
        """An answer came."""

    def wait_for_room(self) -> bool:
        """What came so far is announced; return when there is room for more, False if no more is wanted."""


class Way(Protocol):
    """A way to get chunks. Thread-safe.

    Attributes:
        most: ids for one `fetch`, by what came so far.
        threads: that are worth having, by what came so far.
    """

    most: int
    threads: int

    def fetch(self, ids: Sequence[ChunkId], take: Take) -> None:
        """Get chunks, from this thread; every one is answered, in any order.

        Raises:
            PeerError: it was tried as often as it may be.
        """


class ByPosts:
    """POST ?pull. What a connection that breaks owes is asked for again."""

    def __init__(self, web: Web, store: str, name: str, stop: threading.Event, digest: Digest | None) -> None:
        """
        Args:
            store: URL. name: of the store, for messages.
            stop: ends the waiting for another attempt.
            digest: that the ids are of, which a server that fetches from elsewhere then tries first.
        """
        self.threads = _POSTS
        self.most = max(_LEAST_IDS, POST_SIZE // 4 // _USUAL)
        self._mean = _USUAL
        self._web = web
        self._url = f"{store}?{Exchange.PULL.value}"
        self._name = name
        self._stop = stop
        self._headers = {"Content-Type": MEDIA_TYPE}
        if digest is not None:
            self._headers[DIGEST_HEADER] = digest.name

    def fetch(self, ids: Sequence[ChunkId], take: Take) -> None:
        owed = dict.fromkeys(ids)
        attempts = Attempts(self._web.retry, self._stop)
        while owed:
            try:
                self._post(owed, take, attempts)
            except WebError as error:
                if not error.transient:
                    raise
                attempts.failed(error, error.retry_after)
            except PeerError as error:
                error.name = error.name or self._name
                raise

    def _post(self, owed: dict[ChunkId, None], take: Take, attempts: Attempts) -> None:
        ids = list(owed)
        requests = [Request(ids[at : at + REQUEST_IDS_MAX]) for at in range(0, len(ids), REQUEST_IDS_MAX)]
        content = body(Exchange.PULL, Side.CLIENT, requests)
        reader = BodyReader(Exchange.PULL, Side.SERVER)
        size = 0
        with self._web.stream("POST", self._url, content=content, headers=self._headers) as reply:
            check_media_type(reply.headers.get("content-type"))
            for piece in reply.iter_bytes():
                if not (messages := reader.feed(piece)):
                    continue
                for message in messages:
                    size += self._take(message, owed, take)
                attempts.progress()
                if not take.wait_for_room():
                    owed.clear()
                    return
        if not reader.done:
            raise WebError("The answer ended early, without GOODBYE", self._name, transient=True)
        reader.finish()
        if owed:
            raise ProtocolError(f"Did not answer for {len(owed)} of {len(ids)} chunks")
        self._mean += (size // len(ids) - self._mean) // 4
        self.most = max(_LEAST_IDS, min(POST_SIZE // max(1, self._mean), _MOST_IDS))

    def _take(self, message: object, owed: dict[ChunkId, None], take: Take) -> int:
        assert isinstance(message, ChunkData | Missing)
        if message.chunk_id not in owed:
            raise ProtocolError(f"Sent chunk {message.chunk_id}, which was not asked for")
        del owed[message.chunk_id]
        if isinstance(message, Missing):
            take.arrived(message)
            return 0
        # Owned: a chunk may be kept for long, and would keep all else alive that came with it
        take.arrived(ChunkData(message.chunk_id, bytes(message.data), message.compressed))
        return len(message.data)


class ByGets:
    """GET of each chunk's file, compressed or plain: the form that was there last is tried first."""

    most = 1

    def __init__(self, web: Web, store: str, suffix: str, round_trip_s: float) -> None:
        """
        Args:
            store: URL.
            suffix: of compressed chunks' files.
            round_trip_s: about how long a request takes, until it is known better; 0: unknown.
        """
        self._web = web
        self._store = store
        self._suffixes = [suffix, ""] if suffix else [""]
        self._quickest_s = round_trip_s  # about the shortest time that a request takes
        self._work_s = _WORK_S  # running mean of what this thread itself did in it
        self.threads = self._worth_having()

    def fetch(self, ids: Sequence[ChunkId], take: Take) -> None:
        for chunk_id in ids:
            try:
                answer: Answer = self._get(chunk_id, take.limit)
            except TooLarge:
                answer = ChunkInvalid(chunk_id, f"It has more than {take.limit} bytes")
            take.arrived(answer)

    def _get(self, chunk_id: ChunkId, limit: int) -> ChunkData | Missing:
        suffixes = tuple(self._suffixes)
        known = False
        for suffix in suffixes:
            # An error only where no form is one that the server knows
            expected = _ANSWERS_IN_SEVERAL_FORMS if known or suffix != suffixes[-1] else _ANSWERS
            began, worked = time.monotonic(), time.thread_time()
            content = self._web.request("GET", chunk_url(self._store, chunk_id, suffix), expect=expected, limit=limit)
            self._learn(time.monotonic() - began, time.thread_time() - worked)
            if content.status == 200 and content.body:
                if suffix != self._suffixes[0]:
                    self._suffixes = [suffix, *(other for other in self._suffixes if other != suffix)]
                return ChunkData(chunk_id, content.body, bool(suffix))
            known = known or content.status != NOT_IN_THIS_FORM
        return Missing(chunk_id)

    def _learn(self, took_s: float, worked_s: float) -> None:
        """As many threads as keep one processor busy: few where the server is near, many where it is far."""
        self._work_s += (worked_s - self._work_s) / 16
        self._quickest_s = min(took_s, self._quickest_s * 1.02) if self._quickest_s else took_s
        self.threads = self._worth_having()

    def _worth_having(self) -> int:
        return max(2, min(1 + round(self._quickest_s / max(self._work_s, 1e-5)), _GETS))


def check_media_type(value: str | None) -> None:
    """Check that an answer is one of casync's bodies.

    Raises:
        ProtocolError: it is something else, such as a page for people.
    """
    if value is None or value.partition(";")[0].strip().lower() != MEDIA_TYPE:
        raise ProtocolError(f"Answered with {value or 'no media type'}, not {MEDIA_TYPE}")
