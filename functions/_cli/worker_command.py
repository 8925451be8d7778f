"""`flowc worker`: a worker process."""

import os
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from functions._cli.console import CommandFailed, run
from functions._cli.options import DEFAULT_URL, ApiKey, Url

if TYPE_CHECKING:
    from functions._core.records.values import SecurityLevel
    from functions._worker import Executor, WorkerConfig

DEFAULT_SLOTS = 4

WorkerId = Annotated[str, typer.Option("--id", show_default="host name and process", help="Its name; must be unique.")]
Capabilities = Annotated[
    list[str] | None, typer.Option("--capability", "-c", help="What it can do; give it once for each.")
]
Call = Annotated[str | None, typer.Option(metavar="MODULE:FUNCTION", help="Do tickets by this function.")]
Shell = Annotated[
    str | None, typer.Option(metavar="COMMAND", help="Do tickets by this command: assignment in, output out.")
]
Simulate = Annotated[
    float | None, typer.Option(metavar="SPEED", help="Only wait, so many times faster than estimated.")
]
Executors = Annotated[
    str | None,
    typer.Option(
        "--executor", metavar="NAME[,NAME]", help="Do tickets by these executors; another one is MODULE:CLASS."
    ),
]
ClearanceLevel = Annotated[
    str, typer.Option("--clearance", metavar="LEVEL", help="Highest security level that it may see.")
]
Slots = Annotated[int, typer.Option(min=1, help="Tickets at once.")]
Host = Annotated[str, typer.Option(help="Address to listen on.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 picks one.")]
Pull = Annotated[bool, typer.Option("--pull", help="Ask for tickets and listen nowhere: for behind a firewall.")]
Endpoint = Annotated[
    str | None, typer.Option(metavar="URL", help="Where the platform reaches it, if not at host and port.")
]


def worker(  # noqa: PLR0913 - one parameter for each option
    *,
    worker_id: WorkerId = "",
    capability: Capabilities = None,
    call: Call = None,
    shell: Shell = None,
    simulate: Simulate = None,
    executor: Executors = None,
    clearance: ClearanceLevel = "INTERNAL",
    slots: Slots = DEFAULT_SLOTS,
    host: Host = "127.0.0.1",
    port: Port = 0,
    endpoint: Endpoint = None,
    pull: Pull = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
) -> None:
    """Run a worker, which takes tickets and does them.

    Exactly one of --call, --shell, --simulate and --executor says how. With --executor the worker offers what its
    executors can do, beside its capabilities; parameters.provider of a task names one of them.
    Stops on Ctrl-C or SIGTERM: takes nothing new, lets what runs end, leaves.
    """
    from functions._core.records.worker import AgentType
    from functions._observability import logs
    from functions._worker import WorkerConfig

    logs.configure("info")  # before the executor, which listens to what tasks print from then on
    does = _executor(call, shell, simulate, executor)
    config = WorkerConfig(
        worker_id=worker_id or f"{socket.gethostname()}-{os.getpid()}",
        platform_url=url,
        capabilities=(*(capability or ()), *getattr(does, "capabilities", ())),
        agent_type=getattr(does, "agent_type", AgentType.WORKER),
        clearance=_clearance(clearance),
        slots=slots,
        executor=does,
        host=host,
        port=port,
        endpoint=endpoint,
        pull=pull,
        api_key=api_key or None,
        metrics=getattr(does, "page", None),
    )
    _check(config)
    run(_work(config))


def _executor(call: str | None, shell: str | None, simulate: float | None, names: str | None) -> "Executor":
    from functions._worker import CallableExecutor, ShellExecutor, SimulatedExecutor

    if sum(given is not None for given in (call, shell, simulate, names)) != 1:
        raise typer.BadParameter("give exactly one of --call, --shell, --simulate and --executor")
    try:
        if names is not None:
            return _jobs(names)
        if call is not None:
            sys.path.insert(0, str(Path.cwd()))  # where users keep what they name
            return CallableExecutor(call)
        return ShellExecutor(shell) if shell is not None else SimulatedExecutor(simulate or 0)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def _jobs(names: str) -> "Executor":
    from functions._executors.registry import executors_named
    from functions._executors.settings import ExecutorSettings
    from functions._worker.jobs import JobsExecutor

    sys.path.insert(0, str(Path.cwd()))  # where users keep executors of their own
    settings = ExecutorSettings.from_environment()
    return JobsExecutor(executors_named(names, settings), settings=settings)


def _clearance(word: str) -> "SecurityLevel":
    from functions._core.records.values import SecurityLevel

    try:
        return SecurityLevel(word)
    except ValueError:
        levels = ", ".join(SecurityLevel)
        raise typer.BadParameter(f"{word!r} is none of {levels}", param_hint="--clearance") from None


def _check(config: "WorkerConfig") -> None:
    """Refuse what the platform would never register."""
    from functions._worker.worker import checked

    if config.pull and config.endpoint:
        raise typer.BadParameter("a worker that asks for its tickets has no endpoint", param_hint="--pull")
    try:
        checked(config)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


async def _work(config: "WorkerConfig") -> int:
    from functions._worker import WorkerProcess
    from functions._worker.jobs import JobsExecutor
    from functions._worker.worker import told_to_stop

    worker = WorkerProcess(config)
    try:
        await worker.start()
    except OSError as error:
        raise CommandFailed(f"cannot listen on {config.host}:{config.port}: {error.strerror or error}") from error
    offered = ", ".join(config.capabilities) or "no capability"
    # On standard output, as `flowc up` does it: standard error is the log.
    where = f"asks {config.platform_url} for tickets" if config.pull else f"listens at {worker.endpoint}"
    if worker.metrics_port is not None:
        where += f" and shows http://{config.host}:{worker.metrics_port}/metrics"
    typer.echo(f"worker {config.worker_id} {where}, offers {offered}, {config.slots} at once")
    await told_to_stop()
    typer.echo(f"worker {config.worker_id} lets running tickets end, up to {config.grace_seconds:g} s")
    await worker.stop()
    if isinstance(config.executor, JobsExecutor):
        await config.executor.aclose()
    return 0
