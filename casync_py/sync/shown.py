"""What list, mtree and stat have in common: how casync writes names, modes and owners, and which metadata it shows."""

from __future__ import annotations

import re
import stat
from functools import lru_cache
from typing import TYPE_CHECKING

from casync_py.format.flags import ANY_UIDS, WITH_MASK, Feature, chosen_bits, mask_for_reading

if TYPE_CHECKING:
    from collections.abc import Iterable

    from casync_py.archive.nodes import Node

# casync escapes for mtree, and uses the same form everywhere: blanks, control bytes, everything beyond ASCII, \ and #.
_escapable = re.compile(rb"[\x00-\x20\x7f-\xff\\#]")
_OCTAL = {bytes((value,)): b"\\%03o" % value for value in range(256)}

_TYPE_LETTERS = {
    stat.S_IFSOCK: "s",
    stat.S_IFDIR: "d",
    stat.S_IFREG: "-",
    stat.S_IFBLK: "b",
    stat.S_IFCHR: "c",
    stat.S_IFLNK: "l",
    stat.S_IFIFO: "p",
}
_USER_NAMES = int(Feature.USER_NAMES)


def escape(text: bytes) -> bytes:
    r"""Bytes as casync shows them: one that is not plain visible ASCII, and `\` and `#`, become `\ooo`."""
    if _escapable.search(text) is None:
        return text
    return _escapable.sub(_octal, text)


def _octal(match: re.Match[bytes]) -> bytes:
    return _OCTAL[match[0]]


def shown_path(path: bytes) -> bytes:
    """A path relative to the root as casync shows it; the root is `.`."""
    return escape(path) if path else b"."


@lru_cache(maxsize=4096)
def mode_string(mode: int) -> bytes:
    """The 10 characters of `ls -l`; other than there, the sticky bit shows on directories only."""
    text = [_TYPE_LETTERS.get(stat.S_IFMT(mode), "?")]
    text += [letter if mode & 0o400 >> place else "-" for place, letter in enumerate("rwxrwxrwx")]
    for place, bit, letter in ((3, stat.S_ISUID, "s"), (6, stat.S_ISGID, "s"), (9, stat.S_ISVTX, "t")):
        if mode & bit and (bit != stat.S_ISVTX or stat.S_ISDIR(mode)):
            text[place] = letter if text[place] == "x" else letter.upper()
    return "".join(text).encode()


def user_name(node: Node) -> bytes:
    """Name of the owner; `root` is not stored and comes from its id. Empty where there is none."""
    return node.user or (b"" if node.uid else b"root")


def group_name(node: Node) -> bytes:
    """Name of the group, as `user_name` gives the owner's."""
    return node.group or (b"" if node.gid else b"root")


def shows_ids(mask: int) -> bool:
    """Whether numeric owners are shown."""
    return bool(mask & ANY_UIDS)


def shows_names(mask: int) -> bool:
    """Whether names of owners are shown."""
    return bool(mask & _USER_NAMES)


def shown_mask(with_: Iterable[int], without: Iterable[int], archive_features: int) -> int:
    """Which metadata of an archive list, mtree and stat show.

    For a directory that is scanned the answer is the features that it was scanned with. For an archive casync widens
    the options as they were given: normalised, they would lose flag-nodump to the exclude-nodump that is always on.

    Args:
        with_, without: feature bits of each option.
        archive_features: those of the archive's entries.
    """
    return mask_for_reading(chosen_bits(with_, without, WITH_MASK), archive_features)
