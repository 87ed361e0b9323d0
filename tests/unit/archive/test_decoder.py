"""The decoder: payloads, skipping, ends, subtrees, and archives that contradict themselves."""

from __future__ import annotations

from itertools import islice, pairwise
from stat import S_IFDIR, S_IFREG
from struct import pack
from typing import TYPE_CHECKING

import pytest

from casync_py.archive.decoder import decode
from casync_py.archive.encoder import encode_node
from casync_py.archive.nodes import Entry, Leave, Node
from casync_py.errors import FormatError
from casync_py.format import constants as c
from casync_py.format import goodbye
from casync_py.format import records as r
from casync_py.format.flags import Feature
from casync_py.format.goodbye import encode_goodbye, name_hashes
from casync_py.testing.memory_archives import PieceSource, Plain, decode_plain, encode_plain, plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

BEST = 0xB0000001FFEFFE26
TOP = Node(S_IFDIR | 0o755)
PLAIN = Node(S_IFREG | 0o644, 0, 1000, 100, 5)
OWNED = Node(S_IFREG | 0o644, 0, 1000, 100, 5, b"bob", b"users")


def file(name: bytes, content: bytes = b"", node: Node = OWNED) -> Plain:
    return Plain(name, name, node._replace(size=len(content)), content)


def tree(*children: Plain) -> list[Plain | Leave]:
    return [Plain(b"", b"", TOP, None), *children, Leave(b"")]


DATA = bytes(range(256)) * 40  # 10240 bytes
THREE = tree(file(b"a", DATA), file(b"b", b"bb"), file(b"c"))
ARCHIVE = encode_plain(THREE, BEST)


# So long that the heads of the files before it lie in one buffer with what the decoder looks at in one go.
TAIL = file(b"\xff" * 9, DATA)


def files(entries: Iterable[Entry | Leave]) -> Iterator[Entry]:
    return (item for item in entries if isinstance(item, Entry) and item.payload is not None)


def test_what_is_not_read_is_skipped_in_the_source() -> None:
    source = PieceSource(ARCHIVE, [500])
    assert [entry.name for entry in files(decode(source))] == [b"a", b"b", b"c"]
    assert 9500 < source.skipped < 10240
    assert source.pieces_read < 6


def test_what_is_partly_read_is_skipped_from_there() -> None:
    source = PieceSource(ARCHIVE, [500])
    entries = files(decode(source))
    payload = next(entries).payload
    assert payload is not None
    view = memoryview(bytearray(3000))
    taken = payload.read_into(view)
    taken += payload.read_into(view[taken:])
    assert taken < 1000
    assert view[:taken] == DATA[:taken]
    assert [entry.name for entry in entries] == [b"b", b"c"]
    assert source.skipped > 8500


@pytest.mark.parametrize("step", [1, 999, 1 << 20])
def test_read_into_gives_the_whole_content_and_then_nothing(step: int) -> None:
    payload = next(files(decode(PieceSource(ARCHIVE, [step])))).payload
    assert payload is not None
    assert payload.size == len(DATA)
    view = memoryview(bytearray(700))
    content = bytearray()
    while count := payload.read_into(view):
        content += view[:count]
    assert content == DATA
    assert payload.read_into(view) == 0
    assert list(payload.pieces()) == []


def test_read_into_nothing_does_not_wait() -> None:
    source = PieceSource(ARCHIVE, [66 + 16 + 64 + 36 + 16])
    payload = next(files(decode(source))).payload
    assert payload is not None
    read = source.pieces_read
    assert payload.read_into(memoryview(bytearray())) == 0
    assert source.pieces_read == read


def test_pieces_are_views_of_the_sources_buffers() -> None:
    buffers = [ARCHIVE[at : at + 4000] for at in range(0, len(ARCHIVE), 4000)]

    class Buffers:
        def __init__(self) -> None:
            self.left = iter(buffers)

        def read(self) -> bytes:
            return next(self.left, b"")

        def skip(self, size: int, /) -> None:
            raise AssertionError(size)

    payload = next(files(decode(Buffers()))).payload
    assert payload is not None
    pieces = list(payload.pieces())
    assert b"".join(pieces) == DATA
    assert len(pieces) == 3
    for piece, buffer in zip(pieces, buffers, strict=False):
        assert isinstance(piece, memoryview)
        assert piece.obj is buffer


def test_a_payload_is_gone_when_the_stream_moved_on() -> None:
    entries = files(decode(PieceSource(ARCHIVE)))
    payloads = [next(entries).payload for _ in range(3)]
    for payload in payloads[:2]:
        assert payload is not None
        with pytest.raises(ValueError, match="read on"):
            list(payload.pieces())
        with pytest.raises(ValueError, match="read on"):
            payload.read_into(memoryview(bytearray(1)))


@pytest.mark.parametrize("read", [True, False])
def test_an_archive_that_ends_inside_of_a_payload(read: bool) -> None:
    entries = decode(PieceSource(ARCHIVE[:5000], [700]), name="x.catar")
    with pytest.raises(FormatError, match=r"^x\.catar: Archive ends early at offset") as caught:
        plain(entries) if read else list(entries)
    assert caught.value.offset == (5000 if read else ARCHIVE.index(b"b\0", 10000) - 16)


def test_memoryviews_are_fine_as_pieces() -> None:
    class Views(PieceSource):
        def read(self) -> memoryview:  # type: ignore[override]
            return memoryview(super().read())

    entries = list(decode(Views(ARCHIVE, [100])))
    assert [entry.name for entry in files(entries)] == [b"a", b"b", b"c"]
    assert all(type(entry.name) is bytes for entry in files(entries))


def test_flags_that_the_index_announced() -> None:
    assert len(list(decode(PieceSource(ARCHIVE), BEST))) == 5
    with pytest.raises(FormatError, match=r"0xb0000001ffeffe26, where its index has 0x90000001ffeffe26"):
        list(decode(PieceSource(ARCHIVE), 0x90000001FFEFFE26))
    for bad in (1 << 40, 3):
        with pytest.raises(FormatError, match=r"^n: .*eature flags"):
            list(decode(PieceSource(encode_plain(tree(), bad)), name="n"))


def test_bytes_after_the_end() -> None:
    for step in (1, len(ARCHIVE), 1 << 20):
        with pytest.raises(FormatError, match="Bytes after the end") as caught:
            list(decode(PieceSource(ARCHIVE + b"x", [step])))
        assert caught.value.offset == len(ARCHIVE)
        assert list(decode(PieceSource(ARCHIVE + b"x", [step]), strict_end=False))[-1] == Leave(b"")


@pytest.mark.parametrize("step", [1, 50, 1 << 20])
def test_subtrees_from_any_offset(step: int) -> None:
    whole: list[Plain | Leave] = [
        Plain(b"", b"", TOP, None), Plain(b"d", b"d", TOP, None), Plain(b"d/x", b"x", OWNED._replace(size=1), b"1"),
        Leave(b"d"), Plain(b"f", b"f", Node(0o010644), None), file(b"g", b"gg"), Leave(b""),
    ]  # fmt: skip
    data = encode_plain(whole, BEST)
    places = {entry.path: entry.offset for entry in decode(PieceSource(data)) if isinstance(entry, Entry)}

    def below(path: bytes) -> list[object]:
        source = PieceSource(data[places[path] :], [step])
        entries = decode(source, BEST, subtree=True, offset=places[path])
        return [(item.path, getattr(item, "offset", -1)) for item in entries]

    assert below(b"d") == [(b"", places[b"d"]), (b"x", places[b"d/x"]), (b"", -1)]
    assert below(b"f") == [(b"", places[b"f"])]
    assert below(b"g") == [(b"", places[b"g"])]
    assert below(b"") == [
        (b"", 0), (b"d", places[b"d"]), (b"d/x", places[b"d/x"]), (b"d", -1),
        (b"f", places[b"f"]), (b"g", places[b"g"]), (b"", -1),
    ]  # fmt: skip


def test_the_top_is_a_directory() -> None:
    with pytest.raises(FormatError, match="top is not a directory"):
        decode_plain(encode_plain([file(b"")], BEST))
    with pytest.raises(FormatError, match="Not an ENTRY"):
        decode_plain(r.Filename(b"x").encode() + ARCHIVE)


@pytest.mark.parametrize("steps", [[1], [1 << 20]])
@pytest.mark.parametrize("names", [(b"b", b"a"), (b"a", b"a"), (b"b", b"c", b"bb"), (b"\xff", b"\x7f"), (b"ab", b"a")])
def test_names_ascend(names: tuple[bytes, ...], steps: list[int]) -> None:
    data = encode_plain(tree(*map(file, names), TAIL), BEST)
    with pytest.raises(FormatError, match="Names do not ascend"):
        decode_plain(data, steps)


@pytest.mark.parametrize("steps", [[1], [1 << 20]])
@pytest.mark.parametrize("node", [OWNED, PLAIN, OWNED._replace(xattrs=((b"user.x", b""),))])
@pytest.mark.parametrize("name", [b".", b"..", b"a/b", b"/", b"a\0b", b"x" * 256])
def test_names_that_would_lead_elsewhere(name: bytes, node: Node, steps: list[int]) -> None:
    data = encode_plain(tree(file(b"!", node=node), file(b"#", node=node), file(b"$" * 99, node=node), TAIL), BEST)
    data = data.replace(r.Filename(b"$" * 99).encode(), r.Filename(name).encode())
    with pytest.raises(FormatError, match="FILENAME"):
        decode_plain(data, steps)


@pytest.mark.parametrize("steps", [[1], [1 << 20]])
def test_times_of_plain_files(steps: list[int]) -> None:
    features = BEST & ~int(Feature.NSEC_TIME) | int(Feature.SEC_TIME)
    times = (0, 5 * 10**9, 7 * 10**9)
    children = [file(b"%d" % time, node=OWNED._replace(mtime_ns=time)) for time in times]
    data = encode_plain(tree(*children, TAIL._replace(node=TAIL.node._replace(mtime_ns=0))), features)
    assert len(decode_plain(data, steps)) == 6
    for wrong in (7 * 10**9 + 1, c.U64_MAX):
        with pytest.raises(FormatError, match="ENTRY with time"):
            decode_plain(data.replace(pack("<Q", 7 * 10**9), pack("<Q", wrong)), steps)


@pytest.mark.parametrize("node", [OWNED, PLAIN, OWNED._replace(user=b"b" * 255, group=b"g" * 255)])
def test_files_cut_anywhere(node: Node) -> None:
    """What is looked at in one go is looked at only where all of it is there."""
    whole = tree(*(file(letter * 255, b"content", node) for letter in (b"a", b"b", b"c")))
    data = encode_plain(whole, BEST)
    for cut in range(1, len(data)):
        assert decode_plain(data, [cut, len(data)]) == whole


def test_of_a_wide_directory_only_the_newest_names_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[int] = []

    def counting(names: list[bytes]) -> list[int]:
        hashed.append(len(names))
        return name_hashes(names)

    monkeypatch.setattr(goodbye, "name_hashes", counting)
    data = encode_plain(tree(*(file(b"%05d" % number) for number in range(5000))), BEST)
    assert sum(hashed) == 5000
    decode_plain(data, [1 << 20])
    decode_plain(data, [10])
    assert sum(hashed) == 15000
    assert max(hashed) <= 1024


def test_feature_flags_are_the_same_in_each_entry() -> None:
    other = 0x90000001FFEFFE26
    for first in (ARCHIVE.index(pack("<Q", BEST), 100), ARCHIVE.rindex(pack("<Q", BEST))):
        data = ARCHIVE[:first] + pack("<Q", other) + ARCHIVE[first + 8 :]
        with pytest.raises(FormatError, match="differ from those before"):
            decode_plain(data)


@pytest.mark.parametrize("steps", [[1], [1 << 20]])
@pytest.mark.parametrize("place", [0, *range(2, 2 + 3 * 3 + 3)])
def test_every_number_of_a_goodbye_is_checked(place: int, steps: list[int]) -> None:
    """Items of three numbers for three children, and the tail; the size in its header first."""
    start = len(ARCHIVE) - (16 + 24 * 4)
    at = start + 8 * place
    for change in (1, 1 << 40):
        number = int.from_bytes(ARCHIVE[at : at + 8], "little") ^ change
        with pytest.raises(FormatError, match="GOODBYE"):
            decode_plain(ARCHIVE[:at] + pack("<Q", number) + ARCHIVE[at + 8 :], steps)


def test_a_goodbye_whose_items_are_in_another_order() -> None:
    start = len(ARCHIVE) - 24 * 4
    items = [ARCHIVE[start + 24 * i : start + 24 * i + 24] for i in range(4)]
    with pytest.raises(FormatError, match="does not match"):
        decode_plain(ARCHIVE[:start] + items[1] + items[0] + items[2] + items[3])


def test_a_goodbye_for_another_number_of_children_is_not_read() -> None:
    """However long it says it is, nothing of it is kept."""
    start = len(ARCHIVE) - (16 + 24 * 4)
    for size in (40, 88, 16 + 24 * 5, 16 + 24 * 4 + 1, 1 << 50):
        data = ARCHIVE[:start] + pack("<2Q", size, c.GOODBYE)
        source = PieceSource(data + bytes(1 << 20), [start + 16, 1])
        with pytest.raises(FormatError, match="not for 3 children"):
            list(decode(source))
        assert source.pieces_read <= 2


def test_names_hashed_in_batches_and_names_seen_agree() -> None:
    names = sorted(b"n%d" % number for number in range(2500))
    data = encode_plain(tree(*map(file, names)), BEST)
    assert len(decode_plain(data, [4096])) == 2502
    end = len(data) - (40 + 24 * 2500)
    offsets = [data.index(pack("<2Q", 17 + len(name), c.FILENAME) + name + b"\0") for name in names]
    wrong = name_hashes([*names[:-1], b"other"])
    with pytest.raises(FormatError, match="does not match"):
        decode_plain(data[:end] + encode_goodbye(wrong, offsets, 0, end), [4096])


def test_paths_have_a_bound_and_depth_has_none() -> None:
    """Directories inside of each other for ever: the error comes before memory is short."""
    step = r.Filename(b"d" * 255).encode() + encode_node(TOP, BEST)

    class Endless:
        def __init__(self) -> None:
            self.read_bytes = 0

        def read(self) -> bytes:
            self.read_bytes += 100 * len(step)
            return encode_node(TOP, BEST) + step * 99 if self.read_bytes == 100 * len(step) else step * 100

        def skip(self, size: int, /) -> None:
            raise AssertionError(size)

    deepest = 0
    entries = decode(Endless())
    while deepest < 262_144 - 512:
        deepest = len(next(entries).path)
    with pytest.raises(FormatError, match="Path is too long"):
        list(islice(entries, 3))


def test_paths_and_offsets_of_a_nested_tree() -> None:
    names = [b"", b"a", b"a/b", b"a/b/c", b"a/d", b"e"]
    plain: list[Plain | Leave] = [Plain(path, path.rpartition(b"/")[2], TOP, None) for path in names]
    for position, path in ((4, b"a/b/c"), (5, b"a/b"), (7, b"a/d"), (8, b"a"), (10, b"e"), (11, b"")):
        plain.insert(position, Leave(path))
    data = encode_plain(plain, BEST)
    decoded = list(decode(PieceSource(data, [33])))
    assert [item.path for item in decoded] == [item.path for item in plain]
    offsets = [item.offset for item in decoded if isinstance(item, Entry)]
    assert all(first < second for first, second in pairwise(offsets))
    assert all(data[offset + 8 : offset + 16] == pack("<Q", c.ENTRY) for offset in offsets)


def test_errors_of_the_source_pass_through() -> None:
    class Broken(PieceSource):
        def read(self) -> bytes:
            raise OSError(5, "Input/output error")

    with pytest.raises(OSError, match="Input/output error"):
        list(decode(Broken(b"")))
