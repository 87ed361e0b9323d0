"""Room for what comes in: first come, first served, and given back whatever happens."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from casync_py.options import Resources
from casync_py.remotes.http.server import work
from casync_py.remotes.http.server.answers import Refusal
from casync_py.remotes.http.server.work import PIECE, SMALL, Room, Work


async def _hold(room: Room, size: int, order: list[int], go_on: asyncio.Event) -> None:
    async with room.of(size):
        order.append(size)
        await go_on.wait()


async def _settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def test_room_is_taken_in_turn() -> None:
    async def main() -> None:
        room, order = Room(10), list[int]()
        events = [asyncio.Event() for _ in range(4)]
        tasks = [
            asyncio.create_task(_hold(room, size, order, event))
            for size, event in zip((6, 7, 3, 1), events, strict=True)
        ]
        await _settle()
        assert order == [6], "what is small does not overtake what waits"
        events[0].set()
        await _settle()
        assert order == [6, 7, 3]
        for event in events:
            event.set()
        await asyncio.gather(*tasks)
        assert order == [6, 7, 3, 1]
        async with room.of(10):
            pass

    asyncio.run(main())


def test_who_gives_up_waiting_takes_nothing_along() -> None:
    async def main() -> None:
        room, order = Room(10), list[int]()
        go_on = asyncio.Event()
        first = asyncio.create_task(_hold(room, 10, order, go_on))
        await _settle()
        second = asyncio.create_task(_hold(room, 9, order, go_on))
        third = asyncio.create_task(_hold(room, 8, order, go_on))
        await _settle()
        second.cancel()
        await _settle()
        first.cancel()
        await _settle()
        assert order == [10, 8]
        third.cancel()
        await asyncio.gather(first, second, third, return_exceptions=True)
        async with room.of(10):
            pass

    asyncio.run(main())


def test_who_is_cancelled_when_the_turn_came_gives_it_on() -> None:
    async def main() -> None:
        room, order = Room(1), list[int]()
        go_on = asyncio.Event()
        first = asyncio.create_task(_hold(room, 1, order, go_on))
        await _settle()
        second = asyncio.create_task(_hold(room, 1, order, go_on))
        await _settle()
        go_on.set()
        while not first.done():
            await asyncio.sleep(0)
        second.cancel()
        await asyncio.gather(first, second, return_exceptions=True)
        async with asyncio.timeout(5), room.of(1):
            pass

    asyncio.run(main())


def test_who_is_cancelled_as_the_turn_comes_ends_as_cancelled() -> None:
    async def main() -> None:
        room, order = Room(1), list[int]()
        go_on = asyncio.Event()
        first = asyncio.create_task(_hold(room, 1, order, go_on))
        await _settle()
        second = asyncio.create_task(_hold(room, 1, order, go_on))
        await _settle()
        go_on.set()
        second.cancel()
        _, end = await asyncio.gather(first, second, return_exceptions=True)
        assert isinstance(end, asyncio.CancelledError)
        async with asyncio.timeout(5), room.of(1):
            pass

    asyncio.run(main())


def test_nobody_waits_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "_PATIENCE_S", 0.01)

    async def main() -> None:
        room = Room(10)
        async with room.of(10):
            with pytest.raises(Refusal) as refused:
                async with room.of(1):
                    pass
            assert refused.value.status == 503
            assert (b"retry-after", b"1") in refused.value.headers
        async with room.of(10):
            pass

    asyncio.run(main())


def test_many_long_answers_are_read_in_smaller_pieces() -> None:
    shared = Work(Resources())
    assert shared.piece_size() == PIECE
    for _ in range(1000):
        shared.stream_began()
    assert shared.piece_size() == PIECE // 8
    for _ in range(1000):
        shared.stream_ended()
    assert shared.piece_size() == PIECE
    shared.close()
    shared.close()


@pytest.mark.parametrize(("memory", "bodies"), [(1, 1), (3 << 20, 1), (6 << 20, 2)])
def test_less_memory_is_room_for_fewer(monkeypatch: pytest.MonkeyPatch, memory: int, bodies: int) -> None:
    monkeypatch.setattr(work, "_PATIENCE_S", 0.01)
    shared = Work(Resources(memory=memory))
    assert shared.piece_size() <= max(32 << 10, memory)

    async def main() -> None:
        async with AsyncExitStack() as taken:
            for _ in range(bodies):
                await taken.enter_async_context(shared.bodies.of(SMALL))
            with pytest.raises(Refusal):
                await taken.enter_async_context(shared.bodies.of(SMALL))

    asyncio.run(main())
    shared.close()
