"""One flush for many writers: who waits for durability joins the next; a store is let go when nobody writes."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

    from casync_py.remotes.http.server.work import Work
    from casync_py.store.local import LocalStore

_RELEASE_S = 1.0  # after the last writer: gc waits no longer, and a client that writes chunk by chunk locks once


class Commits:
    """The writers of one store: `async with` it around what puts or recognises, then `await durable()`.

    Attributes:
        failed: a flush failed, which is final: the store has to be opened anew.
    """

    def __init__(self, store: LocalStore, work: Work) -> None:
        self.failed = False
        self._store = store
        self._work = work
        self._writers = 0
        self._next: asyncio.Future[None] | None = None  # of the flush that has not begun
        self._task: asyncio.Task[None] | None = None
        self._releasing: asyncio.Future[None] | None = None
        self._locked: asyncio.Future[None] | None = None  # of gc, since the last release
        self._timer: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        self._writers += 1
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._releasing is not None:
            await asyncio.wait([self._releasing])
        if self._locked is None:
            self._locked = asyncio.ensure_future(self._work.flush(self._lock))
        if not self._locked.done():
            await asyncio.wait([self._locked])
        return self

    def _lock(self) -> None:
        """Wait for gc here, in a thread that others do not need, instead of where chunks are put."""
        with suppress(OSError):  # said again where something is put
            self._store.recognise(())

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writers -= 1
        if not self._writers:
            self._timer = asyncio.get_running_loop().call_later(_RELEASE_S, self._release)

    async def durable(self) -> None:
        """Return when all that was put or recognised before the call survives a power cut.

        Raises:
            OSError: it does not.
        """
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
        mine = self._next
        if self._task is None:
            self._task = asyncio.create_task(self._flush())
        await asyncio.shield(mine)

    async def look_at(self) -> None:
        """Something could not be written: find out whether anything still can."""
        with suppress(OSError):
            await self.durable()

    async def _flush(self) -> None:
        while self._next is not None:
            await asyncio.sleep(0)  # those who are about to ask too
            waiting, self._next = self._next, None
            try:
                await self._work.flush(self._store.flush)
            except OSError as error:
                self.failed = True
                waiting.set_exception(error)
                waiting.exception()  # whoever waited may be gone
            else:
                waiting.set_result(None)
        self._task = None

    def _release(self) -> None:
        self._timer = None
        if self._writers or self._releasing is not None:
            return
        self._locked = None
        self._releasing = asyncio.ensure_future(self._work.flush(self._store.release))
        self._releasing.add_done_callback(self._released)

    def _released(self, done: asyncio.Future[None]) -> None:
        self._releasing = None
        if done.cancelled() or done.exception() is not None:
            self.failed = True
