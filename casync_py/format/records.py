"""The records of an archive: one value each, `encode()` for the whole record, `decode()` for its body.

A record's own limits are checked here; what a record may follow and what the feature flags allow is the archive
decoder's business. Source: spec section 1.1.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, NamedTuple, Self

from casync_py.errors import FormatError
from casync_py.format import constants as c
from casync_py.format.goodbye import Goodbye

if TYPE_CHECKING:
    from collections.abc import Callable

HEADER = Struct("<QQ")
_ENTRY = Struct("<8Q")
_ENTRY_BODY = Struct("<6Q")
_ONE = Struct("<3Q")
_ONE_BODY = Struct("<Q")
_TWO = Struct("<4Q")
_TWO_BODY = Struct("<2Q")
_FOUR = Struct("<6Q")
_FOUR_BODY = Struct("<4Q")

_PERMISSIONS = 7
_BAD_IN_NAMES = frozenset(range(32)) | {0x2F, 0x7F}  # control bytes and the slash
_NOT_A_CHILD = (b".", b"..")


def encode_text(record_type: int, text: bytes) -> bytes:
    """A record whose body is `text` and a NUL."""
    return b"%b%b\0" % (HEADER.pack(c.HEADER_SIZE + len(text) + 1, record_type), text)


def decode_text(body: bytes, offset: int, what: str) -> bytes:
    """The text of a body that is one, not empty, with a NUL at its end and none before."""
    if len(body) < 2 or body.find(0) != len(body) - 1:
        raise FormatError(f"{what} is empty or not one text that ends with NUL", offset)
    return body[:-1]


def _decode_account(body: bytes, offset: int, what: str) -> bytes:
    """A user's or group's name. Wider than casync's reader, which refuses `.`, `$`, leading digits that its own writer
    writes; `root` is refused as there, because id 0 never has a name record."""
    name = decode_text(body, offset, what)
    if name == b"root" or not _BAD_IN_NAMES.isdisjoint(name):
        raise FormatError(f"{what} {name!r} is not allowed", offset)
    return name


def _permissions(value: int, offset: int, what: str) -> int:
    if value > _PERMISSIONS:
        raise FormatError(f"{what} with permissions {value:#x}", offset)
    return value


class EntryRecord(NamedTuple):
    """Starts a node; its fields are numbers whose meaning depends on the feature flags."""

    feature_flags: int
    mode: int
    flags: int = 0
    uid: int = 0
    gid: int = 0
    mtime_ns: int = 0

    def encode(self) -> bytes:
        return _ENTRY.pack(c.ENTRY_SIZE, c.ENTRY, *self)

    @classmethod
    def decode(cls, body: bytes, _offset: int) -> Self:
        return cls._make(_ENTRY_BODY.unpack(body))


class User(NamedTuple):
    name: bytes

    def encode(self) -> bytes:
        return encode_text(c.USER, self.name)

    @classmethod
    def decode(cls, body: bytes, offset: int) -> Self:
        return cls(_decode_account(body, offset, "USER"))


class Group(NamedTuple):
    name: bytes

    def encode(self) -> bytes:
        return encode_text(c.GROUP, self.name)

    @classmethod
    def decode(cls, body: bytes, offset: int) -> Self:
        return cls(_decode_account(body, offset, "GROUP"))


class Xattr(NamedTuple):
    name: bytes
    value: bytes

    def encode(self) -> bytes:
        size = c.HEADER_SIZE + len(self.name) + 1 + len(self.value)
        return b"%b%b\0%b" % (HEADER.pack(size, c.XATTR), self.name, self.value)

    @classmethod
    def decode(cls, body: bytes, offset: int) -> Self:
        name, nul, value = body.partition(b"\0")
        if not nul or len(name) > c.NAME_MAX or not 0 < name.find(b".") < len(name) - 1:
            raise FormatError(f"XATTR {name!r} is not allowed", offset)
        if len(value) > c.XATTR_VALUE_MAX:
            raise FormatError(f"XATTR with a value of {len(value)} bytes", offset)
        return cls(name, value)


class _AclNamed(NamedTuple):
    id: int
    permissions: int
    name: bytes = b""


class AclUser(_AclNamed):
    """A user's entry of an access ACL; `name` is empty where there is none."""

    __slots__ = ()
    TYPE = c.ACL_USER

    def encode(self) -> bytes:
        name = self.name + b"\0" if self.name else b""
        return _TWO.pack(c.HEADER_SIZE + 16 + len(name), self.TYPE, self.id, self.permissions) + name

    @classmethod
    def decode(cls, body: bytes, offset: int) -> Self:
        number, permissions = _TWO_BODY.unpack_from(body)
        name = _decode_account(body[16:], offset, "ACL entry's name") if len(body) > 16 else b""
        return cls(number, _permissions(permissions, offset, "ACL entry"), name)


class AclGroup(AclUser):
    __slots__ = ()
    TYPE = c.ACL_GROUP


class AclDefaultUser(AclUser):
    __slots__ = ()
    TYPE = c.ACL_DEFAULT_USER


class AclDefaultGroup(AclUser):
    __slots__ = ()
    TYPE = c.ACL_DEFAULT_GROUP


class AclGroupObj(NamedTuple):
    permissions: int

    def encode(self) -> bytes:
        return _ONE.pack(c.ACL_GROUP_OBJ_SIZE, c.ACL_GROUP_OBJ, self.permissions)

    @classmethod
    def decode(cls, body: bytes, offset: int) -> Self:
        return cls(_permissions(_ONE_BODY.unpack(body)[0], offset, "ACL_GROUP_OBJ"))


class AclDefault(NamedTuple):
    """The unnamed entries of a default ACL. Only `mask` may be absent (-1), as the kernel has it too."""

    user_obj: int
    group_obj: int
    other: int
    mask: int = -1

    def encode(self) -> bytes:
        return _FOUR.pack(c.ACL_DEFAULT_SIZE, c.ACL_DEFAULT, *(value & c.U64_MAX for value in self))

    @classmethod
    def decode(cls, body: bytes, offset: int) -> Self:
        user_obj, group_obj, other, mask = _FOUR_BODY.unpack(body)
        for value in (user_obj, group_obj, other, 0 if mask == c.U64_MAX else mask):
            _permissions(value, offset, "ACL_DEFAULT")
        return cls(user_obj, group_obj, other, -1 if mask == c.U64_MAX else mask)


class SELinux(NamedTuple):
    label: bytes

    def encode(self) -> bytes:
        return encode_text(c.SELINUX, self.label)

    @classmethod
    def decode(cls, body: bytes, offset: int) -> Self:
        return cls(decode_text(body, offset, "SELINUX"))


class FCaps(NamedTuple):
    """Raw value of the xattr `security.capability`."""

    value: bytes

    def encode(self) -> bytes:
        return HEADER.pack(c.HEADER_SIZE + len(self.value), c.FCAPS) + self.value

    @classmethod
    def decode(cls, body: bytes, _offset: int) -> Self:
        return cls(body)


class QuotaProjid(NamedTuple):
    projid: int

    def encode(self) -> bytes:
        return _ONE.pack(c.QUOTA_PROJID_SIZE, c.QUOTA_PROJID, self.projid)

    @classmethod
    def decode(cls, body: bytes, offset: int) -> Self:
        (projid,) = _ONE_BODY.unpack(body)
        if not 1 <= projid <= c.PROJID_MAX:
            raise FormatError(f"QUOTA_PROJID {projid} is out of range", offset)
        return cls(projid)


class Symlink(NamedTuple):
    target: bytes

    def encode(self) -> bytes:
        return encode_text(c.SYMLINK, self.target)

    @classmethod
    def decode(cls, body: bytes, offset: int) -> Self:
        return cls(decode_text(body, offset, "SYMLINK"))


class Device(NamedTuple):
    major: int
    minor: int

    def encode(self) -> bytes:
        return _TWO.pack(c.DEVICE_SIZE, c.DEVICE, self.major, self.minor)

    @classmethod
    def decode(cls, body: bytes, offset: int) -> Self:
        major, minor = _TWO_BODY.unpack(body)
        if major > c.DEVICE_MAJOR_MAX or minor > c.DEVICE_MINOR_MAX:
            raise FormatError(f"DEVICE {major}:{minor} is out of range", offset)
        return cls(major, minor)


class Filename(NamedTuple):
    name: bytes

    def encode(self) -> bytes:
        return encode_text(c.FILENAME, self.name)

    @classmethod
    def decode(cls, body: bytes, offset: int) -> Self:
        name = decode_text(body, offset, "FILENAME")
        if b"/" in name or name in _NOT_A_CHILD:
            raise FormatError(f"FILENAME {name!r} is not allowed", offset)
        return cls(name)


Record = (
    EntryRecord | User | Group | Xattr | AclUser | AclGroupObj | AclDefault | SELinux | FCaps | QuotaProjid
    | Symlink | Device | Filename | Goodbye
)  # fmt: skip


class RecordType(NamedTuple):
    """What is known of a record before it is read: `floor` and `ceiling` bound its size, header included.

    `decode` takes the body and the record's offset (for errors); None where the body is a stream (PAYLOAD).
    """

    name: str
    floor: int
    ceiling: int
    decode: Callable[[bytes, int], Record] | None


_H = c.HEADER_SIZE
_NAMED = _H + c.NAME_MAX + 1

RECORDS: dict[int, RecordType] = {
    c.ENTRY: RecordType("ENTRY", c.ENTRY_SIZE, c.ENTRY_SIZE, EntryRecord.decode),
    c.USER: RecordType("USER", _H + 2, _NAMED, User.decode),
    c.GROUP: RecordType("GROUP", _H + 2, _NAMED, Group.decode),
    c.XATTR: RecordType("XATTR", _H + 4, _NAMED + c.XATTR_VALUE_MAX, Xattr.decode),
    c.ACL_USER: RecordType("ACL_USER", _H + 16, _NAMED + 16, AclUser.decode),
    c.ACL_GROUP: RecordType("ACL_GROUP", _H + 16, _NAMED + 16, AclGroup.decode),
    c.ACL_GROUP_OBJ: RecordType("ACL_GROUP_OBJ", c.ACL_GROUP_OBJ_SIZE, c.ACL_GROUP_OBJ_SIZE, AclGroupObj.decode),
    c.ACL_DEFAULT: RecordType("ACL_DEFAULT", c.ACL_DEFAULT_SIZE, c.ACL_DEFAULT_SIZE, AclDefault.decode),
    c.ACL_DEFAULT_USER: RecordType("ACL_DEFAULT_USER", _H + 16, _NAMED + 16, AclDefaultUser.decode),
    c.ACL_DEFAULT_GROUP: RecordType("ACL_DEFAULT_GROUP", _H + 16, _NAMED + 16, AclDefaultGroup.decode),
    c.SELINUX: RecordType("SELINUX", _H + 2, _H + c.LABEL_MAX + 1, SELinux.decode),
    c.FCAPS: RecordType("FCAPS", _H, _H + c.FCAPS_MAX, FCaps.decode),
    c.QUOTA_PROJID: RecordType("QUOTA_PROJID", c.QUOTA_PROJID_SIZE, c.QUOTA_PROJID_SIZE, QuotaProjid.decode),
    c.SYMLINK: RecordType("SYMLINK", _H + 2, _H + c.TARGET_MAX + 1, Symlink.decode),
    c.DEVICE: RecordType("DEVICE", c.DEVICE_SIZE, c.DEVICE_SIZE, Device.decode),
    c.PAYLOAD: RecordType("PAYLOAD", _H, c.OFFSET_MAX, None),
    c.FILENAME: RecordType("FILENAME", _H + 2, _NAMED, Filename.decode),
    c.GOODBYE: RecordType("GOODBYE", _H + c.GOODBYE_TAIL_SIZE, c.OFFSET_MAX, Goodbye),
}
