"""The kernels, every form of them, against the definitions and against the values in the specification."""

from __future__ import annotations

import mmap
import os
import random
import sys
import threading
from array import array
from functools import cache, partial
from typing import TYPE_CHECKING, Protocol

import pytest

from casync_py.native import _python
from casync_py.native._table import BUZHASH_TABLE

try:
    from casync_py.native import _native
except ImportError:
    _native = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from collections.abc import Callable

    Candidates = Callable[[bytes | bytearray | memoryview | array[int], int], memoryview]

GOODBYE_KEY = bytes.fromhex("b3841d0f2b447485c12ec2d130ed3627")  # casync caformat.h, CA_FORMAT_GOODBYE_HASH_KEY
ALL_ONES = bytes([0, 0, *range(42)]) + bytes.fromhex("ec8c7d8b")  # its hash, 2^32 - 1, was searched for


class Kernel(Protocol):
    def siphash24(self, key: bytes, data: bytes, /) -> int: ...
    def siphash24_many(self, key: bytes, names: list[bytes], /) -> list[int]: ...
    def syncfs(self, fd: int, /) -> None: ...


FORMS: dict[str, Candidates] = {"python": _python.candidates}
KERNELS: dict[str, Kernel] = {"python": _python}
if _native is not None:
    FORMS["best"] = _native.candidates
    FORMS |= {name: partial(_native.candidates_of_variant, name) for name in _native.VARIANTS}
    KERNELS["native"] = _native


@pytest.fixture(params=FORMS)
def candidates(request: pytest.FixtureRequest) -> Candidates:
    return FORMS[request.param]


@pytest.fixture(params=KERNELS)
def kernel(request: pytest.FixtureRequest) -> Kernel:
    return KERNELS[request.param]


def rotate(value: int, count: int) -> int:
    return (value << count % 32 | value >> 32 - count % 32) & 0xFFFFFFFF


def buzhash(window: bytes) -> int:
    """The definition, word for word."""
    result = 0
    for i, byte in enumerate(window):
        result ^= rotate(BUZHASH_TABLE[byte], 47 - i)
    return result


@cache
def all_hashes(data: bytes) -> list[int]:
    return [buzhash(data[start : start + 48]) for start in range(len(data) - 47)]


def expected(data: bytes, discriminator: int) -> list[int]:
    return [p for p, value in enumerate(all_hashes(data), 48) if value % discriminator == discriminator - 1]


def random_bytes(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


@pytest.mark.parametrize(
    ("window", "value"),
    [(bytes(48), 0x9E489E48), (bytes(range(48)), 0x6B67DEC6), (bytes(range(1, 49)), 0xA3FC25F1)],
)
def test_golden_hashes(candidates: Candidates, window: bytes, value: int) -> None:
    assert buzhash(window) == value
    assert candidates(window, value + 1).tolist() == [48]  # value + 1 divides no other hash + 1 but its multiples
    assert candidates(window, value).tolist() == []
    assert candidates(window, value + 2).tolist() == []


@pytest.mark.parametrize(
    "discriminator",
    [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 31, 32, 47, 48, 63, 64, 96, 100, 127, 128, 255, 256, 1000, 1024, 4095],
)
def test_small_discriminators(candidates: Candidates, discriminator: int) -> None:
    data = random_bytes(3000)
    assert candidates(data, discriminator).tolist() == expected(data, discriminator)


def test_large_discriminators_at_their_hits(candidates: Candidates) -> None:
    """A random hash is never met by chance; so take a window and the divisors of its hash + 1."""
    for seed in range(40):
        window = random_bytes(48, seed)
        value = buzhash(window) + 1
        divisors = {value // small for small in range(1, 2000) if value % small == 0}
        for discriminator in divisors - {1 << 32}:
            assert candidates(window, discriminator).tolist() == [48]
        for discriminator in (134217728, 134217727, 67108864, 3 << 25, 49535, 886711, 5721670, 1 << 31, (1 << 32) - 1):
            assert candidates(window, discriminator).tolist() == expected(window, discriminator)


@pytest.mark.parametrize("bits", range(32))
def test_powers_of_two(candidates: Candidates, bits: int) -> None:
    data = ALL_ONES + random_bytes(200)
    assert candidates(data, 1 << bits).tolist() == expected(data, 1 << bits)
    assert 48 in candidates(data, 1 << bits)


@pytest.mark.parametrize("discriminator", [3, 5, 6, 17, 257, 49535, 65537, 134217727, (1 << 32) - 1, 3 << 20, 12])
def test_hash_of_all_ones(candidates: Candidates, discriminator: int) -> None:
    assert buzhash(ALL_ONES) == (1 << 32) - 1
    hit = (1 << 32) % discriminator == 0
    assert candidates(ALL_ONES, discriminator).tolist() == ([48] if hit else [])
    assert candidates(ALL_ONES, 1).tolist() == [48]


@pytest.mark.parametrize("size", [0, 1, 47, 48, 49, 95, 96, 4095, 4096, 4097, 4142, 4143, 4144, 8192, 8238, 8239, 8240])
def test_sizes_around_blocks(candidates: Candidates, size: int) -> None:
    data = random_bytes(size)
    assert candidates(data, 7).tolist() == expected(data, 7)
    assert candidates(data, 1).tolist() == list(range(48, size + 1))


def test_tables_are_equal(candidates: Candidates) -> None:
    """Modulo 2 shows bit 0, and a byte on its way through the window turns all its 32 bits past it."""
    data = b"".join(bytes(48) + bytes([byte]) for byte in range(256)) + bytes(48)
    assert candidates(data, 2).tolist() == expected(data, 2)


def test_zeros(candidates: Candidates) -> None:
    assert candidates(bytes(100_000), 49535).tolist() == []
    assert candidates(bytes(5000), 0x9E489E49).tolist() == list(range(48, 5001))


def test_result_is_a_view_of_unsigned_ints(candidates: Candidates) -> None:
    for data in (b"", random_bytes(2000)):
        found = candidates(data, 5)
        assert isinstance(found, memoryview)
        assert (found.format, found.itemsize, found.ndim) == ("I", 4, 1)


def test_any_contiguous_buffer(candidates: Candidates) -> None:
    data = random_bytes(1000)
    plain = candidates(data, 5).tolist()
    assert candidates(bytearray(data), 5).tolist() == plain
    assert candidates(memoryview(b"." + data)[1:], 5).tolist() == plain
    assert candidates(memoryview(data).cast("H"), 5).tolist() == plain
    assert candidates(array("I", data), 5).tolist() == plain


def test_no_reference_is_kept(candidates: Candidates) -> None:
    data = bytearray(random_bytes(1000))
    found = candidates(data, 5)
    data.append(0)  # a BufferError if it were still exported
    assert found.tolist() == expected(bytes(data[:-1]), 5)


def test_refusals(candidates: Candidates) -> None:
    with pytest.raises(BufferError):
        candidates(memoryview(bytes(200))[::2], 5)
    with pytest.raises(TypeError):
        candidates("text", 5)  # type: ignore[arg-type]
    for discriminator in (0, -1, 1 << 32):
        with pytest.raises(ValueError, match="discriminator"):
            candidates(bytes(100), discriminator)


def untouched_memory(size: int) -> mmap.mmap:
    return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


def test_more_than_two_gibibytes(candidates: Candidates) -> None:
    with untouched_memory((1 << 31) + 1) as data, pytest.raises(ValueError, match="larger than 2 GiB"):
        candidates(memoryview(data), 49535)


@pytest.mark.native
def test_two_gibibytes() -> None:
    with untouched_memory(1 << 31) as data:
        data[-48:] = bytes(range(48))
        assert _native.candidates(data, 0x6B67DEC7).tolist() == [1 << 31]


@pytest.mark.native
def test_forms_agree_on_much_data() -> None:
    data = random_bytes(3 << 20) + bytes(70_000) + random_bytes(100_001, 1)
    for discriminator in (49535, 3075, 65536, 12):
        reference = _native.candidates_of_variant("portable", data, discriminator)
        assert len(reference) > 0
        for name in _native.VARIANTS:
            assert _native.candidates_of_variant(name, data, discriminator) == reference
        if discriminator == 3075:
            assert _python.candidates(data, discriminator) == reference


@pytest.mark.native
def test_other_threads_run_meanwhile() -> None:
    called, answered = threading.Event(), threading.Event()

    def answer() -> None:
        called.wait()
        answered.set()

    interval = sys.getswitchinterval()
    thread = threading.Thread(target=answer)
    thread.start()
    sys.setswitchinterval(1000)  # so that nothing but the kernel gives the GIL away
    try:
        called.set()
        for _ in range(100):
            _native.candidates(bytes(1 << 20), 49535)
            if answered.is_set():
                break
        assert answered.is_set()
    finally:
        sys.setswitchinterval(interval)
        thread.join()


@pytest.mark.native
def test_unknown_variant() -> None:
    with pytest.raises(ValueError, match="no variant mmx"):
        _native.candidates_of_variant("mmx", b"", 5)


def test_siphash_vectors(kernel: Kernel) -> None:
    names = [b"a", b"hello.txt", b".caexclude", b"x" * 255]
    hashes = [0x51BA5A19E058C7AD, 0x768166EC6F1259FB, 0x3894E83FB6320D37, 0x911E9D31D589D2FE]
    assert [kernel.siphash24(GOODBYE_KEY, name) for name in names] == hashes
    assert kernel.siphash24_many(GOODBYE_KEY, names) == hashes
    assert kernel.siphash24(bytes(range(16)), bytes(range(15))) == 0xA129CA6149BE45E5  # the paper's appendix A
    assert kernel.siphash24_many(GOODBYE_KEY, []) == []


def test_siphash_of_every_length_agrees() -> None:
    names = [random_bytes(size) for size in range(300)]
    results = [kernel.siphash24_many(GOODBYE_KEY, names) for kernel in KERNELS.values()]
    assert all(result == results[0] for result in results)
    assert results[0] == [_python.siphash24(GOODBYE_KEY, bytearray(name)) for name in names]
    assert len(set(results[0])) == 300


def test_siphash_refusals(kernel: Kernel) -> None:
    for key in (b"", bytes(15), bytes(17)):
        with pytest.raises(ValueError, match="16 bytes"):
            kernel.siphash24(key, b"")
        with pytest.raises(ValueError, match="16 bytes"):
            kernel.siphash24_many(key, [b""])
    with pytest.raises(TypeError):
        kernel.siphash24_many(GOODBYE_KEY, [b"", "text"])  # type: ignore[list-item]


def test_syncfs(kernel: Kernel, tmp_path: os.PathLike[str]) -> None:
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        kernel.syncfs(fd)
    finally:
        os.close(fd)
    with pytest.raises(OSError, match="Bad file descriptor"):
        kernel.syncfs(fd)
