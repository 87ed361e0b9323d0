"""What a peer must not say: messages put together by hand, with lies about sizes, ids and content."""

from __future__ import annotations

import hashlib
import struct
from typing import TYPE_CHECKING

import zstandard

from casync_py.testing.transcripts import build_message

if TYPE_CHECKING:
    from collections.abc import Callable

    from casync_py.testing.meddling import Ended

SIZES = [0, 1, 15, 16, 17, (1 << 24) + 1, 1 << 63, (1 << 64) - 1]
PEAK = 200 << 20  # what no process may need, bytes
LIMIT_S = 20.0  # for a process to end, on a busy machine; a hang is for ever


def hello(flags: int) -> bytes:
    return build_message("HELLO", struct.pack("<Q", flags))


def request(*ids: bytes, flags: int = 0) -> bytes:
    return build_message("REQUEST", struct.pack("<Q", flags) + b"".join(ids))


def chunk(chunk_id: bytes, data: bytes, flags: int = 1) -> bytes:
    return build_message("CHUNK", struct.pack("<Q", flags) + chunk_id + data)


def index_of(*contents: bytes) -> bytes:
    """An index with a row for each content."""
    rows, end = b"", 0
    for content in contents:
        end += len(content)
        rows += struct.pack("<Q", end) + hashlib.new("sha512_256", content).digest()
    head = struct.pack("<8Q", 48, 0x96824D9C7B129FF9, 0xB << 60, 1, 1 << 10, 1 << 18, (1 << 64) - 1, 0xE75B9E112F17417D)
    return head + rows + struct.pack("<5Q", 0, 0, 48, 16 + len(rows) + 40, 0x4B4F050E5549ECD1)


ONE, TWO = b"one" * 100, b"two" * 100
ID_ONE, ID_TWO = (hashlib.new("sha512_256", content).digest() for content in (ONE, TWO))
PACKED_ONE = zstandard.compress(ONE)
INDEX = build_message("INDEX", index_of(ONE, TWO)) + build_message("INDEX_EOF")


def bomb() -> bytes:
    """A few KiB that decompress to 1 GiB."""
    compressor = zstandard.ZstdCompressor(level=3).compressobj()
    zeros = bytes(1 << 20)
    return b"".join(compressor.compress(zeros) for _ in range(1024)) + compressor.flush()


WRONG_ANSWERS: dict[str, Callable[[], bytes]] = {
    "other content": lambda: chunk(ID_ONE, zstandard.compress(TWO)),
    "other plain content": lambda: chunk(ID_ONE, TWO, flags=0),
    "plain called compressed": lambda: chunk(ID_ONE, ONE),
    "compressed called plain": lambda: chunk(ID_ONE, PACKED_ONE, flags=0),
    "cut short": lambda: chunk(ID_ONE, PACKED_ONE[:-2]),
    "more behind it": lambda: chunk(ID_ONE, PACKED_ONE + b"more"),
    "unknown flags": lambda: chunk(ID_ONE, PACKED_ONE, flags=3),
    "a bomb": lambda: chunk(ID_ONE, bomb()),
    "twice": lambda: chunk(ID_ONE, PACKED_ONE) * 2,
    "missing": lambda: build_message("MISSING", ID_ONE),
    "silence": lambda: b"",
    "half of it": lambda: chunk(ID_ONE, PACKED_ONE)[:-5],
    "a second index": lambda: INDEX,
}


RIGHT_ANSWER = chunk(ID_TWO, zstandard.compress(TWO))  # to the other of the two questions that INDEX leads to


def size_lies(name: str) -> dict[int, str]:
    """Sizes that a message of that type must not claim, and a word of what is said to it.

    The smallest that is possible is among them for messages with a body: what is missing is waited for.
    """
    words = dict.fromkeys(SIZES, f"{name} record of")
    if name == "GOODBYE":
        del words[16]
    if name in {"INDEX", "ARCHIVE"}:
        words[17] = ""  # one byte of it, which may come
    return words


def error_lines(ended: Ended) -> list[str]:
    """What a process says is wrong: without the notice where what arrived before is kept."""
    return [line for line in ended.stderr.splitlines() if ".partial, and the same command goes on" not in line]


def assert_refused(ended: Ended, *, says: str = "") -> None:
    """It failed as it should: in time (or `End.wait` would have raised), with one line, in little memory."""
    assert ended.status == 1, ended
    assert len(error_lines(ended)) == 1, ended.stderr
    assert "Traceback" not in ended.stderr
    assert says.lower() in ended.stderr.lower()
    assert ended.peak < PEAK
