"""Where a stream is cut into chunks: a stateless stage that marks candidates, and one that walks them.

The rolling hash of a position is that of the 48 bytes before it and knows no chunk start, so the candidates of any part
of a stream can be marked apart, in any order and on any thread (`mark`). Which of them become cuts depends on where
the last cut was (`Cutter`). Together they cut where casync's byte-by-byte loop does.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

from casync_py.errors import UsageError
from casync_py.native import candidates

if TYPE_CHECKING:
    from casync_py.chunking.params import ChunkParams

    Buffer = bytes | bytearray | memoryview

WINDOW = 48  # casync cachunker.h, CA_CHUNKER_WINDOW_SIZE
OVERLAP = WINDOW - 1  # bytes of the stream that a buffer repeats from the one before it

_NO_CANDIDATES = memoryview(b"").cast("I")


def mark(data: Buffer, params: ChunkParams) -> memoryview:
    """Candidates of one buffer; may run on any thread, releases the GIL.

    Args:
        data: part of a stream, up to 2 GiB, with the `OVERLAP` bytes before it in front (fewer at the very start).

    Returns:
        Ascending positions in `data`, each the end of a possible chunk; a memoryview of format "I". None lies in the
        overlap, so every position of a stream is reported by exactly one buffer. Empty for chunks of fixed size.
    """
    return _NO_CANDIDATES if params.fixed else candidates(data, params.discriminator)


class Cutter:
    """Turns candidates into cuts; the only state is where the current chunk starts."""

    def __init__(self, params: ChunkParams) -> None:
        self._max = params.max
        # casync's window restarts at each cut and its first test is at 48 bytes, or at min if that is more
        self._first = params.max if params.fixed else max(params.min, WINDOW)
        self._start = 0
        self._end = 0

    def advance(self, marked: memoryview, base: int, end: int) -> list[int]:
        """Cuts that became certain with the next part of the stream.

        Args:
            marked: candidates of the part between the last call's `end` and this one, relative to `base`, ascending.
            base: offset in the stream that they count from.
            end: offset up to which the stream is now known.

        Returns:
            End offsets of the chunks that are complete, ascending.

        Raises:
            UsageError: a cut is needed, and max is below the window's 48 bytes (unless chunks are of fixed size).
        """
        cuts = []
        start, first, longest = self._start, self._first, self._max
        index, count = 0, len(marked)
        if first > longest and end - start > longest:
            raise UsageError(f"Chunks of at most {longest} bytes are too short to be cut: less than {WINDOW}")
        while start + first <= end:
            index = bisect_left(marked, start + first - base, index)
            cut = start + longest
            if index < count and base + marked[index] < cut:
                cut = base + marked[index]
            if cut > end:
                break
            cuts.append(cut)
            start = cut
        self._start, self._end = start, end
        return cuts

    def finish(self) -> list[int]:
        """End offset of the last chunk, which may be shorter than min; empty if the stream ended with a cut."""
        return [self._end] if self._end > self._start else []


class Chunker:
    """Cuts a stream that arrives in pieces of any size; the slicing makes no difference to the cuts."""

    def __init__(self, params: ChunkParams) -> None:
        self._params = params
        self._cutter = Cutter(params)
        self._offset = 0
        self._tail = b""

    def feed(self, data: Buffer) -> list[int]:
        """Take the next piece of the stream; no reference to it is kept.

        Returns:
            End offsets of the chunks that are complete, ascending, counted from the start of the stream.

        Raises:
            UsageError: a cut is needed, and max is below the window's 48 bytes (unless chunks are of fixed size).
        """
        view = memoryview(data).cast("B")
        start, size = self._offset, len(view)
        # the windows that begin in the piece before, so that a large piece need not be copied behind them
        seam = self._tail + view[:OVERLAP]
        seam_end = start + min(size, OVERLAP)
        cuts = self._cutter.advance(mark(seam, self._params), start - len(self._tail), seam_end)
        if size > OVERLAP:
            cuts += self._cutter.advance(mark(view, self._params), start, start + size)
        self._tail = bytes(view[-OVERLAP:]) if size >= OVERLAP else seam[-OVERLAP:]
        self._offset = start + size
        return cuts

    def finish(self) -> list[int]:
        """End offset of the last chunk, which may be shorter than min; empty if the stream ended with a cut."""
        return self._cutter.finish()
