"""Our reading of patterns agrees with the C library's fnmatch(3), which is what casync calls, in the C locale."""

from __future__ import annotations

import ctypes
import locale
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from casync_py.archive.glob import compile_glob

if TYPE_CHECKING:
    from collections.abc import Iterator

_FNM_PERIOD = 4
_libc = ctypes.CDLL(None)

patterns = st.lists(
    st.sampled_from(
        b"a b c . * ? [ ] ! ^ - \\ # \xff \n [a-c] [!b] [!.] [[:punct:]] [[:alpha:]x] [[.a.]] [.-.] [[.a.]-c] [[=b=]] "
        b"[[=b=]-c] [a-[.c.]] []a] [^]] [\\]] [a-\\c] [a-] [-a] [c-a] -a".split(b" ")
    ),
    max_size=7,
).map(b"".join)
names = st.lists(
    st.sampled_from([b"a", b"b", b"c", b".", b"-", b"]", b"[", b"\\", b"!", b"^", b"\xff", b"\n", b"#"])
).map(b"".join)


@pytest.fixture(scope="module", autouse=True)
def _c_locale() -> Iterator[None]:
    before = locale.setlocale(locale.LC_ALL)
    locale.setlocale(locale.LC_ALL, "C")
    yield
    locale.setlocale(locale.LC_ALL, before)


@settings(max_examples=1500, deadline=None)
@given(patterns, names)
@example(b"*.x", b".x")
@example(b"[.]x", b".x")
@example(b"a\\", b"a\\")
@example(b"[b-a]", b"b")
@example(b"[[:nonsense:]]", b"n")
def test_same_as_the_c_library(pattern: bytes, name: bytes) -> None:
    assert (compile_glob(pattern).fullmatch(name) is not None) == (_libc.fnmatch(pattern, name, _FNM_PERIOD) == 0)


def test_many_stars_are_not_slow() -> None:
    assert compile_glob(b"*a" * 60 + b"b").fullmatch(b"a" * 255) is None
