"""`.caexclude` files: which names of a directory are left out. Source: spec 1.8, and casync's answers."""

from __future__ import annotations

import errno
import os
from stat import S_ISDIR, S_ISFIFO, S_ISREG
from typing import TYPE_CHECKING, Final, NamedTuple

from casync_py.archive.glob import compile_glob

if TYPE_CHECKING:
    import re
    from collections.abc import Iterable

EXCLUDE_NAME: Final = b".caexclude"
_LINE_MAX = 65535  # casync util.c: longer ones are ENOBUFS
_FILE_MAX = 16 << 20  # ours: rules are kept in memory


class Pattern(NamedTuple):
    """One line: components from here down (the last decides), `!`, whether it goes for all directories below."""

    parts: tuple[re.Pattern[bytes], ...]
    negative: bool
    everywhere: bool
    directories_only: bool


class Rules:
    """The patterns that are active in one directory."""

    def __init__(self, patterns: Iterable[Pattern] = ()) -> None:
        self._patterns = tuple(patterns)
        deciding = [pattern for pattern in self._patterns if len(pattern.parts) == 1]
        self._positive = [(p.parts[0].fullmatch, p.directories_only) for p in deciding if not p.negative]
        self._negative = [(p.parts[0].fullmatch, p.directories_only) for p in deciding if p.negative]
        self._deeper = [pattern for pattern in self._patterns if len(pattern.parts) > 1]
        everywhere = tuple(pattern for pattern in deciding if pattern.everywhere)
        self._below = self if everywhere == self._patterns else Rules(everywhere)

    def __bool__(self) -> bool:
        return bool(self._patterns)

    def exclude(self, name: bytes, is_directory: bool) -> bool:
        """Whether the child `name` is left out: a positive pattern matches and no negative one."""
        return any(match(name) and is_directory >= only for match, only in self._positive) and not any(
            match(name) and is_directory >= only for match, only in self._negative
        )

    def enter(self, name: bytes) -> Rules:
        """The rules that hold in the child directory `name`, before its own file is read."""
        remainders = [p._replace(parts=p.parts[1:]) for p in self._deeper if p.parts[0].fullmatch(name)]
        return Rules((*self._below._patterns, *remainders)) if remainders else self._below

    def extended(self, patterns: Iterable[Pattern]) -> Rules:
        """These rules and those of a directory's own file."""
        return Rules((*self._patterns, *patterns))


NO_RULES: Final = Rules()


def parse_patterns(content: bytes) -> list[Pattern]:
    """The patterns of a `.caexclude` file.

    Raises:
        OSError: EINVAL for a line with an empty, `.` or `..` component, ENOBUFS for one longer than 65535 bytes.
    """
    patterns = []
    for number, line in enumerate(content.replace(b"\0", b"\n").split(b"\n"), 1):
        if len(line) > _LINE_MAX:
            raise OSError(errno.ENOBUFS, f"Line {number} is longer than {_LINE_MAX} bytes")
        text = line.strip(b" \t")
        if text and not text.startswith(b"#"):
            pattern = _parse_line(text)
            if pattern is None:
                raise OSError(errno.EINVAL, f"Line {number} has an empty component, '.' or '..'")
            patterns.append(pattern)
    return patterns


def _parse_line(text: bytes) -> Pattern | None:
    negative = text.startswith(b"!")
    text = text[negative:]
    parts = [part for part in text.split(b"/") if part]
    if not parts or b"." in parts or b".." in parts:
        return None
    return Pattern(tuple(map(compile_glob, parts)), negative, b"/" not in text, text.endswith(b"/"))


def read_patterns(dir_fd: int) -> list[Pattern]:
    """The patterns of the `.caexclude` file in the directory `dir_fd`.

    Like casync this follows a link, and takes a fifo for an empty file.

    Raises:
        OSError: it cannot be read, is not a regular file, or see `parse_patterns`.
    """
    fd = os.open(EXCLUDE_NAME, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK, dir_fd=dir_fd)
    with open(fd, "rb") as file:
        mode = os.fstat(fd).st_mode
        if S_ISFIFO(mode):
            return []
        if not S_ISREG(mode):
            code = errno.EISDIR if S_ISDIR(mode) else errno.EINVAL
            raise OSError(code, os.strerror(code))
        content = file.read(_FILE_MAX + 1)
    if len(content) > _FILE_MAX:
        raise OSError(errno.EFBIG, f"Exclusion files may have {_FILE_MAX} bytes at most")
    return parse_patterns(content)
