"""Lambda functions as real processes: each environment is the real runtime client and the Runtime API it speaks to.

It is test equipment. An environment takes one invocation at a time, as Lambda's do; a function gets another environment
when all of its are busy, up to a limit. What has crashed is never used again. Nothing is frozen between invocations.
"""

import asyncio
import contextlib
import json
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from aiohttp import web

from tests.conftest import ROOT
from tests.support.dynamodb import ENVIRONMENT

PATH = "/2018-06-01/runtime"
LARGEST = 6 * 1024 * 1024
"""Bytes of an event and of an answer, where somebody waits for it."""

INIT_S = 120
"""Lambda gives ten seconds, to machines that have nothing else to do."""

SLOWNESS = 6
"""How many times longer than in Lambda an invocation may take here, where all functions share two busy cores."""

Json = Any


class FunctionError(Exception):
    """The function has raised, timed out or died; `answer` is what Lambda tells its caller."""

    def __init__(self, answer: Mapping[str, Any]) -> None:
        super().__init__(json.dumps(answer)[:2000])
        self.answer = answer


@dataclass(frozen=True)
class Configuration:
    """What the template says of a function; its code is in `root`."""

    name: str
    handler: str
    environment: Mapping[str, str]
    timeout: float = 30
    memory: int = 256
    sampled: int = 0
    root: Path = ROOT

    @property
    def patience(self) -> float:
        """Seconds that an invocation may take here."""
        return SLOWNESS * self.timeout

    @property
    def arn(self) -> str:
        """Its name in full."""
        return f"arn:aws:lambda:{ENVIRONMENT['AWS_DEFAULT_REGION']}:000000000000:function:{self.name}"

    def variables(self, api: str, key: str) -> dict[str, str]:
        """Return the whole environment of a process: the template's, Lambda's own, and nothing of ours.

        By its access key, which it sends with each call, the process is told from others.
        """
        region = ENVIRONMENT["AWS_DEFAULT_REGION"]
        return {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(self.root),
            "PYTHONFAULTHANDLER": "1",
            "TZ": ":UTC",
            **ENVIRONMENT,
            "AWS_ACCESS_KEY_ID": key,
            "AWS_REGION": region,
            "AWS_LAMBDA_RUNTIME_API": api,
            "AWS_LAMBDA_FUNCTION_NAME": self.name,
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(self.memory),
            "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{self.name}",
            "AWS_LAMBDA_LOG_STREAM_NAME": f"2026/01/01/[$LATEST]{key}",
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            "AWS_EXECUTION_ENV": f"AWS_Lambda_python3.{sys.version_info.minor}",
            "LAMBDA_TASK_ROOT": str(self.root),
            "_HANDLER": self.handler,
            **self.environment,
        }


@dataclass
class _Invocation:
    event: bytes
    request_id: str = field(default_factory=lambda: str(uuid4()))
    answer: "asyncio.Future[bytes]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Environment:
    """One process of a function. It works while `alive`."""

    def __init__(self, configuration: Configuration, key: str, log: Path) -> None:
        self.key = key
        self._configuration = configuration
        self._log = log
        self._given: asyncio.Queue[_Invocation | None] = asyncio.Queue()
        self._current: _Invocation | None = None
        self._asked = asyncio.Event()
        self._broken: Mapping[str, Any] | None = None
        self._runner = web.AppRunner(self._app(), access_log=None, shutdown_timeout=0)
        self.process: asyncio.subprocess.Process | None = None
        self._ended: asyncio.Task[int] | None = None
        self._closing: asyncio.Task[None] | None = None

    @property
    def alive(self) -> bool:
        """Whether it can take an invocation."""
        return self._broken is None and self._ended is not None and not self._ended.done()

    async def open(self) -> None:
        """Start the process, and wait until it has imported its handler and asks for work."""
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        api = f"127.0.0.1:{self._runner.addresses[0][1]}"
        with self._log.open("ab") as output:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "awslambdaric",
                self._configuration.handler,
                cwd=self._configuration.root,
                env=self._configuration.variables(api, self.key),
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._ended = asyncio.create_task(self.process.wait())
        asked = asyncio.create_task(self._asked.wait())
        await asyncio.wait({asked, self._ended}, timeout=INIT_S, return_when=asyncio.FIRST_COMPLETED)
        asked.cancel()
        if not self._asked.is_set():
            broken = self._broken or {"errorType": "Runtime.InitError", "errorMessage": self._tail()}
            await self.close()
            raise FunctionError(broken)

    async def invoke(self, event: bytes) -> bytes:
        """Give the process an event and return its answer; raise `FunctionError` whatever goes wrong."""
        assert self._ended is not None
        invocation = _Invocation(event)
        self._given.put_nowait(invocation)
        limit = self._configuration.patience
        awaited: set[asyncio.Future[Any]] = {invocation.answer, self._ended}
        await asyncio.wait(awaited, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
        if invocation.answer.done():
            return invocation.answer.result()
        if self._ended.done():
            how = f"RequestId: {invocation.request_id} Error: Runtime exited with status {self._ended.result()}"
            self._broken = {"errorType": "Runtime.ExitError", "errorMessage": how}
        else:
            how = f"{invocation.request_id} Task timed out after {limit:.2f} seconds"
            self._broken = {"errorType": "Sandbox.Timedout", "errorMessage": how}
            self.kill(signal.SIGABRT)  # it tells its log where it was
        raise FunctionError(self._broken)

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """End it at once, as `kill -9` does."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(number)

    async def close(self) -> None:
        """End the process, if it still runs, and its Runtime API, once; whoever asks waits for it."""
        self._closing = self._closing or asyncio.create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        self.kill()
        if self._ended is not None:
            await self._ended
        self._given.put_nowait(None)
        await self._runner.cleanup()

    def _app(self) -> web.Application:
        app = web.Application(client_max_size=2 * LARGEST)
        app.router.add_get(f"{PATH}/invocation/next", self._next)
        app.router.add_post(f"{PATH}/invocation/{{id}}/response", self._response)
        app.router.add_post(f"{PATH}/invocation/{{id}}/error", self._error)
        app.router.add_post(f"{PATH}/init/error", self._init_error)
        return app

    async def _next(self, _request: web.Request) -> web.Response:
        self._asked.set()
        invocation = await self._given.get()
        if invocation is None:
            raise web.HTTPGone
        self._current = invocation
        draw = random.Random(invocation.request_id)
        trace = (
            f"Root=1-{int(time.time()):08x}-{draw.getrandbits(96):024x};Parent={draw.getrandbits(64):016x}"
            f";Sampled={self._configuration.sampled}"
        )
        headers = {
            "Lambda-Runtime-Aws-Request-Id": invocation.request_id,
            "Lambda-Runtime-Deadline-Ms": str(int((time.time() + self._configuration.timeout) * 1000)),
            "Lambda-Runtime-Invoked-Function-Arn": self._configuration.arn,
            "Lambda-Runtime-Trace-Id": trace,
        }
        return web.Response(body=invocation.event, headers=headers, content_type="application/json")

    async def _response(self, request: web.Request) -> web.Response:
        body = await request.read()
        if len(body) > LARGEST:
            too_large = f"Response payload size exceeded maximum allowed payload size ({LARGEST} bytes)."
            error = FunctionError({"errorType": "Function.ResponseSizeTooLarge", "errorMessage": too_large})
            return self._answered(request, error)
        return self._answered(request, body)

    async def _error(self, request: web.Request) -> web.Response:
        return self._answered(request, FunctionError(await request.json()))

    def _answered(self, request: web.Request, answer: bytes | FunctionError) -> web.Response:
        current, self._current = self._current, None
        if current is None or current.request_id != request.match_info["id"] or current.answer.done():
            return web.json_response(
                {"errorType": "InvalidRequestID", "errorMessage": "Invalid request ID"}, status=400
            )
        if isinstance(answer, bytes):
            current.answer.set_result(answer)
        else:
            current.answer.set_exception(answer)
        return web.json_response({"status": "OK"}, status=202)

    async def _init_error(self, request: web.Request) -> web.Response:
        self._broken = await request.json()
        return web.json_response({"status": "OK"}, status=202)

    def _tail(self) -> str:
        return self._log.read_text(errors="replace")[-3000:]


class Function:
    """A function with at most `at_once` environments; what its processes write goes to a file of its name."""

    def __init__(self, configuration: Configuration, folder: Path, *, at_once: int = 1) -> None:
        self.configuration = configuration
        self.at_once = at_once
        self.counts: Counter[str] = Counter()
        self.errors: list[Mapping[str, Any]] = []
        self.environments: dict[str, Environment] = {}
        self._idle: list[Environment] = []
        self._turns = asyncio.Semaphore(at_once)
        self._log = folder / f"{configuration.name}.log"
        self._started = 0
        self._closed = False

    @property
    def log(self) -> str:
        """What its processes have written."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    async def invoke(self, event: Json) -> Json:
        """Run the function on an event when it is its turn; raise `FunctionError`."""
        async with self._turns:
            environment = await self._environment()
            self.counts["invocations"] += 1
            try:
                answer = await environment.invoke(json.dumps(event).encode())
            except FunctionError as error:
                self.counts["errors"] += 1
                self.errors.append(error.answer)
                raise
            finally:
                await self._back(environment)
            return json.loads(answer) if answer else None

    async def _environment(self) -> Environment:
        if self._closed:
            raise FunctionError({"errorType": "ResourceNotFoundException", "errorMessage": "the function is gone"})
        while self._idle:
            environment = self._idle.pop()
            if environment.alive:
                return environment
            await self._gone(environment)
        self._started += 1
        self.counts["cold starts"] += 1
        environment = Environment(self.configuration, f"{self.configuration.name}.{self._started}", self._log)
        self.environments[environment.key] = environment
        try:
            await environment.open()
        except FunctionError as error:
            self.errors.append(error.answer)
            self.environments.pop(environment.key, None)
            raise
        return environment

    async def _back(self, environment: Environment) -> None:
        if environment.alive:
            self._idle.append(environment)
        else:
            await self._gone(environment)

    async def _gone(self, environment: Environment) -> None:
        self.environments.pop(environment.key, None)
        await environment.close()

    async def close(self) -> None:
        """End all of its processes."""
        self._closed = True
        self._idle.clear()
        for environment in list(self.environments.values()):
            await self._gone(environment)
