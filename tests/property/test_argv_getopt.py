"""Command lines against glibc's own getopt_long, called with casync's table of options."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from casync_py.cli.casync_argv import Given, tokens
from casync_py.cli.option_table import CASYNC_OPTIONS
from casync_py.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

_libc = ctypes.CDLL(None)
_FIRST_LONG = 1000  # values of long options in the table handed to getopt_long


class _COption(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("has_arg", ctypes.c_int),
        ("flag", ctypes.POINTER(ctypes.c_int)),
        ("val", ctypes.c_int),
    )


_TABLE = (_COption * (len(CASYNC_OPTIONS) + 1))(
    *(_COption(o.name.encode(), int(bool(o.metavar)), None, _FIRST_LONG + i) for i, o in enumerate(CASYNC_OPTIONS))
)


def by_glibc(words: list[str]) -> tuple[list[tuple[str, str]], list[str]] | None:
    """Options and arguments as getopt_long sees them; None where it finds a mistake."""
    argv = (ctypes.c_char_p * (len(words) + 2))(b"casync", *(word.encode() for word in words), None)
    ctypes.c_int.in_dll(_libc, "optind").value = 0  # 0: begin afresh
    ctypes.c_int.in_dll(_libc, "opterr").value = 0
    options = []
    while (found := _libc.getopt_long(len(words) + 1, argv, b"hl:vnc", _TABLE, None)) != -1:
        if found == ord("?"):
            return None
        value = ctypes.c_char_p.in_dll(_libc, "optarg").value
        if found >= _FIRST_LONG:
            option = CASYNC_OPTIONS[found - _FIRST_LONG]
        else:
            option = next(o for o in CASYNC_OPTIONS if o.short == chr(found))
        options.append((option.name, (value or b"").decode() if option.metavar else ""))
    rest = argv[ctypes.c_int.in_dll(_libc, "optind").value : len(words) + 1]
    return options, [word.decode() for word in rest if word is not None]


def by_us(words: list[str]) -> tuple[list[tuple[str, str]], list[str]] | None:
    options, arguments = [], []
    try:
        for token in tokens(words):
            if isinstance(token, Given):
                options.append((token.option.name, token.value))
            else:
                arguments.append(token)
    except UsageError:
        return None
    return options, arguments


def _prefixes() -> Iterator[str]:
    for option in CASYNC_OPTIONS:
        yield from (f"--{option.name[:length]}" for length in range(1, len(option.name) + 1))


_long = st.sampled_from(sorted(set(_prefixes())))
_words = st.one_of(
    _long,
    st.builds("{}={}".format, _long, st.sampled_from(["", "x", "-v", "=", "a=b"])),
    st.builds("-{}".format, st.text("hlvncxW-:;", min_size=1, max_size=4)),
    st.sampled_from(["", "-", "--", "---", "--=x", "list", "d", "--nope", "-l"]),
)


@given(st.lists(_words, max_size=6))
@example(["--", "-v"])
@example(["list", "--", "--", "-v"])
@example(["--store", "--"])
def test_agrees_with_glibc(words: list[str]) -> None:
    assert by_us(words) == by_glibc(words)


@pytest.mark.parametrize("word", sorted(set(_prefixes())))
def test_every_abbreviation(word: str) -> None:
    for words in ([word], [word, "value"], [f"{word}=value"]):
        assert by_us(words) == by_glibc(words)
