"""What a store keeps, measured: how much it is, and which of it was not used for longest.

Ids are digests, so that chunks spread evenly over a store's directories: a sample of them stands for all. What is small
is measured whole.
"""

from __future__ import annotations

import os
import random
import re
from typing import TYPE_CHECKING, NamedTuple

from casync_py.store.castr import list_prefixes
from casync_py.store.kept import is_kept

if TYPE_CHECKING:
    from collections.abc import Iterator

SAMPLE_DIRECTORIES = 2048  # some 50 ms; with as many chunks, the size is right to a few hundredths
SAMPLE_CHUNKS = 2048
MOST_CHUNKS = 32768
_NAME = re.compile(r"([0-9a-f]{64})(.*)", re.DOTALL)
_TEMPORARY = re.compile(r"\.[0-9a-f]+\.tmp")


class Kept(NamedTuple):
    """A file that is only kept.

    Attributes:
        digits: the chunk's id.
        temporary: it has no final name yet.
        used_ns: its mtime.
    """

    path: str
    digits: str
    temporary: bool
    size: int
    used_ns: int


class Usage(NamedTuple):
    """What was measured.

    Attributes:
        size: bytes of all kept files, temporary ones included.
        chunks: when each chunk of the sample was used and its size, those that were not used for longest first.
        share: how many bytes one of the sample stands for.
    """

    size: int
    chunks: list[tuple[int, int]]
    share: float

    def oldest(self, size: int) -> int:
        """The time up to which chunks have to go so that so many bytes go, as far as there are; ns."""
        for used_ns, chunk_size in self.chunks:
            size -= int(chunk_size * self.share)
            if size <= 0:
                return used_ns
        return self.chunks[-1][0] if self.chunks else -1


def measure(root: int, suffix: str) -> Usage:
    """Measure the kept chunks of a store.

    Args:
        root: descriptor of its directory.
        suffix: of compressed chunks.

    Raises:
        OSError: a directory cannot be read.
    """
    prefixes = list_prefixes(root)
    random.shuffle(prefixes)
    size = seen = 0
    chunks: list[tuple[int, int]] = []
    for prefix in prefixes:
        if len(chunks) >= (SAMPLE_CHUNKS if seen >= SAMPLE_DIRECTORIES else MOST_CHUNKS):
            break
        seen += 1
        for file in kept_files(root, prefix, suffix):
            size += file.size
            if not file.temporary:
                chunks.append((file.used_ns, file.size))
    share = len(prefixes) / seen if seen else 1.0
    chunks.sort()
    return Usage(int(size * share), chunks, share)


def kept_files(root: int, prefix: str, suffix: str) -> Iterator[Kept]:
    """The files in one of a store's directories that are only kept.

    Raises:
        OSError: it cannot be read.
    """
    try:
        fd = os.open(prefix, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=root)
    except (FileNotFoundError, NotADirectoryError):
        return
    try:
        names = os.listdir(fd)
    finally:
        os.close(fd)
    for name in names:
        parts = _NAME.fullmatch(name)
        if parts is None:
            continue
        temporary = parts[2] not in ("", suffix)
        if temporary and not _TEMPORARY.fullmatch(parts[2]):
            continue
        path = f"{prefix}/{name}"
        try:
            status = os.lstat(path, dir_fd=root)
        except FileNotFoundError:
            continue
        if is_kept(status):
            yield Kept(path, parts[1], temporary, status.st_size, status.st_mtime_ns)
