"""A platform that a test reaches over its api alone: `HttpWorld`, whatever the host behind it."""

import json
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import httpx

from tests.support.world import Document, World, until

NOWHERE = "http://127.0.0.1:1"
"""A place where nobody listens, for workers that are never asked."""

DECISION = {
    "ce-source": "/tests",
    "ce-specversion": "1.0",
    "ce-type": "io.neuralhive.decision.consolidated.v1",
}
AWAY = 599
"""Stands for the status of an answer that did not come."""


class HttpWorld(World[Document, Document]):
    """Everything by the api; a host says how to call it."""

    @abstractmethod
    async def call(self, method: str, path: str, body: object = None, **headers: str) -> tuple[int, Any]:
        """Send JSON, or bytes as they are; return status and JSON of the answer, status `AWAY` if there is none."""

    async def get(self, path: str, **parameters: Any) -> Any:
        """Return the JSON at `path`, which must be there."""
        status, document = await self.call("GET", f"{path}?{urlencode(parameters)}" if parameters else path)
        assert status == 200, (path, status, document, self.where)
        return document

    async def send(self, path: str, body: object = None, **headers: str) -> Any:
        """POST and return the JSON of the answer, which must be yes."""
        status, document = await self.call("POST", path, {} if body is None else body, **headers)
        assert status < 300, (path, status, document, self.where)
        return document

    async def register(
        self, worker_id: str = "w1", *capabilities: str, slots: int = 10, endpoint: str | None = None
    ) -> Document:
        """See `World.register`."""
        registration = {
            "worker_id": worker_id,
            "endpoint": endpoint or f"{NOWHERE}/{worker_id}",
            "capabilities": capabilities or ("python",),
            "slots": slots,
        }
        worker: Document = await self.send("/api/v1/workers", registration)
        return worker

    async def staff(self, url: str, *, count: int = 2, slots: int = 50) -> None:
        """Register the workers that live together at one address, as those of a `Stub` do."""
        for number in range(count):
            await self.register(f"w{number}", "python", "execute", slots=slots, endpoint=f"{url}/w/{number}")

    async def submit(self, data: Mapping[str, Any]) -> str:
        """See `World.submit`; a platform in trouble is asked again, as clients do."""
        headers = {**DECISION, "ce-id": str(uuid4())}

        async def accepted() -> Document | None:
            status, document = await self.call("POST", "/", data, **headers)
            assert status == 202 or status >= 500, (status, document, self.where)
            return document if status == 202 else None

        return str((await until(accepted, f"the decision to be accepted (see {self.where})"))["flow_id"])

    async def flow(self, flow_id: str) -> Document | None:
        """See `World.flow`."""
        status, document = await self.call("GET", f"/api/v1/flows/{flow_id}")
        return document if status == 200 else None

    async def tickets(self, flow_id: str) -> dict[str, Document]:
        """See `World.tickets`."""
        found: list[Document] = []
        cursor: str | None = ""
        while cursor is not None:
            page = await self._page(f"/api/v1/flows/{flow_id}/tickets?limit=500{cursor and f'&cursor={cursor}'}")
            found += page["items"]
            cursor = page["cursor"]
        return {ticket["task_id"]: ticket for ticket in found}

    async def history(self, flow_id: str) -> list[Document]:
        """See `World.history`."""
        return await self._after(f"/api/v1/flows/{flow_id}/history", "seq")

    async def letters(self) -> list[Document]:
        """See `World.letters`."""
        found: list[Document] = (await self._page("/api/v1/dead-letters?limit=500"))["items"]
        return found

    async def _after(self, path: str, position: str) -> list[Document]:
        entries: list[Document] = []
        while items := (await self._page(f"{path}?after={entries[-1][position] if entries else 0}"))["items"]:
            entries += items
        return entries

    async def _page(self, path: str) -> Any:
        """Return the JSON at `path` as soon as somebody answers."""

        async def answered() -> Any:
            status, document = await self.call("GET", path)
            assert status == 200 or status >= 500, (path, status, document, self.where)
            return document if status == 200 else None

        return await until(answered, f"{path} (see {self.where})")


@dataclass
class ClientWorld(HttpWorld):
    """An api that is called by a client, whose `base_url` it has."""

    client: httpx.AsyncClient

    @property
    def url(self) -> str:
        """The address of the api."""
        return str(self.client.base_url).rstrip("/")

    @property
    def where(self) -> str:
        """See `World.where`."""
        return self.url

    async def call(self, method: str, path: str, body: object = None, **headers: str) -> tuple[int, Any]:
        """See `HttpWorld.call`."""
        content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        given = {} if body is None else {"content-type": "application/json"}
        try:
            answer = await self.client.request(method, path, content=content, headers=given | headers)
        except httpx.TransportError as error:
            return AWAY, str(error)
        return answer.status_code, _json(answer)


def _json(answer: httpx.Response) -> Any:
    """Return the JSON of an answer, or its text if it is none: the answer of a proxy that is in trouble."""
    try:
        return answer.json() if answer.content else None
    except ValueError:
        return answer.text
