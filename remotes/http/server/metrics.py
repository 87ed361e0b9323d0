"""What a server counts, and how Prometheus reads it.

Counting is additions to plain numbers in the loop's thread, reading happens there too, so that neither needs a lock;
prometheus_client only writes the text.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from itertools import accumulate
from typing import TYPE_CHECKING

import casync_py
from casync_py.remotes.http.terms import POSTED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric

    from casync_py.remotes.http.server.guard import Limits

METHODS = frozenset({"GET", "HEAD", "PUT", "POST", "OPTIONS"})
_BUCKETS_S = (0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0, 60.0)
_KINDS = {b".caibx": "index", b".caidx": "index", b".catar": "archive"}
_CHUNK = re.compile(rb".*/[0-9a-f]{64}(\.[^/]*)?", re.DOTALL)  # whatever suffix it has


class Metrics:
    """The counters of one server."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._requests: dict[tuple[str, str, int], int] = {}
        self._sent: dict[str, int] = {}
        self._durations: dict[str, list[int]] = {}
        self._seconds: dict[str, float] = {}
        self._registry: CollectorRegistry | None = None

    def count(self, method: str, kind: str, status: int, sent: int, seconds: float) -> None:
        """One request that is done.

        Args:
            kind: see `kind_of_request`.
            status: 0 for one that got no answer.
            sent: bytes of the answer's body.
        """
        key = (method if method in METHODS else "other", kind, status)
        self._requests[key] = self._requests.get(key, 0) + 1
        self._sent[kind] = self._sent.get(kind, 0) + sent
        self._seconds[kind] = self._seconds.get(kind, 0.0) + seconds
        durations = self._durations.get(kind)
        if durations is None:
            durations = self._durations[kind] = [0] * (len(_BUCKETS_S) + 1)
        durations[bisect_left(_BUCKETS_S, seconds)] += 1

    def text(self) -> bytes:
        """Everything, as Prometheus reads it."""
        from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest

        if self._registry is None:
            self._registry = CollectorRegistry()
            ProcessCollector(registry=self._registry)
            self._registry.register(self)
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """For prometheus_client's registry."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        version = GaugeMetricFamily("casync_build_info", "Always 1; the version is a label", labels=["version"])
        version.add_metric([casync_py.__version__], 1)
        yield version
        requests = CounterMetricFamily("casync_requests", "Requests answered", labels=["method", "kind", "status"])
        for (method, kind, status), number in self._requests.items():
            requests.add_metric([method, kind, str(status)], number)
        yield requests
        durations = HistogramMetricFamily("casync_request_seconds", "From head to last byte", labels=["kind"])
        for kind, numbers in self._durations.items():
            bounds = [*map(str, _BUCKETS_S), "+Inf"]
            durations.add_metric([kind], list(zip(bounds, accumulate(numbers), strict=True)), self._seconds[kind])
        yield durations
        sent = CounterMetricFamily("casync_response_bytes", "Bytes of answers' bodies", labels=["kind"])
        for kind, number in self._sent.items():
            sent.add_metric([kind], number)
        yield sent
        refused = CounterMetricFamily("casync_refused", "Connections ended by a limit", labels=["reason"])
        for reason, number in self._limits.refused.items():
            refused.add_metric([reason], number)
        yield refused
        yield from self._single_ones()

    def _single_ones(self) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        limits = self._limits
        yield CounterMetricFamily("casync_request_bytes", "Bytes of requests' bodies", value=limits.received)
        yield GaugeMetricFamily("casync_requests_in_flight", "Requests being answered", value=limits.busy)
        yield GaugeMetricFamily("casync_connections", "Connections that are open", value=len(limits.connections))


def kind_of_request(method: str, path: bytes, query: bytes) -> str:
    """One of few words, whatever the request is, for counting."""
    if method == "POST":
        return query.decode() if query in POSTED else "other"
    if method == "OPTIONS":
        return "options"
    kind = _KINDS.get(path[-6:])
    if kind is not None:
        return kind
    if path.startswith(b"/-/"):
        return "monitoring"
    return "chunk" if _CHUNK.fullmatch(path) else "page"
