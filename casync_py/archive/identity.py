"""Users and groups: numbers to names and back, through the system's name service, and what of them an archive has."""

from __future__ import annotations

import errno
import grp
import os
import pwd
from functools import lru_cache
from typing import TYPE_CHECKING

from casync_py.format.flags import ANY_UIDS, Feature

if TYPE_CHECKING:
    from collections.abc import Callable

_REMEMBERED = 4096  # trees have few owners; a name service over the network takes milliseconds an answer
_INVALID = frozenset({0xFFFF, 0xFFFFFFFF})  # (uid_t) -1, in 16 and in 32 bits


class Identities:
    """What one run knows of users and groups; make a new one for each run, so that changed accounts are seen.

    Attributes:
        user_name, group_name: id -> name, empty where there is none.
        user_id, group_id: name -> id, None where there is none.
    """

    def __init__(self) -> None:
        self.user_name = lru_cache(_REMEMBERED)(_user_name)
        self.group_name = lru_cache(_REMEMBERED)(_group_name)
        self.user_id = lru_cache(_REMEMBERED)(_user_id)
        self.group_id = lru_cache(_REMEMBERED)(_group_id)


class StoredOwners:
    """Ids and names of owners as the feature flags let them into an archive. Source: spec 1.3, 1.5.

    Attributes:
        user, group: id -> (stored id, 0 without numeric flags; name, empty where none is stored).
        owner: (uid, gid) -> (stored uid, stored gid, user name, group name).
    """

    def __init__(self, features: int, identities: Identities) -> None:
        self._numeric = bool(features & ANY_UIDS)
        self._largest = 0xFFFF if features & Feature.UIDS_16BIT else 0xFFFFFFFF
        self._names = bool(features & Feature.USER_NAMES)
        self._identities = identities
        self.user = lru_cache(_REMEMBERED)(self._user)
        self.group = lru_cache(_REMEMBERED)(self._group)
        self.owner = lru_cache(_REMEMBERED)(self._owner)

    def _user(self, uid: int) -> tuple[int, bytes]:
        return self._stored(uid, self._identities.user_name)

    def _group(self, gid: int) -> tuple[int, bytes]:
        return self._stored(gid, self._identities.group_name)

    def _owner(self, uid: int, gid: int) -> tuple[int, int, bytes, bytes]:
        (stored_uid, user), (stored_gid, group) = self.user(uid), self.group(gid)
        return stored_uid, stored_gid, user, group

    def _stored(self, id_: int, name_of: Callable[[int], bytes]) -> tuple[int, bytes]:
        name = b""
        if not self._numeric and not self._names:
            return 0, name
        if id_ in _INVALID:
            raise OSError(errno.EINVAL, f"User or group id {id_} cannot be archived")
        if id_ > self._largest:
            raise OSError(errno.EPROTONOSUPPORT, f"User or group id {id_} is too large for 16bit-uids")
        if self._names and id_:  # root is root by its number alone
            name = name_of(id_) or (b"" if self._numeric else b"%d" % id_)
        return (id_ if self._numeric else 0), name


def _user_name(uid: int) -> bytes:
    try:
        return os.fsencode(pwd.getpwuid(uid).pw_name)
    except KeyError:
        return b""


def _group_name(gid: int) -> bytes:
    try:
        return os.fsencode(grp.getgrgid(gid).gr_name)
    except KeyError:
        return b""


def _user_id(name: bytes) -> int | None:
    try:
        return pwd.getpwnam(os.fsdecode(name)).pw_uid
    except (KeyError, ValueError):  # ValueError: a NUL in the name
        return None


def _group_id(name: bytes) -> int | None:
    try:
        return grp.getgrnam(os.fsdecode(name)).gr_gid
    except (KeyError, ValueError):
        return None
