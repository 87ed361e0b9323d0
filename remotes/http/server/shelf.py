"""The stores of a server, each opened once and found again by its path in URLs."""

from __future__ import annotations

import asyncio
import os
import time
from collections import OrderedDict
from contextlib import nullcontext
from typing import TYPE_CHECKING

from casync_py.remotes.http.server.answers import Refusal, of_os_error
from casync_py.remotes.http.server.commits import Commits
from casync_py.remotes.http.server.places import kind_of, shown
from casync_py.remotes.http.server.shared import SharedStore, make_room
from casync_py.store.castr import PREFIX
from casync_py.store.local import LocalStore

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from casync_py.ids import ChunkId
    from casync_py.options import StoreOptions
    from casync_py.remotes.http.server.places import Names, Places
    from casync_py.remotes.http.server.work import Work

_CHECK_S = 1.0  # for how long a directory that was replaced may still be the one that is served


class OpenStore(SharedStore):
    """A store on the shelf.

    Attributes:
        shown: its path in URLs.
        local: the store.
        commits: makes what was put durable.
        checked: when it was last seen to be what its path names (`time.monotonic`).
    """

    def __init__(self, names: Names, local: LocalStore, directory: int, work: Work) -> None:
        """Take `directory`, the descriptor through which the store's path goes."""
        super().__init__(work)
        self.shown = shown(names)
        self.local = local
        self.commits = Commits(local, work)
        self.checked = time.monotonic()
        self._directory = directory

    def reading(self, ids: Sequence[ChunkId]) -> AbstractContextManager[LocalStore]:  # noqa: ARG002 - all are at hand
        """As `Opened`."""
        return nullcontext(self.local)

    def stands_in(self, directory: int, name: str) -> bool:
        """Whether it is what is to be found under a name in a directory now."""
        mine, other = os.fstat(self._directory), os.fstat(directory)
        same = (mine.st_dev, mine.st_ino) == (other.st_dev, other.st_ino)
        return same and self.local.name.endswith(f"/{name}") and self.local.in_place()

    def close(self) -> None:
        directory, self._directory = self._directory, -1
        if directory >= 0:
            self.local.close()
            os.close(directory)


class Shelf:
    """Opens stores, once each, and closes those that were not used for longest."""

    def __init__(self, places: Places, options: StoreOptions, work: Work) -> None:
        self._places = places
        self._options = options
        self._work = work
        self._stores: OrderedDict[Names, OpenStore] = OrderedDict()
        self._opening = asyncio.Lock()

    def _at_hand(self, names: Names) -> OpenStore | None:
        """The store, if it is open and was checked a moment ago."""
        store = self._stores.get(names)
        if store is None or store.commits.failed or time.monotonic() - store.checked > _CHECK_S:
            return None
        return store

    async def open(self, names: Names, *, create: bool = False) -> OpenStore:
        """The store in the directory at `names`; enter it before anything else is awaited.

        Args:
            create: if it is absent, it is made when the first chunk is put.

        Raises:
            Refusal: it is absent, or cannot be opened.
        """
        store = self._at_hand(names)
        if store is not None:
            return store
        async with self._opening:
            store = self._stores.get(names)
            if store is not None:
                with store:
                    good = not store.commits.failed and await self._work.read(self._is_good, names, store)
                if good:
                    store.checked = time.monotonic()
                    self._stores.move_to_end(names)
                    return store
                del self._stores[names]
                store.retire()
            try:
                store = await self._work.read(self._open, names, create)
            except OSError as error:
                raise of_os_error(shown(names), error) from None
            make_room(self._stores)
            self._stores[names] = store
            return store

    # In a thread.

    def _is_good(self, names: Names, store: OpenStore) -> bool:
        try:
            directory, name = self._places.enter(names)
        except (OSError, Refusal):
            return False
        try:
            return store.stands_in(directory, name)
        finally:
            os.close(directory)

    def _open(self, names: Names, create: bool) -> OpenStore:
        directory, name = self._places.enter(names)
        try:
            path = f"/proc/self/fd/{directory}/{name}"
            if create and not os.path.isdir(path):
                check_new_name(names)
            return OpenStore(names, LocalStore(path, self._options, create=create), directory, self._work)
        except BaseException:
            os.close(directory)
            raise

    def close(self) -> None:
        """Close all stores, once no request is being answered; what was put and not made durable is removed."""
        while self._stores:
            self._stores.popitem()[1].close()


def check_new_name(names: Names) -> None:
    """A store must not be made where it would be in another one's way, or be taken for something else.

    Raises:
        Refusal: 403.
    """
    name = names[-1] if names else ""
    if not name or name.startswith(".") or PREFIX.fullmatch(name) or kind_of(name):
        raise Refusal(403, f"{shown(names)}: No store can be made under this name")
