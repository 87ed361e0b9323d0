"""PUT: chunks, indexes and archives, each checked, and durable before success is told."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

from casync_py.errors import ChunkInvalid, FormatError
from casync_py.ids import ChunkId
from casync_py.remotes.http.server.answers import Refusal, answer, of_os_error
from casync_py.remotes.http.server.bodies import declared_size, pieces, whole
from casync_py.remotes.http.server.keeping import Keeper, digests_of
from casync_py.remotes.http.server.places import parse_path, shown
from casync_py.remotes.http.server.uploads import ArchiveContent, Content, IndexContent, Upload
from casync_py.remotes.http.terms import STORE_HEADER
from casync_py.store.chunk import Chunk

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from casync_py.remotes.http.server.calls import Call
    from casync_py.remotes.http.server.options import ServeOptions
    from casync_py.remotes.http.server.places import Names, Places
    from casync_py.remotes.http.server.shelf import OpenStore, Shelf
    from casync_py.remotes.http.server.work import Work

CHUNK_MAX = 64 << 20
"""Bytes of a chunk's file that is taken: with the plain form beside it, most of what a server may use of memory."""
DEFAULT_STORE = "default.castr"
_BESIDE_MAX = 16  # stores that are looked at beside an index

ContentT = TypeVar("ContentT", bound=Content)


class Writing:
    """Answers PUT."""

    def __init__(self, options: ServeOptions, places: Places, shelf: Shelf, work: Work) -> None:
        self._places = places
        self._shelf = shelf
        self._work = work
        self._limit = options.max_upload

    async def chunk(self, call: Call, names: Names, digits: str, compressed: bool) -> None:
        """A chunk's file: 201 once it is on disk, 204 if it was there.

        Raises:
            Refusal: 422, it does not match its id; or it cannot be received or written.
            Gone: the client went away.
        """
        digests = digests_of(call)
        chunk_id = ChunkId(bytes.fromhex(digits))
        with await self._shelf.open(names, create=True) as store:
            keeper = Keeper(store.local, digests, self._work)
            async with whole(call, CHUNK_MAX, self._work) as (body, alone), store.commits:
                chunk = Chunk(chunk_id, stored=body) if compressed else Chunk(chunk_id, plain=body)
                try:
                    added = await keeper.keep(chunk, alone=alone)
                    await store.commits.durable()
                except ChunkInvalid as error:
                    raise Refusal(422, str(error)) from None
                except OSError as error:
                    await store.commits.look_at()
                    raise of_os_error(f"Chunk {digits} in {store.shown}", error) from None
        await answer(call.send, 201 if added else 204)

    async def index(self, call: Call, names: Names) -> None:
        """An index, whose chunks must be here: 201 once it is on disk, 204 if it replaced another one.

        Raises:
            Refusal: 409, chunks are lacking; 400, it is no index; or it cannot be received or written.
            Gone: the client went away.
        """
        said = call.header(STORE_HEADER.lower().encode())
        named = None if said is None else parse_path(said.strip())
        async with self._upload(call, names, IndexContent) as upload, AsyncExitStack() as using:
            stores = await self._stores_of(names, named, using)
            await self._check_chunks(names, named, upload.content, stores)
            await self._commit(names, upload)
        await answer(call.send, 204 if upload.replaces else 201)

    async def archive(self, call: Call, names: Names) -> None:
        """An archive, of which only the beginning is looked at: 201 once it is on disk, 204 if it replaced another one.

        Raises:
            Refusal: 400, it is no archive; or it cannot be received or written.
            Gone: the client went away.
        """
        async with self._upload(call, names, ArchiveContent) as upload:
            await self._commit(names, upload)
        await answer(call.send, 204 if upload.replaces else 201)

    @asynccontextmanager
    async def _upload(
        self, call: Call, names: Names, make: Callable[[str, str], ContentT]
    ) -> AsyncIterator[Upload[ContentT]]:
        """Receive a file to beside its place; what was not committed at the end is removed.

        Raises:
            Refusal, Gone: as `index`.
        """
        declared_size(call, self._limit)
        try:
            upload = await self._work.write(Upload, self._places, names, make)
        except OSError as error:
            raise of_os_error(shown(names), error) from None
        try:
            try:
                async for piece in pieces(call, self._limit):
                    await self._work.write(upload.content.feed, piece)
                await self._work.write(upload.content.finish)
            except FormatError as error:
                raise Refusal(400, str(error)) from None
            except OSError as error:
                raise of_os_error(shown(names), error) from None
            yield upload
        finally:
            await self._work.write(upload.close)

    async def _commit(self, names: Names, upload: Upload[ContentT]) -> None:
        try:
            await self._work.flush(upload.content.commit)
        except OSError as error:
            raise of_os_error(shown(names), error) from None

    async def _stores_of(self, names: Names, named: Names | None, using: AsyncExitStack) -> list[OpenStore]:
        """The stores that an index's chunks may be in, which nobody collects garbage in until `using` ends."""
        stores = []
        for candidate in [named] if named is not None else await self._work.read(self._beside, names):
            try:
                store = using.enter_context(await self._shelf.open(candidate))
            except Refusal as refusal:
                if refusal.status != 404:
                    raise
                continue
            await using.enter_async_context(store.commits)
            stores.append(store)
        return stores

    def _beside(self, names: Names) -> list[Names]:
        """The stores beside a file: default.castr first. In a thread."""
        folder = names[:-1]
        try:
            entries = self._places.list_folder(folder) or []
        except (OSError, Refusal):
            entries = []
        found = [entry.name for entry in entries if entry.name.endswith(".castr") and entry.name != DEFAULT_STORE]
        return [(*folder, name) for name in (DEFAULT_STORE, *found[: _BESIDE_MAX - 1])]

    async def _check_chunks(
        self, names: Names, named: Names | None, content: IndexContent, stores: list[OpenStore]
    ) -> None:
        """Return when all chunks of an index are there, durable.

        Raises:
            Refusal: 409, they are not all there.
        """
        store_name = shown(named or (*names[:-1], DEFAULT_STORE))
        try:
            count, first = await self._work.write(content.lacking, [store.local for store in stores])
            if first is not None:
                others = "" if len(stores) < 2 else f" and {len(stores) - 1} other stores beside it"
                lacking = "1 chunk is" if count == 1 else f"{count} chunks are"
                raise Refusal(409, f"{shown(names)}: {lacking} not in {store_name}{others}, the first is {first}")
            for store in stores:
                await store.commits.durable()
        except ChunkInvalid as error:
            raise Refusal(409, f"{shown(names)}: Chunk {error.chunk_id} in {store_name}: {error.reason}") from None
        except OSError as error:
            raise of_os_error(store_name, error) from None
