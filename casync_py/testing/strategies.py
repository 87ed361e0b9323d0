"""Hypothesis strategies for what archives and indexes are made of."""

from __future__ import annotations

from stat import S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFREG, S_IFSOCK
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from casync_py.archive.nodes import Acl, AclEntry, Leave, Node
from casync_py.digest import BLAKE3_FLAG, SHA512_256_FLAG
from casync_py.format import constants as c
from casync_py.format import records as r
from casync_py.format.flags import (
    ANY_UIDS,
    CHATTR,
    EXCLUDE_MASK,
    FAT_ATTRS,
    NAMES,
    Feature,
    granularity_ns,
    normalize,
)
from casync_py.format.index import Row
from casync_py.ids import ChunkId
from casync_py.testing.memory_archives import Plain

if TYPE_CHECKING:
    from hypothesis.strategies import DrawFn, SearchStrategy

_SUBVOLUME = int(Feature.SUBVOLUME | Feature.SUBVOLUME_RO)


def _without(bad: bytes, max_size: int) -> SearchStrategy[bytes]:
    """Texts of at least one byte without those of `bad`; long ones by repetition, which costs little to draw."""
    letters = st.sampled_from([byte for byte in range(256) if byte not in bad])
    short = st.lists(letters, min_size=1, max_size=12).map(bytes)
    return st.one_of(short, short, st.builds(lambda text, n: (text * n)[:n], short, st.integers(1, max_size)))


file_names = _without(b"\0/", c.NAME_MAX).filter(lambda name: name not in (b".", b".."))
account_names = _without(bytes(range(32)) + b"/\x7f", c.NAME_MAX).filter(lambda name: name != b"root")
targets = _without(b"\0", c.TARGET_MAX)
labels = _without(b"\0", c.LABEL_MAX)
contents = st.one_of(st.binary(max_size=40), st.builds(lambda n: b"zero" * n, st.integers(0, 1000)))
xattr_names = st.builds(
    lambda prefix, rest: (prefix + rest)[: c.NAME_MAX],
    st.sampled_from((b"user.", b"trusted.", b"x.")),
    _without(b"\0", 255),
)
xattr_values = st.binary(max_size=20)
permissions = st.integers(0, 7)
u64 = st.integers(0, c.U64_MAX)
u32 = st.integers(0, 0xFFFFFFFF)

feature_flags: SearchStrategy[int] = st.builds(
    lambda bits, excludes, digest: normalize(sum(bits) | excludes | digest),
    st.sets(st.sampled_from([int(bit) for bit in NAMES.values()])),
    st.integers(0, 7).map(lambda number: number << 60 & EXCLUDE_MASK),
    st.sampled_from((0, SHA512_256_FLAG, BLAKE3_FLAG)),
)

_acl_fields = (u32, permissions, st.one_of(st.just(b""), account_names))

records: SearchStrategy[r.Record] = st.one_of(
    st.builds(r.EntryRecord, u64, u64, u64, u64, u64, u64),
    st.builds(r.User, account_names),
    st.builds(r.Group, account_names),
    st.builds(r.Xattr, xattr_names, xattr_values),
    *(st.builds(kind, *_acl_fields) for kind in (r.AclUser, r.AclGroup, r.AclDefaultUser, r.AclDefaultGroup)),
    st.builds(r.AclGroupObj, permissions),
    st.builds(r.AclDefault, permissions, permissions, permissions, st.integers(-1, 7)),
    st.builds(r.SELinux, labels),
    st.builds(r.FCaps, st.binary(max_size=40)),
    st.builds(r.QuotaProjid, st.integers(1, c.PROJID_MAX)),
    st.builds(r.Symlink, targets),
    st.builds(r.Device, st.integers(0, c.DEVICE_MAJOR_MAX), st.integers(0, c.DEVICE_MINOR_MAX)),
    st.builds(r.Filename, file_names),
)


def kinds(features: int) -> SearchStrategy[int]:
    """Types of nodes, as in `st_mode`, that archives with these feature flags may hold."""
    by_flag = (
        (Feature.SYMLINKS, (S_IFLNK,)),
        (Feature.DEVICE_NODES, (S_IFCHR, S_IFBLK)),
        (Feature.FIFOS, (S_IFIFO,)),
        (Feature.SOCKETS, (S_IFSOCK,)),
    )
    optional = [kind for flag, some in by_flag if features & flag for kind in some]
    return st.sampled_from([S_IFREG, S_IFDIR, *optional])


def ids(features: int) -> SearchStrategy[int]:
    """Numeric ids under feature flags."""
    if features & Feature.UIDS_32BIT:
        return st.integers(0, c.ID_MAX).filter(lambda number: number != c.ID16_MAX + 1)
    return st.integers(0, c.ID16_MAX if features & Feature.UIDS_16BIT else 0)


@st.composite
def _acl_entries(draw: DrawFn, features: int) -> tuple[AclEntry, ...]:
    names = st.one_of(st.just(b""), account_names) if features & Feature.USER_NAMES else st.just(b"")
    keys = draw(st.sets(st.tuples(ids(features), names, permissions), max_size=3))
    return tuple(AclEntry(number, name, bits) for number, name, bits in sorted(keys))


@st.composite
def acls(draw: DrawFn, features: int, kind: int) -> Acl | None:
    """ACLs of a node, None for most."""
    if not features & Feature.ACL or kind == S_IFLNK or draw(st.booleans()):
        return None
    acl = Acl()
    if draw(st.booleans()):
        acl = Acl(draw(_acl_entries(features)), draw(_acl_entries(features)), draw(permissions))
    if kind == S_IFDIR and draw(st.booleans()):
        acl = acl._replace(
            default_user_obj=draw(permissions), default_group_obj=draw(permissions), default_other=draw(permissions)
        )
        if draw(st.booleans()):
            acl = acl._replace(
                default_mask=draw(permissions),
                default_users=draw(_acl_entries(features)),
                default_groups=draw(_acl_entries(features)),
            )
    return None if acl == Acl() else acl


def _permission_bits(features: int, kind: int) -> SearchStrategy[int]:
    if kind == S_IFLNK:
        return st.just(0o777)
    if features & (Feature.PERMISSIONS | Feature.ACL):
        return st.integers(0, 0o7777)
    widest = 0o777 if kind == S_IFDIR else 0o666
    return st.sampled_from((widest, widest & 0o555) if features & Feature.READ_ONLY else (widest,))


def _inode_flags(features: int, kind: int) -> SearchStrategy[int]:
    if kind not in (S_IFREG, S_IFDIR):
        return st.just(0)
    allowed = features & (CHATTR | FAT_ATTRS | (_SUBVOLUME if kind == S_IFDIR else 0))
    return st.integers(0, 0x3FFFFFFF).map(lambda bits: bits & allowed)


@st.composite
def nodes(draw: DrawFn, features: int, kind: int, size: int = 0) -> Node:
    """A node of type `kind` with everything that the feature flags let through; `size` of a regular file."""

    def maybe(flag: int, absent: Any, present: SearchStrategy[Any], *types: int) -> Any:
        allowed = features & flag and (not types or kind in types)
        return draw(st.one_of(st.just(absent), present)) if allowed else absent

    step = granularity_ns(features)
    xattrs: tuple[tuple[bytes, bytes], ...] = ()
    if kind != S_IFLNK:
        xattrs = maybe(
            Feature.XATTRS,
            (),
            st.dictionaries(xattr_names, xattr_values, max_size=3).map(lambda pairs: tuple(sorted(pairs.items()))),
        )
    devices = st.tuples(st.integers(0, c.DEVICE_MAJOR_MAX), st.integers(0, c.DEVICE_MINOR_MAX))
    return Node(
        mode=kind | draw(_permission_bits(features, kind)),
        flags=draw(_inode_flags(features, kind)),
        uid=draw(ids(features)) if features & ANY_UIDS else 0,
        gid=draw(ids(features)) if features & ANY_UIDS else 0,
        mtime_ns=draw(st.integers(0, (c.U64_MAX - 1) // step)) * step if step else 0,
        user=maybe(Feature.USER_NAMES, b"", account_names),
        group=maybe(Feature.USER_NAMES, b"", account_names),
        xattrs=xattrs,
        acl=draw(acls(features, kind)),
        selinux=maybe(Feature.SELINUX, None, labels),
        fcaps=maybe(Feature.FCAPS, None, st.binary(max_size=30), S_IFREG),
        projid=maybe(Feature.QUOTA_PROJID, 0, st.integers(1, c.PROJID_MAX), S_IFREG, S_IFDIR),
        target=draw(targets) if kind == S_IFLNK else b"",
        rdev=draw(devices) if kind in (S_IFCHR, S_IFBLK) else (0, 0),
        size=size,
    )


@st.composite
def trees(draw: DrawFn, features: int, max_nodes: int = 12) -> list[Plain | Leave]:
    """The entries of a tree in archive order, with content."""
    entries: list[Plain | Leave] = []
    left = [draw(st.integers(0, max_nodes))]

    def directory(path: bytes, name: bytes) -> None:
        entries.append(Plain(path, name, draw(nodes(features, S_IFDIR)), None))
        width = draw(st.integers(0, left[0]))
        left[0] -= width
        for child in sorted(draw(st.sets(file_names, min_size=width, max_size=width))):
            below = path + b"/" + child if path else child
            kind = draw(kinds(features))
            if kind == S_IFDIR:
                directory(below, child)
                continue
            content = draw(contents) if kind == S_IFREG else None
            entries.append(Plain(below, child, draw(nodes(features, kind, len(content or b""))), content))
        entries.append(Leave(path))

    directory(b"", b"")
    return entries


@st.composite
def archives(draw: DrawFn) -> tuple[int, list[Plain | Leave]]:
    """Feature flags and a tree that fits them."""
    features = draw(feature_flags)
    return features, draw(trees(features))


@st.composite
def chunk_params(draw: DrawFn) -> tuple[int, int, int]:
    """Smallest, average and largest chunk size."""
    low, middle, high = sorted(draw(st.lists(st.integers(1, c.CHUNK_SIZE_MAX), min_size=3, max_size=3)))
    return low, middle, high


@st.composite
def index_rows(draw: DrawFn, chunk_max: int = c.CHUNK_SIZE_MAX, max_size: int = 20) -> list[Row]:
    """The rows of an index whose chunks have at most `chunk_max` bytes."""
    lengths = draw(st.lists(st.integers(1, chunk_max), max_size=max_size))
    rows = []
    start = 0
    for length in lengths:
        rows.append(Row(start, start + length, ChunkId(draw(st.binary(min_size=32, max_size=32)))))
        start += length
    return rows


slicings = st.builds(
    lambda first, step: [*first, step], st.lists(st.integers(1, 100), max_size=20), st.integers(16, 5000)
)
"""Lengths of the pieces that a stream comes in, the last one used again and again."""
