"""A function as Knative's contract for Python has it, and our own server for it.

`start` and `stop` cannot wait, so they only begin; until the store is open, events are answered 503. `ready` cannot ask
the store either: it says what was found a moment ago, and has it looked at again. Our own server waits for all three.
"""

import asyncio
import signal
import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack

from functions._core.errors import Unavailable
from functions._engine.secrets import environment_with_secrets
from functions._engine.settings import Settings, SettingsError
from functions._hosts.knative.edge import not_now, send_of
from functions._hosts.knative.process import DRAIN_SECONDS, Binding, Opens, RunningFunction, read_environment, running
from functions._hosts.open_store import open_store
from functions._hosts.plain_answers import PlainAnswer
from functions._hosts.serving import listen, new_event_loop, serving, tune, url_of
from functions._observability import logs
from functions._observability.http_metrics import Receive, Scope, Send

OPEN_SECONDS = 3.0
"""How long an event that comes at a cold start waits for the store to be opened."""

AGAIN_SECONDS = 1.0
"""Between two tries to open the store."""

CHECK_SECONDS = 3.0
WRONG_SETTINGS = 2


class KnativeFunction:
    """One function: started, asked whether it is alive and ready, given requests, stopped."""

    def __init__(self, name: str, opens: Opens = open_store) -> None:
        """Do nothing yet; `opens` opens the store."""
        self.name = name
        self._opens = opens
        self._resources = AsyncExitStack()
        self._opening: asyncio.Task[RunningFunction] | None = None
        self._checking: asyncio.Task[bool] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._draining = False

    def start(self, cfg: Mapping[str, str]) -> None:
        """Begin to open what the function needs; raises `SettingsError` when `cfg`, an environment, is wrong."""
        self.begin(*read_environment(self.name, cfg))

    def begin(self, settings: Settings, binding: Binding) -> None:
        """See `start`."""
        self._opening = asyncio.create_task(self._open(settings, binding), name=f"open-{self.name}")

    def stop(self) -> None:
        """Begin to stop."""
        self._closing = asyncio.create_task(self.close())

    def alive(self) -> tuple[bool, str]:
        """Whether the process answers; what it needs may be away."""
        return True, "alive"

    def ready(self) -> tuple[bool, str]:
        """Whether events can be handled, as far as is known; look at it again in the background."""
        checking = self._checking
        if checking is None or checking.done():
            self._checking = asyncio.create_task(self._is_ready())
        if checking is None or not checking.done():
            return False, "not known yet"
        return (True, "ready") if checking.result() else (False, "the store does not answer")

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        try:
            found = await self.running()
        except Exception as error:  # noqa: BLE001 func-python would answer with the text of what is raised here
            logs.log.warning("function.not_open", function=self.name, error=repr(error))
            await not_now()(scope, receive, send_of(send))
        else:
            await found.app(scope, receive, send)

    async def check(self) -> None:
        """Raise `Unavailable` while events cannot be handled."""
        if self._draining:
            raise Unavailable("the function is stopping")
        if self._opening is None or not self._opening.done():
            raise Unavailable("the store is not open yet")
        found = await self._opening
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                await found.store.check()
        except TimeoutError as late:
            raise Unavailable("the store does not answer in time") from late

    async def _is_ready(self) -> bool:
        try:
            await self.check()
        except Exception:  # noqa: BLE001 whatever it is, events cannot be handled
            return False
        return True

    async def opened(self) -> None:
        """Wait until requests can be answered; raises what makes that impossible."""
        if self._opening is not None:
            await asyncio.shield(self._opening)

    def drain(self) -> None:
        """Say from now on that the function is not ready, and let nobody wait for the end of a flow."""
        self._draining = True
        opening = self._opening
        if opening is not None and opening.done() and not opening.cancelled() and opening.exception() is None:
            opening.result().platform.flow_waiters.close()

    async def close(self) -> None:
        """Let what runs end, within bounds, and give everything back."""
        self.drain()
        if self._opening is not None and not self._opening.done():
            self._opening.cancel()
            await asyncio.wait({self._opening})
        await self._resources.aclose()

    async def _open(self, settings: Settings, binding: Binding) -> RunningFunction:
        while True:
            try:
                return await self._resources.enter_async_context(running(self.name, settings, binding, self._opens))
            except (Unavailable, OSError) as away:
                logs.log.warning("function.not_open", function=self.name, error=str(away))
                await asyncio.sleep(AGAIN_SECONDS)

    async def running(self) -> RunningFunction:
        if self._opening is None:
            raise Unavailable("the function was not started")
        try:
            async with asyncio.timeout(OPEN_SECONDS):
                return await asyncio.shield(self._opening)
        except TimeoutError as late:
            raise Unavailable("the store is not open yet") from late


class Served:
    """The ASGI application of our own server: a function, and the answers to those who watch over it."""

    def __init__(self, function: KnativeFunction) -> None:
        self._function = function

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        path = scope["path"] if scope["type"] == "http" else ""
        if path == "/health/liveness":
            await PlainAnswer(200)(scope, receive, send)
        elif path == "/health/readiness":
            await (await self._readiness())(scope, receive, send)
        else:
            await self._function.handle(scope, receive, send)

    async def _readiness(self) -> PlainAnswer:
        try:
            await self._function.check()
        except Unavailable as reason:
            logs.log.warning("function.not_ready", function=self._function.name, error=str(reason))
            return not_now()
        return PlainAnswer(200)


def serve(function: KnativeFunction, environment: Mapping[str, str]) -> None:
    """Serve a function until SIGTERM or SIGINT; then take no more, let what runs end, and leave."""
    try:
        settings, binding = read_environment(function.name, environment_with_secrets(environment))
    except SettingsError as error:
        print(f"flowc {function.name}: {error}", file=sys.stderr)  # noqa: T201 for people
        raise SystemExit(WRONG_SETTINGS) from error
    logs.configure(settings.log_level)
    tune(settings)
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(_until_stopped(function, settings, binding))


async def _until_stopped(function: KnativeFunction, settings: Settings, binding: Binding) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    with listen(settings) as listener:
        function.begin(settings, binding)
        try:
            async with serving(Served(function), settings, listener, drain_seconds=DRAIN_SECONDS):
                logs.log.info("function.serving", function=function.name, url=url_of(settings, listener))
                stopping, opening = asyncio.create_task(stopped.wait()), asyncio.create_task(function.opened())
                await asyncio.wait({stopping, opening}, return_when=asyncio.FIRST_COMPLETED)
                if opening.done():
                    await opening  # raises what a repetition would not fix
                    logs.log.info("function.ready", function=function.name)
                await stopping
                function.drain()
        finally:
            await function.close()
