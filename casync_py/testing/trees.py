"""A directory tree with everything that an archive can carry, for tests against other programs."""

from __future__ import annotations

import os
import random
import socket
import stat
import struct
from typing import TYPE_CHECKING

from casync_py.archive.acl import acl_to_xattrs
from casync_py.archive.inode_flags import read_chattr, write_chattr
from casync_py.archive.nodes import Acl, AclEntry
from casync_py.format.flags import CHATTR, Feature, feature_names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


_SECOND = 10**9
_DEPTH = 40  # casync gives up beyond 63 levels
_SMALL_FILES = 400
# VFS_CAP_REVISION_2 with the effective bit, permitted CAP_NET_BIND_SERVICE; Linux include/uapi/linux/capability.h
_CAPABILITY = struct.pack("<5I", 0x02000001, 1 << 10, 0, 0, 0)


class _Build:
    """What the parts of the tree are built with."""

    def __init__(self, wide_ids: bool) -> None:
        self.refused: list[str] = []
        self._modulus = 1 << 32 if wide_ids else 60000

    def attempt(self, what: str, action: Callable[..., object], *arguments: object, **options: object) -> None:
        """Call, or note that the file system refused `what`."""
        try:
            action(*arguments, **options)
        except OSError as error:
            self.refused.append(f"{what} ({error.strerror})")

    def id(self, number: int) -> int:
        """A user's or group's id, made small if that was asked for."""
        return number % self._modulus


def build_reference_tree(
    path: str | bytes | os.PathLike[str], *, excludes: bool = False, unremovable: bool = False, wide_ids: bool = False
) -> list[str]:
    """Create `path` and fill it. Content, names, metadata and times are the same in each run. Needs root.

    Args:
        excludes: add `.caexclude` files, and what they and nodump leave out.
        unremovable: add immutable and append-only files; call `make_removable` before the tree is to go.
        wide_ids: let some ids be too large for 16bit-uids, with which both programs then refuse the tree.

    Returns:
        What the file system refused, by name; the rest is there.
    """
    top = os.fsencode(path)
    os.mkdir(top, 0o755)
    build = _Build(wide_ids)
    for name, fill in _PARTS.items():
        directory = os.path.join(top, name)
        os.mkdir(directory)
        fill(directory, build)
    if excludes:
        _excluded(top)
    for node in _nodes(top):
        _set_time(node, top)
    _flags(os.path.join(top, b"flags"), build, excludes, unremovable)
    return build.refused


def make_removable(path: str | bytes | os.PathLike[str]) -> None:
    """Clear all chattr flags in a tree, which then can be removed."""
    for node in _nodes(os.fsencode(path), top_down=True):
        if stat.S_IFMT(os.lstat(node).st_mode) in (stat.S_IFREG, stat.S_IFDIR):
            fd = os.open(node, os.O_RDONLY | os.O_NOFOLLOW)
            try:
                if read_chattr(fd):
                    write_chattr(fd, 0, CHATTR & ~Feature.FLAG_NOCOMP)
            finally:
                os.close(fd)


def _nodes(top: bytes, top_down: bool = False) -> Iterator[bytes]:
    for parent, directories, files in os.walk(top, topdown=top_down):
        if top_down:
            yield parent
        links = [name for name in directories if os.path.islink(os.path.join(parent, name))]
        yield from (os.path.join(parent, name) for name in (*files, *links))
        if not top_down:
            yield parent


def _set_time(node: bytes, top: bytes) -> None:
    """A time of its own for each node, the odd ones below `times/` excepted, which have theirs."""
    relative = os.path.relpath(node, top)
    if os.path.dirname(relative) != b"times":
        moment = _random(relative).randrange(1_000_000_000 * _SECOND, 1_700_000_000 * _SECOND)
        os.utime(node, ns=(moment, moment), follow_symlinks=False)


def _random(seed: object) -> random.Random:
    return random.Random(str(seed))  # noqa: S311  the same content every time


def _write(directory: bytes, name: bytes, content: bytes = b"") -> bytes:
    path = os.path.join(directory, name)
    with open(path, "xb") as file:
        file.write(content)
    return path


def _kinds(directory: bytes, build: _Build) -> None:
    os.mkdir(os.path.join(directory, b"empty-directory"))
    _write(directory, b"empty-file")
    _write(directory, b"file", b"content\n")
    for name, target in (
        (b"link", b"file"),
        (b"dangling", b"/nowhere/\xff"),
        (b"to-parent", b".."),
        (b"long", b"x" * 4000),
    ):
        build.attempt(f"symlink {os.fsdecode(name)}", os.symlink, target, os.path.join(directory, name))
    nodes = (
        ("fifo", stat.S_IFIFO | 0o640, 0),
        ("character", stat.S_IFCHR | 0o666, os.makedev(1, 3)),
        ("block", stat.S_IFBLK | 0o660, os.makedev(4095, 0xFFFFF)),
    )
    for kind, mode, device in nodes:
        path = os.path.join(directory, kind.encode())
        build.attempt(kind, os.mknod, path, mode, device)
    build.attempt("socket", _bind, directory, "socket")


def _bind(directory: bytes, name: str) -> None:
    """A bound socket leaves its node behind; addresses are short, so it is bound through the descriptor's path."""
    fd = os.open(directory, os.O_PATH | os.O_DIRECTORY)
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(f"/proc/self/fd/{fd}/{name}")
    finally:
        os.close(fd)


def _names(directory: bytes, build: _Build) -> None:
    names = [
        b"with space", b" leading", b"trailing ", b"new\nline", b"tab\t", b"back\\slash", b"#hash", b"-dash",
        b"\xff\xfe no UTF-8", "grüße-漢字-\U0001f600".encode(), b"caf\xe9", b".hidden", b"...", b"*", b"?[a]", b"$x`y`",
        b"\x01\x7f", b"a", b"a.", b"a-b", b"a\xc2\xb7b", b"A", b"\x80", b"\xee\x80\x80", b"\xf0\x90\x80\x80",
        b"n" * 255, b"\xfc" * 255,
    ]  # fmt: skip
    for name in names:
        build.attempt(f"name {name[:20]!r}", _write, directory, name, name)
    os.mkdir(os.path.join(directory, b"d" * 255))
    _write(os.path.join(directory, b"d" * 255), b"e" * 255)


def _links(directory: bytes, build: _Build) -> None:
    path = _write(directory, b"first", b"several names\n")
    os.mkdir(os.path.join(directory, b"below"))
    for name in (b"second", b"below/third"):
        build.attempt("hard link", os.link, path, os.path.join(directory, name))


def _content(directory: bytes, _build: _Build) -> None:
    some = _random(1)
    _write(directory, b"large", some.randbytes((3 << 20) + 12345))
    _write(directory, b"repeats", some.randbytes(5000) * 300)
    _write(directory, b"zeros", bytes(700_000))
    for size in (1, 4095, 4096, 4097, 65536, 262144, 262145):
        _write(directory, b"of-%d" % size, some.randbytes(size))
    with open(os.path.join(directory, b"sparse"), "xb") as file:
        for offset in (1 << 16, 1 << 20):
            file.seek(offset)
            file.write(b"island")
        file.truncate(2 << 20)


def _many(directory: bytes, _build: _Build) -> None:
    some = _random(2)
    for number in range(_SMALL_FILES):
        _write(directory, b"%x-%d" % (some.getrandbits(20), number), some.randbytes(some.randrange(200)))


def _deep(directory: bytes, _build: _Build) -> None:
    for level in range(_DEPTH):
        directory = os.path.join(directory, b"level%d" % level)
        os.mkdir(directory)
        _write(directory, b"file", b"%d" % level)


def _xattrs(directory: bytes, build: _Build) -> None:
    os.mkdir(os.path.join(directory, b"directory"))
    for name in (b"file", b"directory"):
        path = os.path.join(directory, name)
        if name == b"file":
            _write(directory, name, b"x")
        values = {"user.simple": b"value", "user.empty": b"", "user.binary": bytes(range(256)), "trusted.kept": b"t"}
        values |= {f"user.many{number:02}": b"%d" % number for number in range(20)}
        for xattr, value in values.items():
            build.attempt(f"xattr {xattr}", os.setxattr, path, xattr, value)
    many = _write(directory, b"long")
    build.attempt("long xattr", os.setxattr, many, "user." + "n" * 250, b"v" * 2000)
    for name in (b"labelled", b"labelled-link"):
        path = os.path.join(directory, name)
        os.symlink(b"labelled", path) if name.endswith(b"link") else _write(directory, name)
        label = b"system_u:object_r:" + name.replace(b"-", b"_") + b":s0"
        build.attempt("SELinux label", os.setxattr, path, "security.selinux", label, follow_symlinks=False)
    fifo = os.path.join(directory, b"labelled-fifo")
    os.mkfifo(fifo)
    build.attempt("SELinux label", os.setxattr, fifo, "security.selinux", b"system_u:object_r:fifo:s0\0")
    build.attempt("trusted xattr of a fifo", os.setxattr, fifo, "trusted.left-out", b"casync takes none of these")


def _acls(directory: bytes, build: _Build) -> None:
    users = (AclEntry(0, b"", 7), AclEntry(1, b"", 4), AclEntry(4711, b"", 6), AclEntry(build.id(70000), b"", 0))
    groups = (AclEntry(0, b"", 1), AclEntry(5, b"", 5), AclEntry(build.id(70001), b"", 2))
    default = Acl(default_user_obj=7, default_group_obj=5, default_other=1)
    named_default = default._replace(default_mask=7, default_users=users, default_groups=groups)
    acls = {
        b"named": Acl(users, groups, 4),
        b"one-user": Acl((AclEntry(2, b"", 6),), (), 6),
        b"mask-only": Acl(group_obj=7),
        b"default-plain/": default,
        b"default-named/": named_default,
        b"both/": named_default._replace(users=users, groups=groups, group_obj=5, default_mask=3),
    }
    for name, acl in acls.items():
        path = os.path.join(directory, name.rstrip(b"/"))
        os.mkdir(path) if name.endswith(b"/") else _write(directory, name, b"guarded")
        build.attempt(f"ACL {os.fsdecode(name)}", _set_acl, path, acl, 0o750)
    fifo = os.path.join(directory, b"fifo")
    os.mkfifo(fifo)
    build.attempt("ACL of a fifo", _set_acl, fifo, Acl((AclEntry(3, b"", 6),), (), 4), 0o660)


def _set_acl(path: bytes, acl: Acl, mode: int) -> None:
    access, default = acl_to_xattrs(acl, mode)
    if access is not None:
        os.setxattr(path, "system.posix_acl_access", access)
    if default is not None:
        os.setxattr(path, "system.posix_acl_default", default)


def _modes(directory: bytes, build: _Build) -> None:
    for mode in (0o000, 0o444, 0o555, 0o600, 0o644, 0o777, 0o2755, 0o4755, 0o6755, 0o1644, 0o7777, 0o200, 0o002):
        os.chmod(_write(directory, b"file-%04o" % mode, b"%o" % mode), mode)
        path = os.path.join(directory, b"directory-%04o" % mode)
        os.mkdir(path)
        os.chmod(path, mode)
    for wide_uid, wide_gid in ((1, 0), (0, 5), (12345, 54321), (70000, 70001), (65534, 65534), (4_000_000_000, 1)):
        uid, gid = build.id(wide_uid), build.id(wide_gid)
        for name in (b"file", b"link"):
            path = os.path.join(directory, b"%s-of-%d-%d" % (name, uid, gid))
            os.symlink(b"x", path) if name == b"link" else _write(directory, os.path.basename(path))
            build.attempt(f"owner {uid}", os.lchown, path, uid, gid)
    capable = _write(directory, b"capable", b"#!/bin/true\n")
    os.chmod(capable, 0o700)
    build.attempt("capability", os.setxattr, capable, "security.capability", _CAPABILITY)


def _times(directory: bytes, build: _Build) -> None:
    moments = {
        b"epoch": 0,
        b"first-nanosecond": 1,
        b"before-1970": -315_619_200 * _SECOND,
        b"before-1970-odd": -1_234_567_890_123_456_789,
        b"just-before-1970": -_SECOND - 1,
        b"after-2038": 2_500_000_000 * _SECOND + 999_999_999,
        b"after-2200": 7_500_000_001 * _SECOND + 123_456_789,
        b"odd-second": 1_500_000_001 * _SECOND + 987_654_321,
        b"microsecond": 1_500_000_000 * _SECOND + 123_456_000,
    }
    for name, moment in moments.items():
        path = _write(directory, name)
        build.attempt(f"time {moment}", os.utime, path, ns=(moment, moment))


def _nothing(_directory: bytes, _build: _Build) -> None:
    """Filled by `_flags`, after the times: immutable files take none."""


_PARTS = {
    b"acls": _acls,
    b"content": _content,
    b"deep": _deep,
    b"flags": _nothing,
    b"kinds": _kinds,
    b"links": _links,
    b"many": _many,
    b"modes": _modes,
    b"names": _names,
    b"times": _times,
    b"xattrs": _xattrs,
}


def _excluded(top: bytes) -> None:
    _write(top, b".caexclude", b"# for tests\n*.log\n!kept.log\ncontent/of-4097\nnames/[a-c]*\n")
    for name in (b"a.log", b"kept.log", b"many/b.log", b"many/c.log"):
        _write(top, name, name)
    _write(os.path.join(top, b"many"), b".caexclude", b"!b.log\n/0*\n")


def _flags(directory: bytes, build: _Build, excludes: bool, unremovable: bool) -> None:
    left_out = (0 if excludes else Feature.FLAG_NODUMP) | (
        0 if unremovable else Feature.FLAG_IMMUTABLE | Feature.FLAG_APPEND
    )
    for name in feature_names(CHATTR & ~left_out):
        flag = int(Feature[name.upper().replace("-", "_")])
        for kind in ("file", "directory"):
            path = os.path.join(directory, f"{kind}-{name}".encode())
            os.mkdir(path) if kind == "directory" else _write(directory, os.path.basename(path), name.encode())
            os.utime(path, ns=(flag * _SECOND,) * 2)
            build.attempt(f"{name} of a {kind}", _set_flag, path, flag)
    os.utime(directory, ns=(1_600_000_000 * _SECOND,) * 2)


def _set_flag(path: bytes, flag: int) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        write_chattr(fd, flag, flag)
    finally:
        os.close(fd)
