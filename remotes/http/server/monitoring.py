"""What is for monitoring, as an app of its own: /-/health and /-/metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

if TYPE_CHECKING:
    from starlette.requests import Request

    from casync_py.remotes.http.server.metrics import Metrics

HEALTH, METRICS = b"/-/health", b"/-/metrics"
_METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_NOT_KEPT = {"cache-control": "no-store"}


def monitoring(metrics: Metrics) -> Starlette:
    """The app, for requests of these two."""

    async def health(_request: Request) -> Response:
        return PlainTextResponse("ok\n", headers=_NOT_KEPT)

    async def numbers(_request: Request) -> Response:
        return Response(metrics.text(), media_type=_METRICS_TYPE, headers=_NOT_KEPT)

    return Starlette(routes=[Route(HEALTH.decode(), health), Route(METRICS.decode(), numbers)])
