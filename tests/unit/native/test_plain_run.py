"""Runs of plain files: both kernels read the same, up to the first file that is not as the others."""

from __future__ import annotations

from struct import pack
from typing import TYPE_CHECKING, Protocol

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from casync_py.format import constants as c
from casync_py.native import _python

try:
    from casync_py.native import _native
except ImportError:
    _native = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from typing_extensions import Buffer

    Run = tuple[int, list[bytes], list[int], list[int], list[bytes]]

HEAD = pack("<7Q", c.ENTRY_SIZE, c.ENTRY, 5, 0o100644, 0, 1, 2)
OWNER = pack("<QQ", 18, c.USER) + b"u\0"
NOTHING: tuple[list[bytes], list[int], list[int], list[bytes]] = ([], [], [], [])


class Kernel(Protocol):
    def plain_run(
        self, view: memoryview, position: int, last: bytes, head: bytes, owner: bytes, granularity: int, latest: int,
        largest: int, /,
    ) -> tuple[int, list[bytes], list[int], list[int], list[memoryview]]: ...  # fmt: skip


KERNELS: dict[str, Kernel] = {"python": _python}
if _native is not None:
    KERNELS["native"] = _native


@pytest.fixture(params=KERNELS)
def kernel(request: pytest.FixtureRequest) -> Kernel:
    return KERNELS[request.param]


def records(name: bytes, mtime_ns: int = 3, content: bytes = b"", head: bytes = HEAD, owner: bytes = OWNER) -> bytes:
    filename = pack("<QQ", 17 + len(name), c.FILENAME) + name + b"\0"
    return filename + head + pack("<Q", mtime_ns) + owner + pack("<QQ", 16 + len(content), c.PAYLOAD) + content


def read(kernel: Kernel, data: Buffer, position: int = 0, last: bytes = b"", **limits: int) -> Run:
    granularity, latest, largest = limits.get("granularity", 1), limits.get("latest", 100), limits.get("largest", 64)
    end, names, starts, times, contents = kernel.plain_run(
        memoryview(data), position, last, HEAD, OWNER, granularity, latest, largest
    )
    assert all(content.obj is data for content in contents)
    return end, names, starts, times, [bytes(content) for content in contents]


def test_a_run(kernel: Kernel) -> None:
    files = [records(b"a", 1), records(b"ab", 100, b"content"), records(b"b" * 255, 0, bytes(64))]
    data = b"before" + b"".join(files) + b"after it something else"
    starts = [6, 6 + len(files[0]), 6 + len(files[0] + files[1])]
    expected = [b"a", b"ab", b"b" * 255], starts, [1, 100, 0], [b"", b"content", bytes(64)]
    for form in (data, bytearray(data)):
        assert read(kernel, form, 6) == (6 + sum(map(len, files)), *expected)


@pytest.mark.parametrize(
    "second",
    [
        pytest.param(records(b"a"), id="the same name"),
        pytest.param(records(b"A"), id="a name before"),
        pytest.param(records(b""), id="no name"),
        pytest.param(records(b"."), id="dot"),
        pytest.param(records(b".."), id="dot dot"),
        pytest.param(records(b"b/c"), id="slash"),
        pytest.param(records(b"b\0c"), id="NUL"),
        pytest.param(records(b"b" * 256), id="name too long"),
        pytest.param(records(b"b").replace(b"b\0", b"bb", 1), id="name without its end"),
        pytest.param(records(b"b", 101), id="too late"),
        pytest.param(records(b"b", content=bytes(65)), id="too large"),
        pytest.param(records(b"b", content=b"cut")[:-1], id="content cut"),
        pytest.param(records(b"b")[:-1], id="header cut"),
        pytest.param(records(b"b", head=HEAD[:-1] + b"1"), id="another group"),
        pytest.param(records(b"b", owner=OWNER.replace(b"u", b"v")), id="another owner"),
        pytest.param(records(b"b", owner=b""), id="no owner"),
        pytest.param(records(b"b")[:-16] + pack("<QQ", 15, c.PAYLOAD), id="size below the header's"),
        pytest.param(records(b"b")[:-16] + pack("<QQ", 1 << 63, c.PAYLOAD), id="huge size"),
        pytest.param(records(b"b")[:-16] + pack("<QQ", 16, c.SYMLINK), id="a symlink"),
        pytest.param(pack("<QQ", 1 << 63, c.FILENAME) + bytes(200), id="huge name"),
        pytest.param(pack("<QQ", 40, c.GOODBYE) + bytes(200), id="the directory's end"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_what_ends_it(kernel: Kernel, second: bytes) -> None:
    first = records(b"a")
    assert read(kernel, first + second) == (len(first), [b"a"], [0], [3], [b""])
    assert read(kernel, first + second, len(first), b"a") == (len(first), *NOTHING)


def test_limits(kernel: Kernel) -> None:
    data = records(b"a", 20) + records(b"b", 30)
    assert read(kernel, data, granularity=10)[1] == [b"a", b"b"]
    assert read(kernel, data, granularity=20)[1] == [b"a"]
    assert read(kernel, data, last=b"a")[1] == []
    assert read(kernel, data, len(data)) == (len(data), *NOTHING)
    top = (1 << 64) - 1
    assert read(kernel, records(b"a", top), latest=top, largest=top)[3] == [top]


def test_mistakes(kernel: Kernel) -> None:
    for position, granularity in ((-1, 1), (2, 1), (0, 0)):
        with pytest.raises(ValueError, match="position outside"):
            read(kernel, b"1", position, granularity=granularity)


names = st.binary(min_size=1, max_size=3)


@pytest.mark.skipif(_native is None, reason="compares with the C module, which was not built")
@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(names, st.integers(0, 120), st.binary(max_size=70))),
    st.booleans(),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=2),
)
def test_the_kernels_agree(
    files: list[tuple[bytes, int, bytes]], ascending: bool, changes: list[tuple[float, int]]
) -> None:
    if ascending:
        files = sorted({file[0]: file for file in files}.values())
    data = bytearray(b"".join(records(*file) for file in files))
    for place, value in changes:
        if data:
            data[int(place * len(data))] = value
    assert read(KERNELS["native"], data, granularity=2) == read(_python, data, granularity=2)
