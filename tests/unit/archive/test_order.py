"""What an ENTRY may hold, and where metadata records may stand: the table walked in full."""

from __future__ import annotations

from stat import S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFREG, S_IFSOCK

import pytest

from casync_py.archive.encoder import encode_node
from casync_py.archive.nodes import Acl, AclEntry, Leave, Node
from casync_py.archive.order import CONTENT, METADATA, EntryRules
from casync_py.errors import FormatError
from casync_py.format import constants as c
from casync_py.format import records as r
from casync_py.format.flags import Feature
from casync_py.format.goodbye import encode_goodbye, name_hashes
from casync_py.testing.memory_archives import Plain, decode_plain

BEST = 0xB0000001FFEFFE26
KINDS = (S_IFREG, S_IFDIR, S_IFLNK, S_IFCHR, S_IFBLK, S_IFIFO, S_IFSOCK)
METADATA_EXAMPLES: dict[int, tuple[bytes, ...]] = {
    c.USER: (r.User(b"u").encode(),),
    c.GROUP: (r.Group(b"g").encode(),),
    c.XATTR: (r.Xattr(b"user.a", b"").encode(), r.Xattr(b"user.b", b"").encode()),
    c.ACL_USER: (r.AclUser(1, 7).encode(), r.AclUser(1, 7, b"u").encode()),
    c.ACL_GROUP: (r.AclGroup(1, 6).encode(), r.AclGroup(1, 7).encode()),
    c.ACL_GROUP_OBJ: (r.AclGroupObj(7).encode(),),
    c.ACL_DEFAULT: (r.AclDefault(7, 7, 7, 7).encode(),),
    c.ACL_DEFAULT_USER: (r.AclDefaultUser(1, 7).encode(), r.AclDefaultUser(2, 7).encode()),
    c.ACL_DEFAULT_GROUP: (r.AclDefaultGroup(1, 7).encode(), r.AclDefaultGroup(2, 7).encode()),
    c.SELINUX: (r.SELinux(b"l").encode(),),
    c.FCAPS: (r.FCaps(b"v").encode(),),
    c.QUOTA_PROJID: (r.QuotaProjid(1).encode(),),
}
# Without these, a record would be refused for another reason than its place.
NEEDS = {
    c.ACL_USER: c.ACL_GROUP_OBJ,
    c.ACL_GROUP: c.ACL_GROUP_OBJ,
    c.ACL_DEFAULT_USER: c.ACL_DEFAULT,
    c.ACL_DEFAULT_GROUP: c.ACL_DEFAULT,
}


def mode_of(kind: int) -> int:
    return kind | (0o777 if kind == S_IFLNK else 0o644)


def archive_with(kind: int, metadata: bytes, features: int = BEST) -> bytes:
    """An archive with one child, `x`, of that type, with those metadata records."""
    top = r.EntryRecord(features, S_IFDIR | 0o755).encode()
    child = r.Filename(b"x").encode() + r.EntryRecord(features, mode_of(kind)).encode() + metadata
    record_type = CONTENT[kind]
    if kind == S_IFDIR:
        child += encode_goodbye([], [], 0, 64 + len(metadata))
    elif record_type == c.PAYLOAD:
        child += r.HEADER.pack(16, c.PAYLOAD)
    elif record_type is not None:
        child += (r.Symlink(b"t") if record_type == c.SYMLINK else r.Device(1, 2)).encode()
    end = len(top) + len(child)
    return top + child + encode_goodbye(name_hashes([b"x"]), [64], 0, end)


def accepts(kind: int, metadata: bytes, features: int = BEST) -> bool:
    try:
        decode_plain(archive_with(kind, metadata, features))
    except FormatError:
        return False
    return True


def node_metadata(*record_types: int) -> bytes:
    """One record of each type, and what they need, in order."""
    wanted = {*record_types, *(NEEDS[kind] for kind in record_types if kind in NEEDS)}
    return b"".join(METADATA_EXAMPLES[kind][0] for kind in METADATA if kind in wanted)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("record_type", METADATA)
def test_a_record_stands_in_the_types_of_nodes_that_the_table_says(record_type: int, kind: int) -> None:
    links_may = {c.USER, c.GROUP, c.SELINUX}
    expected = {
        S_IFREG: record_type not in (c.ACL_DEFAULT, c.ACL_DEFAULT_USER, c.ACL_DEFAULT_GROUP),
        S_IFDIR: record_type != c.FCAPS,
        S_IFLNK: record_type in links_may,
    }.get(
        kind, record_type in links_may | {c.XATTR, c.ACL_USER, c.ACL_GROUP, c.ACL_GROUP_OBJ}
    )  # devices, fifos, sockets
    assert accepts(kind, node_metadata(record_type)) is expected


@pytest.mark.parametrize("record_type", METADATA)
def test_a_record_needs_its_feature_flag(record_type: int) -> None:
    kind = S_IFDIR if record_type != c.FCAPS else S_IFREG
    place = METADATA[record_type]
    features = BEST & ~place.feature
    if place.feature == Feature.ACL:
        features |= int(Feature.PERMISSIONS)
    assert accepts(kind, node_metadata(record_type))
    assert not accepts(kind, node_metadata(record_type), features)


@pytest.mark.parametrize("later", METADATA)
@pytest.mark.parametrize("earlier", METADATA)
def test_records_stand_in_the_order_of_the_table(earlier: int, later: int) -> None:
    """Each pair both ways, in a node that may have both."""
    if METADATA[earlier].rank >= METADATA[later].rank:
        return
    common = METADATA[earlier].kinds & METADATA[later].kinds
    if not common:
        assert c.FCAPS in (earlier, later)  # files only, and the default ACL's are for directories only
        return
    kind = S_IFDIR if S_IFDIR in common else S_IFREG
    right = node_metadata(earlier, later)
    assert accepts(kind, right)
    first, second = METADATA_EXAMPLES[earlier][0], METADATA_EXAMPLES[later][0]
    assert not accepts(kind, right.replace(first, b"").replace(second, second + first))


@pytest.mark.parametrize("record_type", METADATA)
def test_repetition(record_type: int) -> None:
    kind = S_IFDIR if record_type != c.FCAPS else S_IFREG
    examples = METADATA_EXAMPLES[record_type]
    metadata = node_metadata(record_type)
    assert not accepts(kind, metadata.replace(examples[0], examples[0] * 2))
    if METADATA[record_type].repeats:
        first, second = examples
        assert accepts(kind, metadata.replace(first, first + second))
        assert not accepts(kind, metadata.replace(first, second + first))


def test_acl_entries_need_the_unnamed_ones() -> None:
    assert not accepts(S_IFREG, METADATA_EXAMPLES[c.ACL_USER][0])
    assert not accepts(S_IFREG, METADATA_EXAMPLES[c.ACL_GROUP][0])
    assert not accepts(S_IFDIR, METADATA_EXAMPLES[c.ACL_DEFAULT_USER][0])
    assert accepts(S_IFDIR, r.AclDefault(7, 7, 7).encode())
    assert not accepts(S_IFDIR, r.AclDefault(7, 7, 7).encode() + METADATA_EXAMPLES[c.ACL_DEFAULT_GROUP][0])


@pytest.mark.parametrize(
    "content", [b"", r.Symlink(b"t").encode(), r.Device(1, 2).encode(), r.HEADER.pack(16, c.PAYLOAD)]
)
@pytest.mark.parametrize("kind", KINDS)
def test_each_type_of_node_has_its_own_content(kind: int, content: bytes) -> None:
    good = archive_with(kind, b"")
    usual = good[64 + 18 + 64 : -64]
    expected = content == (b"" if kind == S_IFDIR else usual)
    children = r.Filename(b"x").encode() + r.EntryRecord(BEST, mode_of(kind)).encode() + content
    if kind == S_IFDIR:
        children += encode_goodbye([], [], 0, 64)
    data = good[:64] + children + encode_goodbye(name_hashes([b"x"]), [64], 0, 64 + len(children))
    if expected:
        assert data == good
        decode_plain(data)
    else:
        with pytest.raises(FormatError):
            decode_plain(data)


UIDS16, UIDS32 = int(Feature.UIDS_16BIT), int(Feature.UIDS_32BIT)
REGULAR = S_IFREG | 0o666


@pytest.mark.parametrize(
    ("features", "fields", "valid"),
    [
        (0, (REGULAR, 0, 0, 0, 0), True),
        (0, (S_IFDIR | 0o777, 0, 0, 0, 0), True),
        (0, (S_IFREG | 0o644, 0, 0, 0, 0), False),
        (0, (S_IFDIR | 0o755, 0, 0, 0, 0), False),
        (Feature.READ_ONLY, (S_IFREG | 0o444, 0, 0, 0, 0), True),
        (Feature.READ_ONLY, (S_IFREG | 0o666, 0, 0, 0, 0), True),
        (Feature.READ_ONLY, (S_IFDIR | 0o555, 0, 0, 0, 0), True),
        (Feature.READ_ONLY, (S_IFDIR | 0o444, 0, 0, 0, 0), False),
        (Feature.READ_ONLY, (S_IFREG | 0o555, 0, 0, 0, 0), False),
        (Feature.PERMISSIONS, (S_IFREG | 0o7777, 0, 0, 0, 0), True),
        (Feature.ACL | Feature.UIDS_32BIT, (S_IFREG, 0, 0, 0, 0), True),
        (Feature.PERMISSIONS, (0o200000 | S_IFREG, 0, 0, 0, 0), False),
        (Feature.PERMISSIONS, (1 << 63 | S_IFREG, 0, 0, 0, 0), False),
        (Feature.PERMISSIONS, (0o644, 0, 0, 0, 0), False),
        (Feature.PERMISSIONS, (0o170644, 0, 0, 0, 0), False),
        (Feature.SYMLINKS, (S_IFLNK | 0o777, 0, 0, 0, 0), True),
        (Feature.SYMLINKS | Feature.PERMISSIONS, (S_IFLNK | 0o755, 0, 0, 0, 0), False),
        (0, (S_IFLNK | 0o777, 0, 0, 0, 0), False),
        (Feature.SYMLINKS | Feature.SOCKETS, (S_IFIFO | 0o666, 0, 0, 0, 0), False),
        (Feature.FIFOS, (S_IFIFO | 0o666, 0, 0, 0, 0), True),
        (Feature.FIFOS, (S_IFSOCK | 0o666, 0, 0, 0, 0), False),
        (Feature.SOCKETS, (S_IFSOCK | 0o666, 0, 0, 0, 0), True),
        (Feature.SOCKETS, (S_IFCHR | 0o666, 0, 0, 0, 0), False),
        (Feature.DEVICE_NODES, (S_IFCHR | 0o666, 0, 0, 0, 0), True),
        (Feature.DEVICE_NODES, (S_IFBLK | 0o666, 0, 0, 0, 0), True),
        (0, (REGULAR, int(Feature.FLAG_NOATIME), 0, 0, 0), False),
        (Feature.FLAG_NOATIME, (REGULAR, int(Feature.FLAG_NOATIME), 0, 0, 0), True),
        (Feature.FLAG_NOATIME, (REGULAR, int(Feature.FLAG_SYNC), 0, 0, 0), False),
        (Feature.FLAG_NOATIME | Feature.FIFOS, (S_IFIFO | 0o666, int(Feature.FLAG_NOATIME), 0, 0, 0), False),
        (Feature.FLAG_HIDDEN, (S_IFDIR | 0o777, int(Feature.FLAG_HIDDEN), 0, 0, 0), True),
        (Feature.SUBVOLUME, (S_IFDIR | 0o777, int(Feature.SUBVOLUME), 0, 0, 0), True),
        (Feature.SUBVOLUME, (REGULAR, int(Feature.SUBVOLUME), 0, 0, 0), False),
        (Feature.XATTRS, (REGULAR, int(Feature.XATTRS), 0, 0, 0), False),
        (0, (REGULAR, 0, 1, 0, 0), False),
        (0, (REGULAR, 0, 0, 1, 0), False),
        (UIDS16, (REGULAR, 0, 65534, 65534, 0), True),
        (UIDS16, (REGULAR, 0, 65535, 0, 0), False),
        (UIDS16, (REGULAR, 0, 0, 65536, 0), False),
        (UIDS32, (REGULAR, 0, 65536, 2**32 - 2, 0), True),
        (UIDS32, (REGULAR, 0, 65535, 0, 0), False),
        (UIDS32, (REGULAR, 0, 0, 65535, 0), False),
        (UIDS32, (REGULAR, 0, 2**32 - 1, 0, 0), False),
        (UIDS32, (REGULAR, 0, 0, 2**32, 0), False),
        (0, (REGULAR, 0, 0, 0, 1), False),
        (Feature.NSEC_TIME, (REGULAR, 0, 0, 0, c.U64_MAX - 1), True),
        (Feature.NSEC_TIME, (REGULAR, 0, 0, 0, c.U64_MAX), False),
        (Feature.USEC_TIME, (REGULAR, 0, 0, 0, 1_000), True),
        (Feature.USEC_TIME, (REGULAR, 0, 0, 0, 1_001), False),
        (Feature.SEC_TIME, (REGULAR, 0, 0, 0, 3 * 10**9), True),
        (Feature.SEC_TIME, (REGULAR, 0, 0, 0, 10**8), False),
        (Feature.SEC2_TIME, (REGULAR, 0, 0, 0, 4 * 10**9), True),
        (Feature.SEC2_TIME, (REGULAR, 0, 0, 0, 3 * 10**9), False),
    ],
)
def test_fields_of_an_entry(features: int, fields: tuple[int, int, int, int, int], valid: bool) -> None:
    rules = EntryRules(int(features))
    for _ in range(2):  # the second time is answered from what is known
        if valid:
            rules.check(*fields, 0)
        else:
            with pytest.raises(FormatError):
                rules.check(*fields, 0)


def test_what_is_known_stays_bounded() -> None:
    rules = EntryRules(UIDS32)
    for number in range(70_000, 80_000):
        rules.check(REGULAR, 0, number, 0, 0, 0)
    assert len(rules.known) <= 4096
    rules.check(REGULAR, 0, 70_000, 0, 0, 0)


def test_a_nodes_metadata_is_bounded_in_bytes_and_in_number() -> None:
    large = b"".join(r.Xattr(b"user.%04d" % number, b"v" * 65536).encode() for number in range(256))
    assert not accepts(S_IFREG, large)
    assert accepts(S_IFREG, large[: 255 * len(large) // 256])
    assert not accepts(S_IFREG, b"".join(r.Xattr(b"u.%05d" % number, b"").encode() for number in range(32769)))


def test_names_in_acls_need_user_names() -> None:
    acl = Acl(users=(AclEntry(1, b"bob", 7),), group_obj=7)
    features = int(Feature.ACL | Feature.UIDS_32BIT)
    top = Node(S_IFDIR | 0o755, acl=acl)
    for flags, valid in ((features, False), (features | int(Feature.USER_NAMES), True)):
        data = encode_node(top, flags)
        data += encode_goodbye([], [], 0, len(data))
        if valid:
            assert decode_plain(data) == [Plain(b"", b"", top, None), Leave(b"")]
        else:
            with pytest.raises(FormatError, match="ACL entry with a name"):
                decode_plain(data)
