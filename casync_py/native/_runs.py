"""Runs of plain files in an archive, in plain Python: what `runs.c` does in one step."""

from __future__ import annotations

from struct import Struct

_FILENAME = 0x6DBB6EBCB3161F0B
_PAYLOAD = 0x8B9E1D93D6DCFFC9
_HEADER_SIZE = 16
_FILENAME_MIN = _HEADER_SIZE + 2
_FILENAME_MAX = _HEADER_SIZE + 255 + 1
_TIME_SIZE = 8
_unpack_header = Struct("<QQ").unpack_from
_unpack_time = Struct("<Q").unpack_from


def plain_run(
    view: memoryview,
    position: int,
    last: bytes,
    head: bytes,
    owner: bytes,
    granularity: int,
    latest: int,
    largest: int,
    /,
) -> tuple[int, list[bytes], list[int], list[int], list[memoryview]]:
    """Read consecutive files that differ in nothing but name, time and content, as far as they lie whole in `view`.

    Args:
        position: where in `view` the first one's FILENAME record may stand.
        last: the name before; names ascend, and are names of children.
        head: an ENTRY record up to its time, which each of them has.
        owner: the records that each of them has between ENTRY and PAYLOAD.
        granularity, latest: a time is a multiple of one and at most the other, in ns.
        largest: most bytes of content.

    Returns:
        Where the first record stands that is not part of the run; and for each file its name, where its FILENAME
        record stands in `view`, its time in ns, and its content as a slice of `view`. What is not as it should be ends
        the run, no more.
    """
    if not 0 <= position <= len(view) or not granularity:
        raise ValueError("A position outside of the buffer, or no granularity")
    names: list[bytes] = []
    starts: list[int] = []
    times: list[int] = []
    contents: list[memoryview] = []
    while file := _read_file(view, position, head, owner):
        name, mtime_ns, content = file
        if name <= last or mtime_ns > latest or mtime_ns % granularity or len(content) > largest or not _is_child(name):
            break
        names.append(name)
        starts.append(position)
        times.append(mtime_ns)
        contents.append(content)
        last = name
        position += 2 * _HEADER_SIZE + len(name) + 1 + len(head) + _TIME_SIZE + len(owner) + len(content)
    return position, names, starts, times, contents


def _read_file(view: memoryview, position: int, head: bytes, owner: bytes) -> tuple[bytes, int, memoryview] | None:
    """Name, time and content of the file whose records stand there, if they are such records and there as a whole."""
    if len(view) - position < _HEADER_SIZE:
        return None
    length, record_type = _unpack_header(view, position)
    entry = position + length
    content = entry + len(head) + _TIME_SIZE + len(owner) + _HEADER_SIZE
    if record_type != _FILENAME or not _FILENAME_MIN <= length <= _FILENAME_MAX or content > len(view):
        return None
    time_at = entry + len(head)
    size, record_type = _unpack_header(view, content - _HEADER_SIZE)
    if (
        view[entry - 1]
        or view[entry:time_at] != head
        or view[time_at + _TIME_SIZE : content - _HEADER_SIZE] != owner
        or record_type != _PAYLOAD
        or not _HEADER_SIZE <= size <= len(view) - content + _HEADER_SIZE
    ):
        return None
    (mtime_ns,) = _unpack_time(view, time_at)
    return bytes(view[position + _HEADER_SIZE : entry - 1]), mtime_ns, view[content : content + size - _HEADER_SIZE]


def _is_child(name: bytes) -> bool:
    return b"/" not in name and b"\0" not in name and name not in {b".", b".."}
