"""The API of a container engine over its socket: Docker Engine, and Podman, which speaks it, too (version 1.41)."""

import json
import struct
from collections.abc import AsyncIterator, Mapping
from http import HTTPStatus
from typing import Any, NamedTuple

import httpx

from functions._executors.meter import heard
from functions._executors.port import CallFailed

VERSION = "/v1.41"
SOCKET = "unix:///var/run/docker.sock"
CALL_SECONDS = 30.0
ANSWER_BYTES = 1024 * 1024
"""Bytes of an answer that is read: what an engine says of a container has some kilobytes."""

FRAME = struct.Struct(">BxxxL")
"""The head of a piece of a log: which stream it is of, and how many bytes follow."""

KEY_LABEL = "io.neuralhive.flowc.key"
"""The label of a container that has the key of its job."""


class Piece(NamedTuple):
    """A piece of what a container writes: 1 is standard output, 2 standard error."""

    stream: int
    data: bytes


class ContainerApi:
    """Calls one engine."""

    def __init__(self, host: str = SOCKET) -> None:
        """Open nothing yet; `host` is as in DOCKER_HOST. Raises `ValueError` for one that is no socket."""
        scheme, _, path = host.partition("://")
        if scheme != "unix" or not path.startswith("/"):
            raise ValueError("DOCKER_HOST is not unix:// and a path: an engine is reached by its socket alone")
        transport = httpx.AsyncHTTPTransport(uds=path)
        self._client = httpx.AsyncClient(transport=transport, base_url="http://engine", timeout=CALL_SECONDS)
        self._client.event_hooks = {"response": [heard]}

    async def call(
        self, method: str, path: str, body: object = None, query: Mapping[str, str] | None = None
    ) -> tuple[int, Any]:
        """Return status and JSON of an answer; raise `CallFailed` where none came, or the engine is in trouble."""
        try:
            async with self._client.stream(method, VERSION + path, json=body, params=query) as answer:
                text = b""
                async for part in answer.aiter_raw():
                    text += part
                    if len(text) > ANSWER_BYTES:
                        raise CallFailed("the engine said too much", transient=False)
        except (httpx.HTTPError, OSError) as error:
            raise CallFailed(f"the container engine cannot be reached: {type(error).__name__}") from error
        if answer.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise CallFailed(f"the container engine answered {answer.status_code}: {_message(text)}")
        return answer.status_code, _value(text)

    async def good(self, method: str, path: str, body: object = None, query: Mapping[str, str] | None = None) -> Any:  # noqa: ANN401 any JSON
        """Return the JSON of an answer of success, also of one that changed nothing; raise `CallFailed`."""
        status, value = await self.call(method, path, body, query)
        if status >= HTTPStatus.BAD_REQUEST:
            said = value.get("message", "") if isinstance(value, Mapping) else ""
            raise CallFailed(f"the container engine refused: {said[:300]}", transient=False, kind="refused")
        return value

    async def pull(self, image: str, seconds: float) -> None:
        """Fetch an image; raise `CallFailed`. What goes wrong on the way stands in the answer, after its status."""
        name, separator, tag = image.rpartition(":")
        named = (name, tag) if separator and "/" not in tag and "@" not in image else (image, "latest")
        query = {"fromImage": image} if "@" in image else {"fromImage": named[0], "tag": named[1]}
        failed = ""
        try:
            async with self._client.stream("POST", f"{VERSION}/images/create", params=query, timeout=seconds) as answer:
                async for line in answer.aiter_lines():
                    said = _value(line.encode())
                    failed = str(said.get("error") or failed) if isinstance(said, Mapping) else failed
        except (httpx.HTTPError, OSError) as error:
            raise CallFailed(f"the image cannot be fetched: {type(error).__name__}") from error
        if failed or answer.status_code >= HTTPStatus.BAD_REQUEST:
            transient = answer.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR
            raise CallFailed(f"the image cannot be fetched: {failed[:300]}", transient=transient, kind="no_image")

    async def log(self, container: str) -> AsyncIterator[Piece]:
        """Yield what a container writes, from its beginning to its end; raise `CallFailed`."""
        query = {"stdout": "1", "stderr": "1", "follow": "1"}
        path = f"{VERSION}/containers/{container}/logs"
        held, stream, left = b"", 1, 0
        try:
            async with self._client.stream("GET", path, params=query, timeout=httpx.Timeout(30, read=None)) as answer:
                async for part in answer.aiter_raw():
                    held += part
                    while held and (left or len(held) >= FRAME.size):
                        if not left:
                            stream, left = FRAME.unpack(held[: FRAME.size])
                            held = held[FRAME.size :]
                        data, held = held[:left], held[left:]
                        left -= len(data)
                        if data:
                            yield Piece(stream, data)
        except (httpx.HTTPError, OSError) as error:
            raise CallFailed(f"the log of the container is lost: {type(error).__name__}") from error

    async def aclose(self) -> None:
        """Close all connections."""
        await self._client.aclose()


def _value(text: bytes) -> Any:  # noqa: ANN401 any JSON
    try:
        return json.loads(text) if text.strip() else None
    except ValueError:
        return None


def _message(text: bytes) -> str:
    value = _value(text)
    return str(value.get("message", ""))[:300] if isinstance(value, Mapping) else ""
