"""Users and groups: numbers to names and back, through the system's name service."""

from __future__ import annotations

import grp
import os
import pwd
from functools import lru_cache

_REMEMBERED = 4096  # trees have few owners; a name service over the network takes milliseconds an answer


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
