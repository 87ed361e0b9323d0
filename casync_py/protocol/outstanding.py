"""The chunks that were requested and not answered yet, on the side that asks and on the side that answers.

casync's server answers each id once per session and ignores it when it is asked for again. Ends of this package answer
again; so that an answer on its way is not sent twice, who asks again before the answer came says so in the REQUEST.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from casync_py.errors import ProtocolError
from casync_py.protocol.local_error import LocalProtocolError
from casync_py.protocol.messages import OUTSTANDING_MAX, REQUEST_IDS_MAX, Request

if TYPE_CHECKING:
    from casync_py.ids import ChunkId


class Asked:
    """What we asked the other end for.

    Attributes:
        once: the other end answers each id once per session.
        ids: asked for, not answered.
        answered: answered in this session, by an end that answers only once.
    """

    __slots__ = ("answered", "ids", "once")

    def __init__(self, *, once: bool) -> None:
        self.once = once
        self.ids: set[ChunkId] = set()
        self.answered: set[ChunkId] = set()

    def ask(self, request: Request, *, dialect: bool) -> list[Request]:
        """Note a request that goes out.

        Returns:
            What to send for it: in the dialect, ids that were asked for before stand in a message of their own.

        Raises:
            LocalProtocolError: no ids or too many of them, or an id that will not be answered again.
        """
        if not 0 < len(request.ids) <= REQUEST_IDS_MAX:
            raise LocalProtocolError(f"A REQUEST has 1 to {REQUEST_IDS_MAX} ids, not {len(request.ids)}")
        if not self.answered.isdisjoint(request.ids):
            raise LocalProtocolError("A chunk that was answered is asked for again, and the other end answers once")
        new = [chunk_id for chunk_id in request.ids if chunk_id not in self.ids]
        if len(self.ids) + len(set(new)) > OUTSTANDING_MAX:
            raise LocalProtocolError(f"More than {OUTSTANDING_MAX} chunks are asked for")
        if dialect:
            known = [chunk_id for chunk_id in request.ids if chunk_id in self.ids]
            requests = [Request(new, request.urgent)] if new else []
            if known:
                requests.append(Request(known, request.urgent, unanswered=True))
        else:
            requests = [request._replace(unanswered=False)]
        self.ids.update(new)
        return requests

    def arrived(self, chunk_id: ChunkId) -> None:
        """Note an answer.

        Raises:
            ProtocolError: to a question that was not asked.
        """
        try:
            self.ids.remove(chunk_id)
        except KeyError:
            raise ProtocolError(f"Chunk {chunk_id.hex()} was sent without being requested") from None
        if self.once:
            self.answered.add(chunk_id)


class Owed:
    """What the other end asked us for.

    Attributes:
        ids: asked for, not answered.
    """

    __slots__ = ("_limit", "_recent", "_recent_order", "ids")

    def __init__(self, limit: int) -> None:
        """Args: limit: how many ids may wait for an answer."""
        self._limit = limit
        self.ids: set[ChunkId] = set()
        # casync asks again, urgently, for what it waits for; by then the answer may be on its way. Older answers have
        # arrived, and whoever asks for them again has lost them.
        self._recent: set[ChunkId] = set()
        self._recent_order: deque[ChunkId] = deque()

    def asked(self, request: Request, *, dialect: bool) -> Request | None:
        """Note a request that came in.

        Returns:
            The part of it that wants an answer, each id once; None if nothing does. Ids that wait for their answer
            already stay in it: an urgent request moves them forward.

        Raises:
            ProtocolError: a flag of the dialect outside it, or more chunks than may be outstanding.
        """
        if request.unanswered and not dialect:
            raise ProtocolError("REQUEST with unknown flags")
        if request.unanswered:
            ids = [chunk_id for chunk_id in dict.fromkeys(request.ids) if chunk_id in self.ids]
        else:
            ids = [chunk_id for chunk_id in dict.fromkeys(request.ids) if chunk_id not in self._recent]
        self.ids.update(ids)
        if len(self.ids) > self._limit:
            raise ProtocolError(f"More than {self._limit} chunks were requested at once")
        return Request(ids, request.urgent) if ids else None

    def answer(self, chunk_id: ChunkId, *, dialect: bool) -> None:
        """Note an answer that goes out.

        Raises:
            LocalProtocolError: nobody asked.
        """
        if chunk_id not in self.ids:
            raise LocalProtocolError(f"Nobody asked for chunk {chunk_id.hex()}")
        self.ids.remove(chunk_id)
        if dialect:
            return
        self._recent.add(chunk_id)
        self._recent_order.append(chunk_id)
        if len(self._recent_order) > OUTSTANDING_MAX:
            self._recent.discard(self._recent_order.popleft())
