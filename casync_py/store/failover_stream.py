"""A window of a stream over mirrors: from one of them, going on with the next where it fails.

What one lacks or has damaged is asked of the others, together with what else it turns out to lack nearby.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from casync_py.errors import ChunkInvalid
from casync_py.store.mirror import TROUBLE
from casync_py.store.windows import Answers, better, final

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from casync_py.errors import ChunkMissing
    from casync_py.ids import ChunkId
    from casync_py.store.chunk import Chunk
    from casync_py.store.failover import FailoverStore
    from casync_py.store.mirror import Mirror, Session
    from casync_py.store.windows import Answer

    Item = tuple[ChunkId, Chunk | ChunkMissing]
    Refused = frozenset[Mirror]  # those that lack a chunk, or have it damaged
    Entry = tuple[ChunkId, Answer, Refused]

_NOBODY: Refused = frozenset()


def window(store: FailoverStore, ids: Sequence[ChunkId], budget: int) -> Generator[Item | None, None, None]:
    """The chunks of a window, as `in_windows` wants it."""
    line = _Line(store, ids, budget, _NOBODY)
    try:
        line.begin()
        yield None
        yield from _complete(store, line.entries(), budget)
    finally:
        line.close()


class _Line:
    """The answers to some ids, in order, from the first mirror that works; the next one goes on where it fails."""

    def __init__(self, store: FailoverStore, ids: Sequence[ChunkId], budget: int, refused: Refused) -> None:
        """
        Args:
            refused: mirrors that are not asked; there are others.
        """
        self._store = store
        self._ids = ids
        self._budget = budget
        self._refused = refused
        self._taken = 0
        self._asked: tuple[Mirror, Session, Answers] | None = None

    def begin(self) -> None:
        """Ask ahead, if that needs no waiting."""
        self._ask(patient=False)

    def next(self) -> tuple[Answer, Mirror]:
        """The next answer, and whose it is.

        Raises:
            PeerError, OSError: all mirrors are in trouble.
        """
        store = self._store
        while True:
            if self._asked is None:
                self._ask(patient=True)
                continue
            mirror, session, answers = self._asked
            began = store.clock()
            try:
                answer = answers.next()
            except TROUBLE as error:
                store.failed(mirror, session, error, began)
                self.close()
                continue
            self._taken += 1
            if not isinstance(answer, ChunkInvalid):
                mirror.worked()
            elif store.bad(mirror, session, answer):
                self.close()
            return answer, mirror

    def entries(self) -> Iterator[Entry]:
        for chunk_id in self._ids:
            answer, mirror = self.next()
            yield chunk_id, answer, frozenset((mirror,)) if isinstance(answer, Exception) else _NOBODY

    def _ask(self, *, patient: bool) -> None:
        found = self._store.acquire(self._refused, patient=patient)
        if found is None:
            return
        mirror, session = found
        began = self._store.clock()
        try:
            answers = Answers(session.store, self._ids[self._taken :], self._budget)
        except TROUBLE as error:
            self._store.failed(mirror, session, error, began)
            mirror.release(session)
        except BaseException:
            mirror.release(session)
            raise
        else:
            self._asked = mirror, session, answers

    def close(self) -> None:
        """Ask no more of the mirror."""
        if self._asked is not None:
            mirror, session, answers = self._asked
            self._asked = None
            try:
                answers.close()
            finally:
                mirror.release(session)


def _complete(store: FailoverStore, entries: Iterator[Entry], budget: int) -> Iterator[Item]:
    """What the stream delivers for answers, those of other mirrors in place of refusals."""
    everyone = len(store.mirrors)
    for entry in entries:
        chunk_id, answer, refused = entry
        if isinstance(answer, Exception) and len(refused) < everyone:
            yield from _ask_others(store, [entry, *_some(entries, budget)], refused, budget)
        else:
            yield chunk_id, final(answer)


def _some(entries: Iterator[Entry], budget: int) -> Iterator[Entry]:
    """The entries that follow, until they fill the budget: the others are asked for all that is lacking in one go."""
    while budget > 0 and (entry := next(entries, None)) is not None:
        if not isinstance(entry[1], Exception):
            budget -= entry[1].memory
        yield entry


def _ask_others(store: FailoverStore, entries: list[Entry], refused: Refused, budget: int) -> Iterator[Item]:
    """Entries with what others have in place of what exactly these mirrors refused."""
    lacking = [entry[0] for entry in entries if isinstance(entry[1], Exception) and entry[2] == refused]
    line = _Line(store, lacking, budget, refused)

    def merged() -> Iterator[Entry]:
        entries.reverse()
        while entries:
            entry = entries.pop()
            chunk_id, before, by = entry
            if isinstance(before, Exception) and by == refused:
                answer, mirror = line.next()
                entry = chunk_id, better(before, answer), refused | {mirror}
            yield entry

    try:
        yield from _complete(store, merged(), budget)
    finally:
        line.close()
