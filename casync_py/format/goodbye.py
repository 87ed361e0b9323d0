"""GOODBYE tables: the children of a directory by the hash of their names, at the directory's end. Source: spec 1.6."""

from __future__ import annotations

import sys
from array import array
from operator import sub
from struct import Struct
from typing import TYPE_CHECKING

from casync_py.errors import FormatError
from casync_py.format import constants as c
from casync_py.native import siphash24_many

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    Buffer = bytes | bytearray | memoryview

_HEADER = Struct("<QQ")
_TRIPLE = Struct("<QQQ")  # of an item: offset, size, hash; of the tail: entry offset, size, marker
_FOLD = 1024  # names that are kept before they become 8 bytes each


def name_hashes(names: list[bytes]) -> list[int]:
    """The hash of each name, as GOODBYE items have it."""
    return siphash24_many(c.GOODBYE_HASH_KEY, names)


def goodbye_size(children: int) -> int:
    """Size of the record for a directory with so many children."""
    return c.HEADER_SIZE + children * c.GOODBYE_ITEM_SIZE + c.GOODBYE_TAIL_SIZE


def encode_goodbye(hashes: Sequence[int], offsets: Sequence[int], entry_offset: int, goodbye_offset: int) -> bytes:
    """Encode the record that ends a directory.

    Args:
        hashes: of the children's names, in the order of the archive.
        offsets: where the children's FILENAME records stand, ascending.
        entry_offset: where the directory's ENTRY record stands.
        goodbye_offset: where this record will stand.
    """
    order = heap_order(sorted(range(len(hashes)), key=hashes.__getitem__))
    ends = array("Q", offsets[1:])
    ends.append(goodbye_offset)
    sizes = array("Q", map(sub, ends, offsets))
    items = array("Q", bytes(len(order) * c.GOODBYE_ITEM_SIZE))
    items[0::3] = array("Q", map(goodbye_offset.__sub__, map(offsets.__getitem__, order)))
    items[1::3] = array("Q", map(sizes.__getitem__, order))
    items[2::3] = array("Q", map(hashes.__getitem__, order))
    if sys.byteorder == "big":
        items.byteswap()
    size = goodbye_size(len(order))
    tail = _TRIPLE.pack(goodbye_offset - entry_offset, size, c.GOODBYE_TAIL_MARKER)
    return b"".join((_HEADER.pack(size, c.GOODBYE), items.tobytes(), tail))


def heap_order(items: list[int]) -> list[int]:
    """Sorted items as a complete binary search tree: children of position i stand at 2i+1 and 2i+2.

    The bottom level, filled from the left, takes every other one of the first items; those between them and the rest
    form a perfect tree, in which each level takes every 2^n-th item.
    """
    levels = (len(items) + 1).bit_length() - 1  # full ones
    bottom = 2 * (len(items) + 1 - (1 << levels))
    upper = items[1:bottom:2] + items[bottom:]
    heap: list[int] = []
    for level in reversed(range(levels)):
        heap += upper[(1 << level) - 1 :: 2 << level]
    return heap + items[0:bottom:2]


class Children:
    """What an open directory has to remember of the children so far: 16 bytes each, and the newest names.

    Attributes:
        entry_offset: where the directory's ENTRY record stands.
    """

    __slots__ = ("_hashes", "_names", "_offsets", "entry_offset")

    def __init__(self, entry_offset: int) -> None:
        self.entry_offset = entry_offset
        self._names: list[bytes] = []
        self._offsets = array("Q")
        self._hashes = array("Q")

    def __len__(self) -> int:
        return len(self._offsets)

    def add(self, name: bytes, offset: int) -> None:
        """The next child is `name`; its FILENAME record stands at `offset`."""
        self._offsets.append(offset)
        names = self._names
        names.append(name)
        if len(names) == _FOLD:
            self._fold()

    def add_many(self, names: list[bytes], offsets: list[int]) -> None:
        """The next children, and where their FILENAME records stand."""
        self._offsets.extend(offsets)
        self._names += names
        if len(self._names) >= _FOLD:
            self._fold()

    def goodbye(self, offset: int) -> bytes:
        """The record that ends the directory at `offset`."""
        self._fold()
        return encode_goodbye(self._hashes, self._offsets, self.entry_offset, offset)

    def _fold(self) -> None:
        """Replace the names by their hashes."""
        self._hashes.extend(name_hashes(self._names))
        self._names.clear()


class Goodbye:
    """A table that was read, for looking up children without reading the archive from its start.

    Attributes:
        offset: where the record stands in the archive.
        entry_offset: where the directory's ENTRY record stands.
    """

    __slots__ = ("_body", "_count", "entry_offset", "offset")

    def __init__(self, body: Buffer, offset: int) -> None:
        """Take the record's body (all but its header).

        Raises:
            FormatError: size, tail or an item cannot be right.
        """
        self._body = body
        self._count, rest = divmod(len(body) - c.GOODBYE_TAIL_SIZE, c.GOODBYE_ITEM_SIZE)
        if self._count < 0 or rest:
            raise FormatError(f"GOODBYE with a body of {len(body)} bytes", offset)
        back, size, marker = _TRIPLE.unpack_from(body, self._count * c.GOODBYE_ITEM_SIZE)
        if size != len(body) + c.HEADER_SIZE or marker != c.GOODBYE_TAIL_MARKER:
            raise FormatError("GOODBYE with a wrong tail", offset)
        if not c.ENTRY_SIZE <= back <= offset:
            raise FormatError("GOODBYE points outside of the archive", offset)
        self.offset = offset
        self.entry_offset = offset - back
        for position in range(self._count):
            distance, length, _ = self._item(position)
            if not 0 < length <= distance <= back - c.ENTRY_SIZE:
                raise FormatError("GOODBYE item points outside of its directory", offset)

    def __len__(self) -> int:
        return self._count

    def find(self, name: bytes) -> Iterator[tuple[int, int]]:
        """Where the child `name` may be: offset of its FILENAME record, and bytes from there to its end.

        Names may share a hash, so each place has to be looked at until the name there is the right one.
        """
        (wanted,) = name_hashes([name])
        places = [0]
        while places:
            place = places.pop()
            if place >= self._count:
                continue
            distance, length, found = self._item(place)
            if found == wanted:
                yield self.offset - distance, length
            if found <= wanted:
                places.append(2 * place + 2)
            if found >= wanted:
                places.append(2 * place + 1)

    def _item(self, position: int) -> tuple[int, int, int]:
        distance, length, name_hash = _TRIPLE.unpack_from(self._body, position * c.GOODBYE_ITEM_SIZE)
        return distance, length, name_hash
