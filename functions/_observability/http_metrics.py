"""Counts HTTP requests by route, never by path: a path holds ids. What breaks one is a line in the log."""

from collections.abc import Awaitable, Callable, MutableMapping
from time import perf_counter
from typing import Any

from functions._observability.logs import log
from functions._observability.metrics import Metrics

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]

METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
UNKNOWN = "unmatched"
FIRST_ERROR, FIRST_FAULT, ABSENT = 400, 500, 404

QUERIES = {
    "/api/v1/flows/{flow_id}": "status",
    "/api/v1/flows/{flow_id}/tickets": "tickets",
    "/api/v1/flows/{flow_id}/history": "history",
    "/api/v1/flows/{flow_id}/result": "result",
    "/api/v1/flows/{flow_id}/decision": "decision",
    "/api/v1/why/{id}": "why",
}
"""Routes that are questions about one flow."""


IDS = {name: name for name in ("flow_id", "ticket_id", "worker_id", "letter_id")} | {
    "workflow_id": "flow_id",
    "agent_id": "worker_id",
}
"""Parts of a path that say what a request is about, and the fields of a line that they are."""


class MeasuredApp:
    """An ASGI application whose requests are counted."""

    def __init__(self, app: AsgiApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = perf_counter()
        status, answered = FIRST_FAULT, False

        async def noting(message: Message) -> None:
            nonlocal status, answered
            if message["type"] == "http.response.start":
                status, answered = message["status"], True
            await send(message)

        try:
            await self._app(scope, receive, noting)
        except Exception as error:
            route = getattr(scope.get("route"), "path", UNKNOWN)
            ids = {IDS[name]: value for name, value in scope.get("path_params", {}).items() if name in IDS}
            log.exception("request.failed", method=scope["method"], route=route, **ids, error=repr(error))
            if not answered:
                raise  # the server answers
        finally:
            self._count(scope, status, perf_counter() - begun)

    def _count(self, scope: Scope, status: int, duration: float) -> None:
        method = scope["method"] if scope["method"] in METHODS else "other"
        route = getattr(scope.get("route"), "path", UNKNOWN)
        code = str(status)
        self._metrics.count("api_requests_total", method, route, code)
        self._metrics.time("api_request_duration_seconds", duration, method, route)
        if status >= FIRST_ERROR:
            self._metrics.count("api_errors_total", method, route, code)
        query = QUERIES.get(route) if method == "GET" else None
        if query is not None:
            self._metrics.time("neural_hive_flow_c_workflow_query_duration_seconds", duration, query)
            if status >= FIRST_ERROR:
                reason = "unknown" if status == ABSENT else "failed" if status >= FIRST_FAULT else "refused"
                self._metrics.count("neural_hive_flow_c_workflow_query_failures_total", query, reason)
