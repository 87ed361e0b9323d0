"""The benchmark's inputs: a blob and a tree, made from real files of the machine, the same on each run."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

BLOB_SOURCES = ("/usr/bin", "/usr/share", "/usr/lib", "/usr/local")
TREE_SOURCES = ("/usr/include", "/usr/local/go/src", "/usr/lib/python3", "/usr/share", "/usr/lib", "/usr/local")
TREE_BYTES_MAX = 500_000_000
TREE_FILE_MAX = 4 << 20  # a tree of many files is wanted, not a few that fill it
PIECE = 1 << 20


class InputError(Exception):
    """The machine does not have what the benchmark needs."""


@dataclass(frozen=True, slots=True)
class Tree:
    """A tree that was made: regular files, all other nodes, and bytes in files."""

    path: Path
    files: int
    others: int
    size: int


def _walk(root: str) -> Iterator[os.DirEntry[str]]:
    """Every node below a directory, sorted by name, directories before what they hold; one file system."""
    try:
        with os.scandir(root) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError:
        return
    device = os.lstat(root).st_dev
    for entry in entries:
        if entry.stat(follow_symlinks=False).st_dev == device:
            yield entry
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(entry.path)


def _readable(entry: os.DirEntry[str]) -> bool:
    return entry.is_file(follow_symlinks=False) and os.access(entry.path, os.R_OK)


def make_blob(path: Path, size: int) -> str:
    """Write exactly `size` bytes: the files of BLOB_SOURCES one after another, in sorted order.

    Where the machine has less, the same files follow again with each byte XORed with the number of the pass: the
    chunks are new, and compress as the first ones did.

    Returns:
        What the blob is made of, for people.
    """
    left, passes = size, 0
    with path.open("wb") as blob:
        while left:
            if passes == 256:
                raise InputError(f"Too few readable files in {', '.join(BLOB_SOURCES)} for a blob of {size} bytes")
            table = bytes(value ^ passes for value in range(256)) if passes else None
            left = _append_files(blob, left, table)
            passes += 1
    return f"files of {', '.join(BLOB_SOURCES)} in sorted order, {passes} pass{'es' if passes > 1 else ''}"


def _append_files(blob: BinaryIO, left: int, table: bytes | None) -> int:
    for source in BLOB_SOURCES:
        for entry in _walk(source):
            if not _readable(entry):
                continue
            with open(entry.path, "rb", buffering=0) as file:
                while left and (data := file.read(min(PIECE, left))):
                    left -= blob.write(data.translate(table) if table else data)
            if not left:
                return 0
    return left


def make_tree(path: Path, files: int) -> Tree:
    """Copy real files with their directories and symlinks, in sorted order, until there are `files` regular files.

    Raises:
        InputError: the machine has fewer, or they are larger than TREE_BYTES_MAX together.
    """
    path.mkdir()
    copied = others = size = 0
    for source in TREE_SOURCES:
        for entry in _walk(source):
            copy = str(path) + entry.path
            if os.path.lexists(copy):
                continue  # its source was named before, inside this one
            os.makedirs(os.path.dirname(copy), exist_ok=True)
            if entry.is_symlink():
                os.symlink(os.readlink(entry.path), copy)
                others += 1
            elif entry.is_dir(follow_symlinks=False):
                os.mkdir(copy)
                others += 1
            elif _readable(entry) and (length := entry.stat().st_size) <= TREE_FILE_MAX:
                shutil.copy2(entry.path, copy)
                copied, size = copied + 1, size + length
            if copied == files:
                return Tree(path, copied, others, size)
            if size > TREE_BYTES_MAX:
                raise InputError(f"{copied} files already have more than {TREE_BYTES_MAX} bytes")
    raise InputError(f"Only {copied} readable files in {', '.join(TREE_SOURCES)}, {files} are needed")
