"""Where a server's blocking work is done, and how much memory it may take: threads, and room for what comes in."""

from __future__ import annotations

import asyncio
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, TypeVar, TypeVarTuple

from casync_py.remotes.http.server.answers import busy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from casync_py.options import Resources

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_READERS = 8  # more where a disk is slow help little, and fewer let one slow file hold up the others
_FLUSHERS = 16  # they wait, for disks and for gc
_BODIES_SHARE = 3  # of the memory; long answers have the rest
SMALL = 1 << 20
"""Bytes of a body, or of a plain chunk, that many may have at once; what is larger takes its turn, one at a time."""
PIECE = 256 << 10
"""Bytes of a long answer that are read at once; less where there are many of them."""
_PIECE_MIN = 32 << 10
_PATIENCE_S = 30.0


class Room:
    """Some bytes of memory that are taken in turn, first come, first served."""

    def __init__(self, size: int) -> None:
        self._free = size
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def awaited(self) -> bool:
        """Whether somebody waits for his turn."""
        return bool(self._waiting)

    @asynccontextmanager
    async def of(self, size: int) -> AsyncIterator[None]:
        """Hold so many bytes.

        Raises:
            Refusal: 503, there was no room for too long.
        """
        if self._waiting or size > self._free:
            await self._wait(size)
        else:
            self._free -= size
        try:
            yield
        finally:
            self._free += size
            self._hand_out()

    async def _wait(self, size: int) -> None:
        turn = asyncio.get_running_loop().create_future()
        entry = (size, turn)
        self._waiting.append(entry)
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self._free += size
            else:
                with suppress(ValueError):  # it is no longer there where a turn came up just after the waiting ended
                    self._waiting.remove(entry)
            self._hand_out()
            if isinstance(error, TimeoutError):
                raise busy("The server has too much to receive at once") from None
            raise

    def _hand_out(self) -> None:
        while self._waiting and self._waiting[0][0] <= self._free:
            size, turn = self._waiting.popleft()
            if not turn.done():
                self._free -= size
                turn.set_result(None)


class Work:
    """The threads and the memory of one server.

    Attributes:
        resources: how many threads verify, compress and write, and the memory for bodies and long answers together.
        bodies: room for request bodies of at most `SMALL` bytes.
        large: room for one thing that is larger: a body, or a chunk that is decompressed; beside that memory.
    """

    def __init__(self, resources: Resources, *, readers: int = _READERS) -> None:
        """
        Args:
            readers: threads that read.
        """
        self.resources = resources
        bodies = max(SMALL, resources.memory // _BODIES_SHARE)
        self.bodies = Room(bodies)
        self.large = Room(1)
        self._pieces = resources.memory - bodies  # bytes of long answers in memory, all together
        self._readers = ThreadPoolExecutor(readers, "casync-serve-read")
        self._writers = ThreadPoolExecutor(resources.jobs, "casync-serve-write")
        self._flushers = ThreadPoolExecutor(_FLUSHERS, "casync-serve-flush")
        self._streams = 0

    def read(self, function: Callable[[*Ts], T], *arguments: *Ts) -> asyncio.Future[T]:
        """Do something that reads files, in a thread."""
        return asyncio.get_running_loop().run_in_executor(self._readers, function, *arguments)

    def write(self, function: Callable[[*Ts], T], *arguments: *Ts) -> asyncio.Future[T]:
        """Do something that computes or writes files, in a thread."""
        return asyncio.get_running_loop().run_in_executor(self._writers, function, *arguments)

    def flush(self, function: Callable[[], T]) -> Awaitable[T]:
        """Do something that waits for a disk, in a thread."""
        return asyncio.get_running_loop().run_in_executor(self._flushers, function)

    def stream_began(self) -> None:
        """There is one more long answer; `stream_ended` when it is over."""
        self._streams += 1

    def stream_ended(self) -> None:
        self._streams -= 1

    def piece_size(self) -> int:
        """How much of a long answer to read at once: three pieces of each may be in memory."""
        return max(_PIECE_MIN, min(PIECE, self._pieces // (3 * max(1, self._streams))))

    def close(self) -> None:
        """Finish what is being worked on, end the threads; twice is fine."""
        for pool in (self._readers, self._writers, self._flushers):
            pool.shutdown(cancel_futures=True)
