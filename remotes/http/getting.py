"""The two ways to get chunks over HTTP: many with one POST from a server that speaks casync's messages, one with each
GET from any server."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Protocol

from casync_py.errors import ChunkInvalid, PeerError, ProtocolError
from casync_py.protocol.messages import CHUNK_DATA_MAX, ChunkData, Message, Missing
from casync_py.protocol.posted import MEDIA_TYPE, BodyReader, Exchange, Side, body, requests_for
from casync_py.remotes.http.address import chunk_url
from casync_py.remotes.http.errors import TooLarge, WebError
from casync_py.remotes.http.present import NOT_IN_THIS_FORM, NOT_THERE
from casync_py.remotes.http.terms import DIGEST_HEADER
from casync_py.transport.retry import Attempts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from casync_py.digest import Digest
    from casync_py.ids import ChunkId
    from casync_py.peer.wanted import Answer
    from casync_py.remotes.http.web import Web

POST_SIZE = 8 << 20  # bytes of chunks, as far as can be told, that one POST asks for
_POSTS = 6  # at once: what may be asked ahead is in flight even where a round trip takes long
_LEAST_IDS, _MOST_IDS = 16, 1024
_USUAL = 32 << 10  # stored bytes of a chunk that are expected before any came
_GETS = 32  # at once, at most
_LARGE = 16 << 20  # bytes that an answer may have: where it may have more, there are fewer at once
_LARGE_ONES = 256 << 20  # bytes that those may have together
_NEAR_S = 2e-3  # a server that answers within that keeps two threads busy; what they do between them costs more
_NEAR_GETS = 8
_FAR_S = 20e-3
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
    """POST ?pull. What a connection that breaks owes is asked for again; what may be there although it fits into no
    message is asked for as a file."""

    def __init__(
        self, web: Web, store: str, name: str, files: ByGets, stop: threading.Event, digest: Callable[[], Digest | None]
    ) -> None:
        """
        Args:
            store: URL. name: of the store, for messages.
            files: the other way.
            stop: ends the waiting for another attempt.
            digest: gives the one that the ids are of, as far as known; a server that fetches from elsewhere tries it
                first.
        """
        self.threads = _POSTS
        self.most = max(_LEAST_IDS, POST_SIZE // 4 // _USUAL)
        self._mean = _USUAL
        self._web = web
        self._url = f"{store}?{Exchange.PULL.value}"
        self._name = name
        self._files = files
        self._stop = stop
        self._digest = digest

    def fetch(self, ids: Sequence[ChunkId], take: Take) -> None:
        answers = _Answers(ids, take)
        attempts = Attempts(self._web.retry, self._stop)
        while answers.owed:
            try:
                self._post(answers, attempts)
            except WebError as error:
                self._web.failed(attempts, error)
            except PeerError as error:
                error.name = error.name or self._name
                raise
        self._files.fetch(answers.doubtful, take)

    def _post(self, answers: _Answers, attempts: Attempts) -> None:
        ids = list(answers.owed)
        content = body(Exchange.PULL, Side.CLIENT, requests_for(ids))
        reader = BodyReader(Exchange.PULL, Side.SERVER)
        headers = {"Content-Type": MEDIA_TYPE}
        if (digest := self._digest()) is not None:
            headers[DIGEST_HEADER] = digest.name
        with self._web.stream("POST", self._url, content=content, headers=headers) as reply:
            check_media_type(reply.headers.get("content-type"))
            for piece in reply.iter_bytes():
                if messages := reader.feed(piece):
                    answers.came(messages)
                    attempts.progress()
                    if not answers.take.wait_for_room():
                        answers.owed.clear()
                        return
        if not reader.done:
            raise WebError("The answer ended early, without GOODBYE", self._name, transient=True)
        reader.finish()
        if answers.owed:
            raise ProtocolError(f"Did not answer for {len(answers.owed)} of {len(ids)} chunks")
        self._mean += (answers.size // answers.count - self._mean) // 4
        self.most = max(_LEAST_IDS, min(POST_SIZE // max(1, self._mean), _MOST_IDS))


class _Answers:
    """What came for some chunks.

    Attributes:
        owed: ids without an answer.
        doubtful: ids of what is not there as a message, and may be too large for one.
        size: stored bytes that came for all `count` chunks.
    """

    def __init__(self, ids: Sequence[ChunkId], take: Take) -> None:
        self.take = take
        self.owed = dict.fromkeys(ids)
        self.count = len(self.owed)
        self.doubtful: list[ChunkId] = []
        self.size = 0
        self._whole = take.limit <= CHUNK_DATA_MAX

    def came(self, messages: Sequence[Message]) -> None:
        """Hand on what came.

        Raises:
            ProtocolError: something that was not asked for.
        """
        for message in messages:
            assert isinstance(message, ChunkData | Missing), "the order of messages allows no other"
            chunk_id = message.chunk_id
            if chunk_id not in self.owed:
                raise ProtocolError(f"Sent chunk {chunk_id}, which was not asked for")
            del self.owed[chunk_id]
            if isinstance(message, ChunkData):
                self.size += len(message.data)
                # Owned: a chunk may be kept for long, and would keep all else alive that came with it
                self.take.arrived(ChunkData(chunk_id, bytes(message.data), message.compressed))
            elif self._whole:
                self.take.arrived(message)
            else:
                self.doubtful.append(chunk_id)


class _Share:
    """Bytes that may be under way."""

    def __init__(self, size: int) -> None:
        self._size = self._free = size
        self._changed = threading.Condition()

    @contextmanager
    def of(self, size: int) -> Iterator[None]:
        """Wait for so many, or for all of them."""
        size = min(size, self._size)
        with self._changed:
            self._changed.wait_for(lambda: size <= self._free)
            self._free -= size
        try:
            yield
        finally:
            with self._changed:
                self._free += size
                self._changed.notify_all()


class ByGets:
    """GET of each chunk's file, compressed or plain: the form that was there last is tried first."""

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
        self._large_ones = _Share(_LARGE_ONES)
        self._quickest_s = round_trip_s  # about the shortest time that a request takes
        self._work_s = _WORK_S  # running mean of what this thread itself did in it
        # The first round trip, which made the connection too, tells no near server from a nearer one.
        self.most, self.threads = (1, 2) if round_trip_s < _FAR_S else self._worth_having()

    def fetch(self, ids: Sequence[ChunkId], take: Take) -> None:
        for chunk_id in ids:
            with self._large_ones.of(take.limit) if take.limit > _LARGE else nullcontext():
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
        """As many threads as keep one processor busy: two where the server is near, many where it is far."""
        self._work_s += (worked_s - self._work_s) / 16
        self._quickest_s = min(took_s, self._quickest_s * 1.02) if self._quickest_s else took_s
        self.most, self.threads = self._worth_having()

    def _worth_having(self) -> tuple[int, int]:
        """How many one thread gets in a row, and how many threads there are."""
        if 0 < self._quickest_s < _NEAR_S:
            return _NEAR_GETS, 2
        return 1, max(2, min(1 + round(self._quickest_s / max(self._work_s, 1e-5)), _GETS))


def check_media_type(value: str | None) -> None:
    """Check that an answer is one of casync's bodies.

    Raises:
        ProtocolError: it is something else, such as a page for people.
    """
    if value is None or value.partition(";")[0].strip().lower() != MEDIA_TYPE:
        raise ProtocolError(f"Answered with {value or 'no media type'}, not {MEDIA_TYPE}")
