"""Stores that many requests share: open while somebody uses them, and for the next who comes, up to a number."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Self, TypeVar

if TYPE_CHECKING:
    from collections import OrderedDict
    from types import TracebackType

    from casync_py.remotes.http.server.places import Names
    from casync_py.remotes.http.server.work import Work

_OPEN_MAX = 64  # stores that nobody uses stay open up to this many


S = TypeVar("S", bound="SharedStore")


class SharedStore(ABC):
    """A store; `with` keeps it open. All but the closing happens in the event loop's thread."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._users = 0
        self._retired = False

    def __enter__(self) -> Self:
        self._users += 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._users -= 1
        if self._retired and not self._users:
            self._work.flush(self.close)

    @property
    def used(self) -> bool:
        return self._users > 0

    def retire(self) -> None:
        """Nobody new gets it: close it as soon as nobody uses it."""
        self._retired = True
        if not self._users:
            self._work.flush(self.close)

    @abstractmethod
    def close(self) -> None:
        """Close it, which may take a while; twice is fine."""


def make_room(stores: OrderedDict[Names, S]) -> None:
    """Before one more is added: retire those that were not used for longest, and are not now, where there are many."""
    surplus = len(stores) + 1 - _OPEN_MAX
    for names, store in list(stores.items()) if surplus > 0 else ():
        if surplus > 0 and not store.used:
            del stores[names]
            store.retire()
            surplus -= 1
