"""`flowc up` and `flowc worker`: the two processes of a platform on one machine."""

import asyncio
import errno
import os
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from functions._runtime.cli.console import CommandFailed, run, say
from functions._runtime.cli.options import DEFAULT_URL, ApiKey, Url

if TYPE_CHECKING:
    from functions._runtime.settings import Settings
    from functions._runtime.worker import Executor, WorkerConfig

WRONG_SETTINGS = 2
SLOTS = 4


def up(
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port to listen on; 0 picks one. [env FLOWC_PORT, else 8080]")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Folder that holds everything. [env FLOWC_DATA, else .flowc]")
    ] = None,
) -> None:
    """Run the platform: one port, one folder.

    All other settings come from the environment (FLOWC_…); the README lists them.
    Stops on Ctrl-C or SIGTERM.
    """
    from functions._core.errors import FlowcError
    from functions._runtime import on_one_machine
    from functions._runtime.settings import Settings, SettingsError

    try:
        settings = Settings.from_mapping(on_one_machine.environment(), port=port, data=data)
    except SettingsError as error:
        say(f"flowc: {error}")
        raise typer.Exit(WRONG_SETTINGS) from error
    try:
        on_one_machine.run(settings)
    except (FlowcError, OSError) as error:
        say(f"flowc: {_cannot_start(error, settings)}")
        raise typer.Exit(1) from error


def _cannot_start(error: Exception, settings: "Settings") -> str:
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        return f"port {settings.port} is taken; choose another with --port, or 0 for any that is free"
    if isinstance(error, OSError):
        return f"cannot start with data folder {settings.data}: {error.strerror or error}"
    return str(error)


def worker(  # noqa: PLR0913 - one parameter for each option
    *,
    worker_id: Annotated[
        str, typer.Option("--id", show_default="host name and process", help="Its name; must be unique.")
    ] = "",
    capability: Annotated[
        list[str] | None, typer.Option("--capability", "-c", help="What it can do; give it once for each.")
    ] = None,
    call: Annotated[str | None, typer.Option(metavar="MODULE:FUNCTION", help="Do tickets by this function.")] = None,
    shell: Annotated[
        str | None, typer.Option(metavar="COMMAND", help="Do tickets by this command: assignment in, output out.")
    ] = None,
    simulate: Annotated[
        float | None, typer.Option(metavar="SPEED", help="Only wait, so many times faster than estimated.")
    ] = None,
    slots: Annotated[int, typer.Option(min=1, help="Tickets at once.")] = SLOTS,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 picks one.")] = 0,
    endpoint: Annotated[
        str | None, typer.Option(metavar="URL", help="Where the platform reaches it, if not at host and port.")
    ] = None,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
) -> None:
    """Run a worker, which takes tickets and does them.

    Exactly one of --call, --shell and --simulate says how.
    Stops on Ctrl-C or SIGTERM: takes nothing new, lets what runs end, leaves.
    """
    from functions._runtime import logs
    from functions._runtime.worker import WorkerConfig

    config = WorkerConfig(
        worker_id=worker_id or f"{socket.gethostname()}-{os.getpid()}",
        platform_url=url,
        capabilities=tuple(capability or ()),
        slots=slots,
        executor=_executor(call, shell, simulate),
        host=host,
        port=port,
        endpoint=endpoint,
        api_key=api_key or None,
    )
    logs.configure("info")
    run(_work(config))


def _executor(call: str | None, shell: str | None, simulate: float | None) -> "Executor":
    from functions._runtime.worker import CallableExecutor, ShellExecutor, SimulatedExecutor

    if sum(given is not None for given in (call, shell, simulate)) != 1:
        raise typer.BadParameter("give exactly one of --call, --shell and --simulate")
    try:
        if call is not None:
            sys.path.insert(0, str(Path.cwd()))  # where users keep what they name
            return CallableExecutor(call)
        return ShellExecutor(shell) if shell is not None else SimulatedExecutor(simulate or 0)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


async def _work(config: "WorkerConfig") -> int:
    from functions._runtime.worker import Worker

    worker = Worker(config)
    try:
        await worker.start()
    except OSError as error:
        raise CommandFailed(f"cannot listen on {config.host}:{config.port}: {error.strerror or error}") from error
    offered = ", ".join(config.capabilities) or "no capability"
    say(f"worker {config.worker_id} listens at {worker.endpoint}, offers {offered}, {config.slots} at once")
    await _told_to_stop()
    say(f"worker {config.worker_id} lets running tickets end, up to {config.grace_seconds:g} s")
    await worker.stop()
    return 0


async def _told_to_stop() -> None:
    """Wait for the first SIGTERM or SIGINT; a second one has its usual effect."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    signals = (signal.SIGTERM, signal.SIGINT)
    for number in signals:
        loop.add_signal_handler(number, stopped.set)
    await stopped.wait()
    for number in signals:
        loop.remove_signal_handler(number)
