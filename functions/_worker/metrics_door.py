"""`GET /metrics` of a worker, in front of whatever else it answers."""

import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from ipaddress import ip_address
from urllib.parse import urlsplit

from functions._worker.inbox import Inbox, Message, Receive, Send

PATH = "/metrics"
TEXT = b"text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True)
class WorkerPage:
    """What a worker tells of its metrics, and to whom."""

    text: Callable[[], bytes]
    """Returns the exposition format of Prometheus."""
    token: str = field(default="", repr=False)
    """The bearer token that is asked for; without one clients on the worker's own machine alone are answered."""
    port: int | None = None
    """Where a worker listens that asks for its tickets; None: nowhere."""


class MetricsDoor:
    """An ASGI application that answers for metrics, and leaves all else to the inbox, if there is one."""

    def __init__(self, page: WorkerPage, behind: Inbox | None = None) -> None:
        self._page = page
        self._behind = behind

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request; whoever may not read is told nothing, and nothing is counted for him."""
        if scope["type"] != "http":
            return
        asked = (scope["method"], scope["path"]) == ("GET", PATH)
        if not asked and self._behind is not None:
            await self._behind(scope, receive, send)
            return
        status, body = HTTPStatus.NOT_FOUND, b""
        if asked:
            allowed = self._may_read(scope)
            status = HTTPStatus.OK if allowed else HTTPStatus.UNAUTHORIZED
            body = self._page.text() if allowed else b""
        headers = [(b"content-type", TEXT), (b"content-length", str(len(body)).encode())]
        headers += [(b"www-authenticate", b"Bearer")] if status is HTTPStatus.UNAUTHORIZED else []
        await send({"type": "http.response.start", "status": status.value, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _may_read(self, scope: Message) -> bool:
        if self._page.token:
            given = [value for name, value in scope["headers"] if name.lower() == b"authorization"]
            wanted = f"Bearer {self._page.token}".encode()
            return len(given) == 1 and hmac.compare_digest(given[0], wanted)
        hosts = [value.decode("latin-1") for name, value in scope["headers"] if name.lower() == b"host"]
        # A web page can lead a name of its own to this machine, and would be a client of it.
        return len(hosts) == 1 and _is_here(_name_in(hosts[0])) and _is_here((scope.get("client") or ("",))[0])


def _name_in(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _is_here(name: str) -> bool:
    try:
        return name == "localhost" or ip_address(name).is_loopback
    except ValueError:
        return False
