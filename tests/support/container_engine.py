"""A container engine behind a socket, after the public description of the Docker Engine API 1.41.

A container is a process of this machine: the program that the container is told to run. Streams come multiplexed, names
are unique, images have to be there or be fetched, errors are `{"message": …}`, a pull that fails says so in its body.
"""

import asyncio
import contextlib
import json
import os
import re
import signal
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import uvicorn

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
JSON = [(b"content-type", b"application/json")]
PATH = re.compile(r"/v1\.41(/.*)")


@dataclass
class Container:
    """A container; `pieces` is what it has written."""

    container_id: str
    name: str
    body: dict[str, Any]
    status: str = "created"
    exit_code: int = 0
    process: asyncio.subprocess.Process | None = None
    pieces: list[bytes] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)


class ContainerEngine:
    """`images` are those that are there, `remote` those that can be fetched; `faults` are answered first.

    `asked` has the bodies by which containers were made.
    """

    def __init__(self) -> None:
        self.images = {"python:3.12"}
        self.remote = {"ghcr.io/acme/tool:1"}
        self.containers: dict[str, Container] = {}
        self.calls: list[tuple[str, str]] = []
        self.asked: list[dict[str, Any]] = []
        self.faults: list[int] = []
        self._made = 0
        self._running: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Message, receive: Callable[[], Awaitable[Message]], send: Send) -> None:
        """Answer one request."""
        body = b""
        while (message := await receive()).get("more_body") or message.get("body"):
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        matched = PATH.fullmatch(scope["path"])
        assert matched is not None, scope["path"]
        path, method = matched[1], scope["method"]
        self.calls.append((method, path))
        if self.faults:
            await _answer(send, self.faults.pop(0), {"message": "the engine is in trouble"})
            return
        query = dict(parse_qsl(scope["query_string"].decode()))
        match method, path.strip("/").split("/"):
            case "POST", ["images", "create"]:
                await self._pull(query, send)
            case "GET", ["containers", name, "logs"]:
                await self._logs(self.containers[name], send)
            case _:
                await _answer(send, *self._plain(method, path, query, json.loads(body or b"null")))

    def _plain(self, method: str, path: str, query: dict[str, str], body: Any) -> tuple[int, Any]:
        match method, path.strip("/").split("/"):
            case "GET", ["version"]:
                return 200, {"Version": "25.0", "ApiVersion": "1.44"}
            case "POST", ["containers", "prune"]:
                return 200, {"ContainersDeleted": None}
            case "GET", ["containers", "json"]:
                [wanted] = json.loads(query["filters"])["label"]
                found = [c for c in self.containers.values() if wanted in _labels(c)]
                return 200, [{"Id": c.container_id} for c in found]
            case "POST", ["containers", "create"]:
                return self._create(query["name"], body)
            case _, ["containers", name, *what] if name in self.containers:
                return self._one(method, self.containers[name], what)
        return 404, {"message": "No such container, or page"}

    def _one(self, method: str, container: Container, what: list[str]) -> tuple[int, Any]:
        if method == "DELETE":
            del self.containers[container.container_id]
            if container.process is not None and container.process.returncode is None:
                os.killpg(container.process.pid, signal.SIGKILL)
            return 204, None
        if what == ["start"]:
            if container.status == "created":
                container.status = "running"
                task = asyncio.create_task(self._run(container))
                self._running.add(task)
                task.add_done_callback(self._running.discard)
                return 204, None
            return 304, None
        state = {"Status": container.status, "ExitCode": container.exit_code, "OOMKilled": False, "Error": ""}
        return 200, {"Id": container.container_id, "Image": "sha256:abc", "State": state}

    def _create(self, name: str, body: dict[str, Any]) -> tuple[int, Any]:
        if body["Image"] not in self.images:
            return 404, {"message": f"No such image: {body['Image']}"}
        if any(container.name == name for container in self.containers.values()):
            return 409, {"message": f"Conflict. The container name {name} is already in use"}
        self.asked.append(body)
        self._made += 1
        made = Container(f"c{self._made}", name, body)
        self.containers[made.container_id] = made
        return 201, {"Id": made.container_id, "Warnings": []}

    async def _run(self, container: Container) -> None:
        argv = [*container.body.get("Entrypoint", []), *container.body["Cmd"]]
        env = dict(line.split("=", 1) for line in container.body["Env"]) | {"PATH": os.environ["PATH"]}
        container.process = process = await asyncio.create_subprocess_exec(
            *argv,
            env=env,
            cwd=container.body.get("WorkingDir"),  # mounts are where they are on the machine
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        await asyncio.gather(*(self._read(container, n) for n in (1, 2)))
        container.exit_code, container.status = await process.wait(), "exited"
        container.changed.set()

    async def _read(self, container: Container, stream: int) -> None:
        assert container.process is not None
        source = container.process.stdout if stream == 1 else container.process.stderr
        assert source is not None
        while data := await source.read(1_000):
            container.pieces.append(struct.pack(">BxxxL", stream, len(data)) + data)
            container.changed.set()

    async def _logs(self, container: Container, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        told = 0
        while container.status != "exited" or told < len(container.pieces):
            while told < len(container.pieces):
                piece = container.pieces[told]
                for part in (piece[:5], piece[5:20], piece[20:]):  # as a network may cut it
                    await send({"type": "http.response.body", "body": part, "more_body": True})
                told += 1
            if container.status != "exited":
                container.changed.clear()
                await container.changed.wait()
        await send({"type": "http.response.body", "body": b""})

    async def _pull(self, query: dict[str, str], send: Send) -> None:
        image = f"{query['fromImage']}:{query['tag']}" if "tag" in query else query["fromImage"]
        lines = [{"status": "Pulling"}]
        if image in self.remote:
            self.images.add(image)
        else:
            lines.append({"error": f"manifest for {image} not found"})
        await send({"type": "http.response.start", "status": 200, "headers": JSON})
        body = "".join(f"{json.dumps(line)}\r\n" for line in lines).encode()
        await send({"type": "http.response.body", "body": body})


def _labels(container: Container) -> list[str]:
    return [part for name, value in container.body["Labels"].items() for part in (name, f"{name}={value}")]


async def _answer(send: Send, status: int, value: object) -> None:
    await send({"type": "http.response.start", "status": status, "headers": JSON})
    await send({"type": "http.response.body", "body": b"" if value is None else json.dumps(value).encode()})


@contextlib.asynccontextmanager
async def serving(engine: ContainerEngine, socket: Path) -> AsyncIterator[str]:
    """Serve an engine at a socket, and give its address as in DOCKER_HOST."""
    server = uvicorn.Server(uvicorn.Config(engine, uds=str(socket), log_level="error", lifespan="off"))
    running = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    try:
        yield f"unix://{socket}"
    finally:
        for container in [*engine.containers.values()]:
            if container.process is not None and container.process.returncode is None:
                os.killpg(container.process.pid, signal.SIGKILL)
        server.should_exit = server.force_exit = True
        await running
