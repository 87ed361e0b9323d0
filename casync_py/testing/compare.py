"""Tell two trees apart, completely: content and every kind of metadata that an archive can carry."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from casync_py.archive.inode_flags import read_chattr, read_fat, read_projid, read_subvolume
from casync_py.format.flags import feature_names

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

_PIECE = 1 << 20
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def tree_differences(
    a: str | bytes | os.PathLike[str], b: str | bytes | os.PathLike[str], ignore: Collection[str] = ()
) -> list[str]:
    """Compare the trees below `a` and `b`, the two top directories' own metadata included.

    Args:
        ignore: aspects to leave out, of: content, type, mode, uid, gid, mtime, rdev, target, xattrs (ACLs, capabilities
            and labels among them), flags (chattr and FAT), projid, subvolume.

    Returns:
        One line for each difference, `PATH: ASPECT: A's != B's`, or `PATH: only in A`; none for equal trees.
        Access and change times, hard links and holes are no part of an archive and not compared.
    """
    top_a, top_b = os.fsencode(a), os.fsencode(b)
    found = [f".: {line}" for line in _node_differences(top_a, top_b, ignore)]
    for path, names_a, names_b in _common_directories(top_a, top_b):
        for only, top in ((names_a - names_b, top_a), (names_b - names_a, top_b)):
            found.extend(f"{_text(os.path.join(path, name))}: only in {os.fsdecode(top)}" for name in sorted(only))
        for name in sorted(names_a & names_b):
            relative = os.path.join(path, name)
            pair = os.path.join(top_a, relative), os.path.join(top_b, relative)
            found.extend(f"{_text(relative)}: {line}" for line in _node_differences(*pair, ignore))
    return found


def _text(path: bytes) -> str:
    return path.decode(errors="backslashreplace")


def _common_directories(top_a: bytes, top_b: bytes) -> Iterator[tuple[bytes, set[bytes], set[bytes]]]:
    """Relative path of each directory that is one in both trees, with the names in it on either side."""
    waiting = [b""]
    while waiting:
        path = waiting.pop()
        names_a, names_b = (set(os.listdir(os.path.join(top, path))) for top in (top_a, top_b))
        yield path, names_a, names_b
        for name in sorted(names_a & names_b, reverse=True):
            relative = os.path.join(path, name)
            if all(stat.S_ISDIR(os.lstat(os.path.join(top, relative)).st_mode) for top in (top_a, top_b)):
                waiting.append(relative)


def _node_differences(a: bytes, b: bytes, ignore: Collection[str]) -> Iterator[str]:
    aspects_a, aspects_b = _aspects(a, ignore), _aspects(b, ignore)
    same_type = aspects_a["type"] == aspects_b["type"]
    for aspect in sorted(aspects_a) if same_type else ("type",):
        one, other = aspects_a[aspect], aspects_b[aspect]
        if aspect not in ignore and one != other:
            yield f"{aspect}: {one} != {other}"
    if "content" not in ignore and same_type and aspects_a["type"] == "file":
        offset = _first_difference(a, b)
        if offset is not None:
            yield f"content: differs from offset {offset}"


def _aspects(path: bytes, ignore: Collection[str]) -> dict[str, object]:
    status = os.lstat(path)
    mode = status.st_mode
    aspects: dict[str, object] = {
        "type": _type_name(mode),
        "mode": f"{stat.S_IMODE(mode):04o}",
        "uid": status.st_uid,
        "gid": status.st_gid,
        "mtime": status.st_mtime_ns,
    }
    if stat.S_ISLNK(mode):
        aspects["target"] = os.readlink(path)
    if stat.S_ISBLK(mode) or stat.S_ISCHR(mode):
        aspects["rdev"] = (os.major(status.st_rdev), os.minor(status.st_rdev))
    if "xattrs" not in ignore:
        aspects["xattrs"] = _xattrs(path)
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        fd = os.open(path, _OPEN)
        try:
            aspects["flags"] = list(feature_names(read_chattr(fd) | read_fat(fd)))
            aspects["projid"] = read_projid(fd)
            if stat.S_ISDIR(mode):
                aspects["subvolume"] = list(feature_names(read_subvolume(fd)))
        finally:
            os.close(fd)
    return aspects


def _type_name(mode: int) -> str:
    names = {
        stat.S_IFREG: "file",
        stat.S_IFDIR: "directory",
        stat.S_IFLNK: "symlink",
        stat.S_IFIFO: "fifo",
        stat.S_IFSOCK: "socket",
        stat.S_IFBLK: "block device",
        stat.S_IFCHR: "character device",
    }
    return names.get(stat.S_IFMT(mode), f"{stat.S_IFMT(mode):o}")


def _xattrs(path: bytes) -> dict[str, str]:
    values = {}
    for name in sorted(os.listxattr(path, follow_symlinks=False)):
        value = os.getxattr(path, name, follow_symlinks=False)
        # A label is the same with the NUL that SELinux's own tools append and without it.
        values[name] = (value.rstrip(b"\0") if name == "security.selinux" else value).hex()
    return values


def _first_difference(a: bytes, b: bytes) -> int | None:
    """Offset of the first byte that differs, None where the files have the same content."""
    with open(a, "rb") as file_a, open(b, "rb") as file_b:
        offset = 0
        while True:
            piece_a, piece_b = file_a.read(_PIECE), file_b.read(_PIECE)
            if piece_a != piece_b:
                pairs = enumerate(zip(piece_a, piece_b, strict=False))
                shorter = min(len(piece_a), len(piece_b))
                return offset + next((i for i, (one, other) in pairs if one != other), shorter)
            if not piece_a:
                return None
            offset += len(piece_a)
