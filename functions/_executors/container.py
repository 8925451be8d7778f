"""The executor `container`: an image that is run by Docker or Podman, without rights, network and writable files.

The engine keeps the container when a worker dies: it is found again by the label with the key of its job. One that has
succeeded stays for an hour, as its worker may die before the platform has heard of it.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from typing import Any, ClassVar

from functions._core.errors import Rejected
from functions._core.executors.container import ContainerOutputs, ContainerParameters
from functions._core.executors.table import WORK
from functions._core.masking import Mask, MaskedStream
from functions._core.records.json_text import parse_json
from functions._core.records.values import TaskType
from functions._executors.engine import KEY_LABEL, SOCKET, ContainerApi
from functions._executors.patterns import admit
from functions._executors.port import (
    CallFailed,
    JobContext,
    JobExecutor,
    JobFailed,
    JobHandle,
    JobRunning,
    JobState,
    JobSucceeded,
    ToolCheck,
)
from functions._executors.settings import ExecutorSettings
from functions._executors.tail import FLOOD_BYTES, VALUE_BYTES, ProgressLines, Tail

MIB = 1024 * 1024
KEPT = "1h"
"""How long the engine keeps a container that has ended."""

LOOK_SECONDS = 1.0
LOG_SECONDS = 5.0
"""How long the rest of the log of a container that has ended may be on its way."""

Context = JobContext[ContainerParameters]


class ContainerLog:
    """What a container has written so far."""

    def __init__(self, context: Context) -> None:
        mask = Mask(context.secrets)
        self.tails = {1: Tail(mask), 2: Tail(mask)}
        self.value = bytearray()
        self.flooded = False
        self._lines = {1: ProgressLines(context.progress), 2: ProgressLines(context.progress)}
        self._write = context.write
        self._masked = {1: MaskedStream(mask), 2: MaskedStream(mask)}

    async def follow(self, engine: ContainerApi, container: str) -> None:
        """Read the log to its end."""
        async for stream, data in engine.log(container):
            if stream not in self.tails or self.flooded:
                continue
            self.tails[stream].add(data)
            self._lines[stream].add(data)
            self._write(self._masked[stream].add(data))
            if stream == 1:
                self.value += data[: VALUE_BYTES + 1 - len(self.value)]
            self.flooded = self.tails[1].total + self.tails[2].total > FLOOD_BYTES
        for masked in self._masked.values():
            self._write(masked.end())


class ContainerExecutor(JobExecutor[ContainerParameters]):
    """Runs containers by an engine of this machine."""

    name: ClassVar[str] = "container"
    detached: ClassVar[bool] = True
    family: ClassVar[str] = "execute"
    task_types: ClassVar[frozenset[TaskType]] = WORK
    Parameters = ContainerParameters
    Outputs = ContainerOutputs

    def __init__(self, settings: ExecutorSettings) -> None:
        self._settings = settings
        self._engine = ContainerApi(settings.environment.get("DOCKER_HOST") or SOCKET)
        self._logs: dict[str, tuple[ContainerLog, asyncio.Task[None]]] = {}

    async def start(self, context: Context) -> JobHandle:
        """Start the container, or find that of an earlier attempt."""
        given = context.parameters
        admit(given.image, self._settings.images, "this image (WORKER_IMAGES)")
        if (known := await self.known(context)) is not None:
            return JobHandle(job_id=known, adopted=True)
        with suppress(CallFailed):  # a matter of room, not of this job
            ended = json.dumps({"label": [KEY_LABEL], "until": [KEPT]})
            await self._engine.call("POST", "/containers/prune", query={"filters": ended})
        made = await self._made(context)
        await self._engine.good("POST", f"/containers/{made}/start")
        return JobHandle(job_id=made)

    async def poll(self, context: Context, handle: JobHandle) -> JobState:
        """Look at the container, whose log is read beside."""
        log, reading = self._log(context, handle.job_id)
        status, about = await self._engine.call("GET", f"/containers/{handle.job_id}/json")
        if status == HTTPStatus.NOT_FOUND:
            return JobFailed("lost", "the container is not there any more")
        state = about["State"]
        if log.flooded:
            await self.cancel(context, handle)
            return JobFailed("output_too_large", f"it wrote more than {FLOOD_BYTES} bytes", retryable=False)
        if state["Status"] not in {"exited", "dead"}:
            return JobRunning(pause_seconds=LOOK_SECONDS)
        await asyncio.wait({reading}, timeout=LOG_SECONDS)
        self._forget(handle.job_id)
        ended = await asyncio.to_thread(self.judged, context, state, log, str(about.get("Image", "")))
        if isinstance(ended, JobFailed):
            await self.removed(handle.job_id)
        return ended

    def judged(self, context: Context, state: Mapping[str, Any], log: ContainerLog, image: str) -> JobState:
        """Return what the end of a container means; runs beside the event loop."""
        return _judged(context, state, log, image)

    def place(self, context: Context) -> tuple[Path, Path] | None:  # noqa: ARG002 - for those that inherit
        """Return a folder of this machine that the container has at the same path, and where in it it runs."""
        return None

    async def cancel(self, context: Context, handle: JobHandle) -> None:  # noqa: ARG002 - the port's
        """Kill and remove the container."""
        self._forget(handle.job_id)
        await self.removed(handle.job_id)

    def outlives(self, parameters: ContainerParameters) -> bool:  # noqa: ARG002 - the port's
        """No: the next worker may be on another machine, with another engine."""
        return False

    async def check(self) -> Sequence[ToolCheck]:
        """Ask the engine for its version."""
        allowed = ", ".join(self._settings.images)
        images = ToolCheck("images", bool(allowed), f"WORKER_IMAGES allows {allowed or 'none'}")
        try:
            said = await self._engine.good("GET", "/version")
        except CallFailed as failure:
            return ToolCheck("engine", False, str(failure)), images
        return ToolCheck("engine", True, f"version {said.get('Version')}, API {said.get('ApiVersion')}"), images

    async def aclose(self) -> None:
        """Let go of the engine; containers that run are cancelled before."""
        for job_id in [*self._logs]:
            self._forget(job_id)
        await self._engine.aclose()

    async def known(self, context: Context) -> str | None:
        """Return the container of this key that runs or has succeeded; one that has failed is removed."""
        of_key = json.dumps({"label": [f"{KEY_LABEL}={context.idempotency_key}"]})
        for found in await self._engine.good("GET", "/containers/json", query={"all": "1", "filters": of_key}):
            container = str(found["Id"])
            status, about = await self._engine.call("GET", f"/containers/{container}/json")
            state = about["State"] if status == HTTPStatus.OK else {"Status": "dead"}
            if state["Status"] == "created":  # its worker died between the two calls
                await self._engine.good("POST", f"/containers/{container}/start")
            if state["Status"] in {"created", "running", "restarting"} or state.get("ExitCode") == 0:
                return container
            await self.removed(container)
        return None

    async def _made(self, context: Context) -> str:
        """Return a new container; its image is fetched where it is not there."""
        body = _body(context, self.place(context), network=self._settings.program_network)
        named = {"name": f"flowc-{context.idempotency_key}"}
        status, value = await self._engine.call("POST", "/containers/create", body, named)
        if status == HTTPStatus.NOT_FOUND and context.parameters.pull == "missing":
            context.log(f"fetching {context.parameters.image}")
            await self._engine.pull(context.parameters.image, context.seconds_left)
            value = await self._engine.good("POST", "/containers/create", body, named)
        elif status == HTTPStatus.CONFLICT:
            raise CallFailed("another attempt makes the same container just now")  # the next call will find it
        elif status >= HTTPStatus.BAD_REQUEST:
            said = str(value.get("message", ""))[:300] if isinstance(value, Mapping) else ""
            raise CallFailed(f"no container: {said}", transient=False, kind="no_container")
        return str(value["Id"])

    def _log(self, context: Context, container: str) -> tuple[ContainerLog, asyncio.Task[None]]:
        if container not in self._logs:
            log = ContainerLog(context)
            reading = asyncio.create_task(log.follow(self._engine, container))
            reading.add_done_callback(lambda task: task.cancelled() or task.exception())  # a log that is lost
            self._logs[container] = log, reading
        return self._logs[container]

    def _forget(self, container: str) -> None:
        known = self._logs.pop(container, None)
        if known is not None:
            known[1].cancel()

    async def removed(self, container: str) -> None:
        """Kill and remove a container; one that is not there is no error."""
        status, _ = await self._engine.call("DELETE", f"/containers/{container}", query={"force": "1", "v": "1"})
        if status not in {HTTPStatus.NO_CONTENT, HTTPStatus.OK, HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT}:
            raise CallFailed(f"the container could not be removed: {status}")


def _body(context: Context, place: tuple[Path, Path] | None, *, network: bool) -> dict[str, Any]:
    """Return what the engine is to make: a container that can do nothing but compute."""
    given = context.parameters
    mounts = [{"Type": "bind", "Source": str(place[0]), "Target": str(place[0])}] if place else []
    memory = given.limits.memory_mb * MIB
    return {
        "Image": given.image,
        **({"Cmd": list(given.argv)} if given.argv is not None else {}),
        **({"Entrypoint": list(given.entrypoint)} if given.entrypoint is not None else {}),
        **({"WorkingDir": str(place[1])} if place else {}),
        "Env": [f"{name}={value}" for name, value in {**context.variables, **given.env}.items()],
        "User": given.user,
        "Labels": {KEY_LABEL: context.idempotency_key},
        "HostConfig": {
            "NetworkMode": "bridge" if network and given.network else "none",
            "ReadonlyRootfs": True,
            "Tmpfs": {"/tmp": "rw,nosuid,nodev,size=268435456"},  # noqa: S108 - that of the container
            "Memory": memory,
            "MemorySwap": memory,
            "NanoCpus": int(given.limits.cpus * 10**9),
            "PidsLimit": given.limits.processes,
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges"],
            "Init": True,
            **({"Mounts": mounts} if mounts else {}),
        },
    }


def _judged(context: Context, state: Mapping[str, Any], log: ContainerLog, image: str) -> JobState:
    """Return what the end of a container means."""
    code = int(state.get("ExitCode", 1))
    if state.get("OOMKilled"):
        return JobFailed("out_of_memory", f"it needs more than {context.parameters.limits.memory_mb} MiB")
    stdout, stderr = log.tails[1].text, log.tails[2].text
    if code:
        words = (stderr.strip() or stdout.strip() or str(state.get("Error", "")))[-2_000:]
        return JobFailed("exit_status", f"exit status {code}: {words}")
    value = None
    if context.parameters.read == "json":
        try:
            value = parse_json(bytes(log.value))
        except Rejected as error:
            text = f"standard output is not one JSON value: {error}"
            return JobFailed("output_not_json", text, retryable=False)
    return JobSucceeded(ContainerOutputs(exit_code=code, image=image, stdout=stdout, stderr=stderr, value=value))
