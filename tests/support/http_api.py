"""The real api over a real platform on the memory adapters, and a client that holds every answer to /openapi.json."""

import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import jsonschema
from fastapi import FastAPI
from pydantic import SecretStr

from functions._adapters.http.cloudevents import write_batch, write_structured
from functions._adapters.http.outbound import OutboundClient
from functions._core.events.envelope import CloudEvent
from functions._engine.settings import Settings
from functions._engine.webhooks import Webhooks
from functions._hosts.api_app import api_services
from functions._hosts.webhooks import local_webhooks, webhook_services
from functions.api.app import create_app
from functions.api.services import MAX_BODY
from tests.support.http_world import ClientWorld
from tests.support.world import LocalWorld, running_world

WEBHOOK_SECRET = "a-secret-of-pipelines"
ALERT_SECRET = "a-secret-of-an-alertmanager"

PROBLEM = "application/problem+json"

_CHECKS: list["Documented"] = []
"""One at most: the document is the same for every app, and making it takes longer than most tests."""


@dataclass
class Api(ClientWorld):
    """A client of an app without a network, and the platform behind it."""

    app: FastAPI
    world: LocalWorld
    webhooks: Webhooks

    async def post(self, *events: CloudEvent, token: str | None = None, batch: bool = False) -> httpx.Response:
        """Send events to the ingress."""
        headers, body = write_batch(events) if batch else write_structured(events[0])
        return await self.client.post("/", content=body, headers=headers | bearer(token))

    async def report(
        self, assignment: Mapping[str, Any], event: CloudEvent, token: str | None = None
    ) -> httpx.Response:
        """Send a report where the assignment says, with its token unless another one is given."""
        headers, body = write_structured(event)
        path = assignment["callback_url"].removeprefix("http://127.0.0.1:1")
        return await self.client.post(path, content=body, headers=headers | bearer(token or assignment["token"]))


def bearer(token: str | None) -> dict[str, str]:
    """Return the header that carries a token."""
    return {"authorization": f"Bearer {token}"} if token else {}


def problem_of(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """Return the problem document that an answer has to be."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, PROBLEM), answer.text
    document: dict[str, Any] = answer.json()
    assert (document["status"], document["code"]) == (status, code), document
    return document


@asynccontextmanager
async def running_api(
    tmp_path: Path, *, max_body: int = MAX_BODY, api_key: str | None = None, rate_limits: str = "off", **settings: Any
) -> AsyncIterator[Api]:
    """Run a platform over the memory adapters and serve its api without a network."""

    async def check() -> None:
        """The memory is always there."""

    async with running_world(tmp_path, **settings) as world:
        chosen = Settings(
            data=tmp_path,
            api_key=SecretStr(api_key) if api_key else None,
            webhook_secret=SecretStr(WEBHOOK_SECRET),
            alert_webhook_secret=SecretStr(ALERT_SECRET),
            rate_limits=rate_limits,
        )
        calls = OutboundClient(chosen.networks)
        webhooks = local_webhooks(world.platform, chosen, calls)
        app = create_app(
            replace(
                api_services(world.platform, chosen, check),
                webhooks=webhook_services(world.platform, chosen, calls, webhooks),
                calls=calls,
                max_body=max_body,
                version="1.2.3",
                hosts=None,
            )
        )
        if not _CHECKS:
            _CHECKS.append(Documented(app.openapi()))
        app.openapi_schema = _CHECKS[0].document
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app, raise_app_exceptions=False),
            base_url="http://api",
            event_hooks={"response": [*_CHECKS]},
        ) as client:
            yield Api(client, app, world, webhooks)
        await webhooks.close()
        await calls.aclose()


class Documented:
    """Checks that an answer to a documented path is one that the document announces."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        patterns = ((re.sub(r"\{letter_id\}", ".+", path), path) for path in document["paths"])
        self._paths = [(re.compile(re.sub(r"\{\w+\}", "[^/]+", pattern)), path) for pattern, path in patterns]

    async def __call__(self, answer: httpx.Response) -> None:
        await answer.aread()
        operation = self._operation(answer.request)
        if operation is None:
            return
        responses = operation["responses"]
        described = responses.get(str(answer.status_code), responses["default"])
        if not answer.content:
            assert "content" not in described, f"{answer.request.url} is empty"
            return
        media = answer.headers["content-type"].partition(";")[0]
        assert media in described["content"], f"{answer.request.url} answers {answer.status_code} with {media}"
        if media.endswith("json"):
            schema = described["content"][media]["schema"] | {"components": self.document["components"]}
            jsonschema.Draft202012Validator(schema).validate(json.loads(answer.content))

    def _operation(self, request: httpx.Request) -> Mapping[str, Any] | None:
        for pattern, path in self._paths:
            if pattern.fullmatch(request.url.path):
                operation: Mapping[str, Any] | None = self.document["paths"][path].get(request.method.lower())
                if operation is not None:
                    return operation
        return None
