"""Buffers that are used again when nobody looks at them any more: a fresh one costs a page fault for every 4 KiB."""

from __future__ import annotations

from collections import deque


class SpareBuffers:
    """Buffers that were given away and may come back."""

    def __init__(self, remembered: int) -> None:
        """Args: remembered: how many; of more, the oldest are forgotten."""
        self._given: deque[bytearray] = deque(maxlen=remembered)

    def give(self, buffer: bytearray) -> None:
        """Remember a buffer that others may have views of."""
        self._given.append(buffer)

    def take(self) -> bytearray | None:
        """One that nobody looks at; two are tried, so that one which is kept for long does not hide the others."""
        given = self._given
        for _ in range(min(2, len(given))):
            buffer = given.popleft()
            if _is_unused(buffer):
                return buffer
            given.append(buffer)
        return None


def _is_unused(buffer: bytearray) -> bool:
    """Whether there is no view of it: a bytearray refuses to change its size while there is one."""
    try:
        buffer.append(buffer.pop())
    except BufferError:
        return False
    return True
