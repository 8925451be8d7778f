"""API Gateway's HTTP API in front of a function: requests become payloads of version 2.0, and its answers responses.

It is test equipment: one stage, no authoriser. It keeps the limits that clients meet: 10 MB a request, and what Lambda
takes and gives.
"""

import base64
import json
import re
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl
from uuid import uuid4

from aiohttp import web
from multidict import CIMultiDict

from tests.aws.functions import LARGEST, Function, FunctionError

REQUEST_LIMIT = 10 * 1024 * 1024
TEXT = ("text/", "application/json", "application/xml", "application/javascript", "application/x-www-form-urlencoded")
"""How the types of bodies begin that are passed on as text; others, `application/cloudevents+json` for one, are not.

What API Gateway does with such types of JSON it does not say; a function has to take either.
"""


@dataclass
class HttpApi:
    """An API; `routes` says which function answers what, such as `GET /x/{name}`, or `$default`."""

    routes: dict[str, Function] = field(default_factory=dict)
    url: str = ""
    statuses: list[int] = field(default_factory=list)

    _runner: web.AppRunner | None = None

    async def open(self) -> None:
        """Listen on 127.0.0.1."""
        app = web.Application(client_max_size=2 * REQUEST_LIMIT)
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def close(self) -> None:
        """Break off what is being answered, and take no more."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        body = await request.read()
        route = self._route(request)
        if route not in self.routes:
            return web.json_response({"message": "Not Found"}, status=404)
        event = payload(request, body, route)
        if len(body) > REQUEST_LIMIT or len(json.dumps(event)) > LARGEST:
            return web.json_response({"message": "Request Entity Too Large"}, status=413)
        try:
            answer = response(await self.routes[route].invoke(event))
        except FunctionError as error:
            late = error.answer.get("errorType") == "Sandbox.Timedout"
            status, said = (503, "Service Unavailable") if late else (500, "Internal Server Error")
            answer = web.json_response({"message": said}, status=status)
        self.statuses.append(answer.status)
        return answer

    def _route(self, request: web.Request) -> str:
        """Return the route of a request: the one whose path fits, or else the default one."""
        for route in self.routes:
            method, _, path = route.partition(" ")
            pattern = "/".join(
                (".+" if part.endswith("+}") else "[^/]+") if part.startswith("{") else re.escape(part)
                for part in path.split("/")
            )
            if method == request.method and re.fullmatch(pattern, request.path):
                return route
        return "$default"


def payload(request: web.Request, body: bytes, route: str) -> dict[str, Any]:
    """Return a request as a function gets it."""
    headers: dict[str, str] = {}
    for name, value in request.headers.items():
        if name.lower() != "cookie":
            headers[name.lower()] = f"{headers[name.lower()]},{value}" if name.lower() in headers else value
    headers |= {"x-forwarded-for": request.remote or "", "x-forwarded-port": "443", "x-forwarded-proto": "https"}
    query: dict[str, str] = {}
    for name, value in parse_qsl(request.rel_url.raw_query_string, keep_blank_values=True):
        query[name] = f"{query[name]},{value}" if name in query else value
    cookies = [one.strip() for value in request.headers.getall("cookie", []) for one in value.split(";")]
    text = request.headers.get("content-type", "text/plain").lower().startswith(TEXT)
    now = datetime.now(UTC)
    event: dict[str, Any] = {
        "version": "2.0",
        "routeKey": route,
        "rawPath": request.path,
        "rawQueryString": request.rel_url.raw_query_string,
        "headers": headers,
        "requestContext": {
            "accountId": "000000000000",
            "apiId": "api",
            "domainName": request.host,
            "domainPrefix": "api",
            "http": {
                "method": request.method,
                "path": request.path,
                "protocol": "HTTP/1.1",
                "sourceIp": request.remote,
                "userAgent": request.headers.get("user-agent", ""),
            },
            "requestId": str(uuid4()),
            "routeKey": route,
            "stage": "$default",
            "time": now.strftime("%d/%b/%Y:%H:%M:%S +0000"),
            "timeEpoch": int(time.time() * 1000),
        },
        "isBase64Encoded": bool(body) and not text,
    }
    if cookies:
        event["cookies"] = cookies
    if query:
        event["queryStringParameters"] = query
    if body:
        event["body"] = body.decode() if text else base64.b64encode(body).decode()
    return event


def response(answer: Any) -> web.Response:
    """Return what a function answers as a client gets it."""
    if not isinstance(answer, dict) or "statusCode" not in answer:
        return web.json_response(answer)
    body = answer.get("body") or ""
    headers: CIMultiDict[str] = CIMultiDict((name, str(value)) for name, value in answer.get("headers", {}).items())
    headers.popall("content-length", None)
    headers.setdefault("content-type", "text/plain;charset=utf-8")
    for cookie in answer.get("cookies", []):
        headers.add("set-cookie", cookie)
    data = base64.b64decode(body) if answer.get("isBase64Encoded") else body.encode()
    return web.Response(status=int(answer["statusCode"]), headers=headers, body=data)
