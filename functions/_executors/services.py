"""Services of the worker's owner that executors have their jobs done by: a CI server, a cluster, a scanner.

Where one is, and how the worker proves itself to it, are variables of the worker, never words of a plan:

    WORKER_<NAME>_URL          the address of its API
    WORKER_<NAME>_TOKEN        the token, or
    WORKER_<NAME>_TOKEN_FILE   the file that has it, read for each call, as it may be replaced
    WORKER_<NAME>_CA_FILE      the certificates that are trusted in place of the system's

The address may be in any network, as the owner has chosen it; a call never leaves it: what a plan says becomes quoted
parts of a path, a query or a body, and no redirect is followed.
"""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, TypeVar
from urllib.parse import quote, urlencode, urlsplit

from pydantic import ValidationError

from functions._adapters.http.client import HttpClient
from functions._adapters.http.reply import Bounds, NotReached, Reply
from functions._core.errors import Rejected, Unavailable
from functions._core.records.json_text import parse_json
from functions._core.records.values import Model
from functions._executors.calls import PASSING, UNREAD
from functions._executors.meter import counted
from functions._executors.port import CallFailed, ToolCheck
from functions._executors.settings import PREFIX, ExecutorSettings

M = TypeVar("M", bound=Model)

SECONDS = 30.0
"""How long a call may take."""

ANSWER_BYTES = 4 * 1024 * 1024
"""Bytes of an answer: a page of a list, a report."""

TOKEN_BYTES = 16 * 1024


@dataclass(frozen=True, slots=True)
class ServiceConnection:
    """Where a service is, and how the worker proves itself to it."""

    name: str
    """As in the variables, in upper case."""
    url: str
    """The address of its API, without a slash at its end; empty where the owner has set none."""
    token: str = field(default="", repr=False)
    token_file: Path | None = None
    ca_file: str | None = None

    @classmethod
    def from_settings(cls, settings: ExecutorSettings, name: str, url: str = "") -> "ServiceConnection":
        """Read it from the worker's variables; `url` is where the service is unless they say otherwise.

        Raises `ValueError` for what is no address, and for one with a name, a password or a query.
        """
        prefix = f"{PREFIX}{name}_"
        given = {key: settings.environment.get(prefix + key, "").strip() for key in ("URL", "TOKEN", "TOKEN_FILE")}
        address = (given["URL"] or url).rstrip("/")
        parts = urlsplit(address)
        if address and (parts.scheme not in {"http", "https"} or not parts.hostname or "@" in parts.netloc):
            raise ValueError(f"{prefix}URL is no http or https address without a name and a password")
        if parts.query or parts.fragment:
            raise ValueError(f"{prefix}URL has a query or a fragment")
        return cls(
            name=name,
            url=address,
            token=given["TOKEN"],
            token_file=Path(given["TOKEN_FILE"]) if given["TOKEN_FILE"] else None,
            ca_file=settings.environment.get(f"{prefix}CA_FILE", "").strip() or None,
        )

    async def credential(self) -> str:
        """Return the token; empty where there is none. Raises `CallFailed` for a file that cannot be read."""
        if self.token or self.token_file is None:
            return self.token
        try:
            return await asyncio.to_thread(_first_bytes, self.token_file)
        except (OSError, UnicodeDecodeError) as error:
            text = f"{PREFIX}{self.name}_TOKEN_FILE cannot be read"
            raise CallFailed(text, transient=False, kind="no_credential") from error


class ServiceApi:
    """Calls one service; `aclose` ends its connections."""

    headers: ClassVar[Mapping[str, str]] = {}
    """Headers of each call, beside those that prove who calls."""

    def __init__(self, connection: ServiceConnection) -> None:
        """Open nothing yet."""
        self.connection = connection
        self._client = HttpClient(ca_file=connection.ca_file)

    def proof(self, credential: str) -> Mapping[str, str]:
        """Return the headers that prove who calls, for a credential; a service of another kind says it otherwise."""
        return {"authorization": f"Bearer {credential}"}

    async def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        seconds: float = SECONDS,
    ) -> Reply:
        """Return the answer, whatever its status; `body` is bytes, or becomes JSON. Raises `CallFailed`.

        `path` begins with a slash; its parts that are not constants are quoted (`part`).
        """
        credential = await self.connection.credential()
        proof = self.proof(credential) if credential else {}
        sent = {"accept": "application/json", **self.headers, **proof, **(headers or {})}
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        if body is not None:
            sent.setdefault("content-type", "application/json")
        url = self.connection.url + path + (f"?{urlencode(query)}" if query else "")
        return await self.sent(method, url, sent, data, Bounds(max(0.1, seconds), max(0.1, seconds), ANSWER_BYTES))

    async def sent(self, method: str, url: str, headers: Mapping[str, str], body: bytes, bounds: Bounds) -> Reply:
        """Return the answer to a request as it is given, of this service or for it; raise `CallFailed`."""
        if not self.connection.url:
            text = f"the worker's owner has not said where this service is ({PREFIX}{self.connection.name}_URL)"
            raise CallFailed(text, transient=False, kind="not_configured")
        try:
            return await counted(self._client.request(method, url, headers, body, bounds))
        except NotReached as error:
            raise CallFailed(str(error)) from error
        except Unavailable as error:
            raise CallFailed(str(error), kind="no_answer") from error
        except Rejected as refusal:
            raise CallFailed(str(refusal), transient=False, kind=refusal.code) from refusal

    async def good(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        seconds: float = SECONDS,
        repeatable: bool = True,
    ) -> Reply:
        """Return an answer of success; raise `CallFailed` for any other.

        `repeatable` is False for a call that must not be made twice: then only a refusal that says that nothing was
        done is transient, and a call without an answer is not.
        """
        try:
            reply = await self.call(method, path, query=query, body=body, headers=headers, seconds=seconds)
        except CallFailed as failure:
            if repeatable or failure.kind != "no_answer":
                raise
            raise CallFailed(
                f"nobody knows whether it was done: {failure}", transient=False, kind="unknown_outcome"
            ) from failure
        return self.checked(reply, method, repeatable=repeatable)

    def checked(self, reply: Reply, method: str, *, repeatable: bool = True) -> Reply:
        """Return an answer of success; raise `CallFailed` for any other."""
        if reply.ok:
            return reply
        raise self.refused(reply, method, repeatable=repeatable)

    def refused(self, reply: Reply, method: str, *, repeatable: bool = True) -> CallFailed:
        """Return what an answer without success means; its text is not in it, as it may repeat a credential."""
        passing = reply.status in (PASSING if repeatable else UNREAD)
        asked = reply.retry_after(datetime.now(UTC)) if passing else None
        return CallFailed(
            f"{urlsplit(self.connection.url).hostname} answered {reply.status} to {method}",
            transient=passing,
            after_seconds=asked.total_seconds() if asked is not None else 0.0,
            kind="unexpected_status",
        )

    async def reached(self, path: str, what: str) -> ToolCheck:
        """Return whether a harmless GET succeeds with the worker's credentials, for `flowc doctor executor`."""
        try:
            reply = await self.call("GET", path, seconds=10)
        except CallFailed as failure:
            return ToolCheck(what, False, str(failure))
        return ToolCheck(what, reply.ok, f"{self.connection.url} answered {reply.status}")

    async def aclose(self) -> None:
        """Close all connections."""
        await self._client.aclose()


def json_of_reply(reply: Reply) -> Any:  # noqa: ANN401 any JSON
    """Return the JSON of an answer; raise `CallFailed` for what is none, or was cut."""
    if not reply.complete:
        raise CallFailed(f"the answer has more than {ANSWER_BYTES} bytes", transient=False, kind="answer_too_large")
    try:
        return parse_json(reply.body)
    except Rejected as error:
        raise CallFailed("the answer is not JSON", kind="not_json") from error


def read_as(model: type[M], reply: Reply) -> M:
    """Return an answer as what it should be; raise `CallFailed` for one that is something else."""
    return _read(model, json_of_reply(reply))


def read_list(model: type[M], reply: Reply) -> tuple[M, ...]:
    """Return a list of such answers; raise `CallFailed`."""
    listed = json_of_reply(reply)
    if not isinstance(listed, list):
        raise CallFailed("the answer is no list", kind="not_understood")
    return tuple(_read(model, one) for one in listed)


def _read(model: type[M], value: object) -> M:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise CallFailed("the answer is not what it should be", kind="not_understood") from error


def part(text: str) -> str:
    """Return text as one part of a path, whatever is in it."""
    quoted = quote(text, safe="")
    return quoted.replace(".", "%2E") if text in {".", ".."} else quoted


def _first_bytes(file: Path) -> str:
    with file.open("rb") as opened:
        return opened.read(TOKEN_BYTES).decode("ascii").strip()
