"""Executors that need no process of their own: a Python function, and one that only waits."""

import asyncio
import inspect
import threading
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from pkgutil import resolve_name

from functions._worker.context import CONTEXT
from functions._worker.tasks import Assignment, TaskFailed
from functions._worker.written import listen_to_python


class CallableExecutor:
    """Calls a function with the assignment as a dict; what it returns is the output.

    A function with a second parameter gets the `TaskContext`, too. Async functions are awaited, others run in a thread
    of their own. A thread cannot be stopped: when its task is cancelled or times out, the thread is abandoned, and its
    slot stays taken until it ends.
    """

    def __init__(self, target: str | Callable[..., object]) -> None:
        """Take a function, or import one that is written `module:function`; raises `ValueError` when it is none."""
        listen_to_python()
        self._function = _imported(target) if isinstance(target, str) else target
        if not callable(self._function):
            raise ValueError(f"{target!r} cannot be called")  # noqa: TRY004 - a setting
        self._takes_context = _positional(self._function) > 1
        self._is_async = _is_async(self._function)
        self._threads: set[asyncio.Future[object]] = set()

    @property
    def abandoned(self) -> int:
        """How many threads still run a task that was given up."""
        return sum(ended.cancelled() for ended in self._threads)

    async def run(self, assignment: Assignment) -> object:
        """Call the function; any exception of it fails the task."""
        call = partial(self._function, assignment.for_task(), *([CONTEXT.get()] if self._takes_context else []))
        try:
            result = call() if self._is_async else await self._in_thread(call)
            return await result if inspect.isawaitable(result) else result
        except (Exception, SystemExit) as error:  # whatever a task raises is its failure, not the worker's
            raise TaskFailed.of(error) from error

    async def _in_thread(self, call: Callable[[], object]) -> object:
        """Run `call` in a daemon thread, so that one that never ends does not keep the process alive."""
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[object] = loop.create_future()

        def settle(output: object, failure: TaskFailed | None) -> None:
            self._threads.discard(ended)
            if ended.cancelled():
                return
            if failure:
                ended.set_exception(failure)
            else:
                ended.set_result(output)

        def work() -> None:
            output, failure = None, None
            try:
                output = call()
            except BaseException as error:  # noqa: BLE001 - nobody but the waiting task can see it
                failure = TaskFailed.of(error)
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(settle, output, failure)

        self._threads.add(ended)
        threading.Thread(target=copy_context().run, args=(work,), name="flowc-task", daemon=True).start()
        return await ended


class SimulatedExecutor:
    """Waits as long as the task is estimated to take, divided by `speed`: for demonstrations."""

    abandoned = 0

    def __init__(self, speed: float = 1.0) -> None:
        if speed <= 0:
            raise ValueError("the speed of a simulation is above 0")
        self._speed = speed

    async def run(self, assignment: Assignment) -> object:
        """Wait, and say so."""
        seconds = assignment.estimated_duration_ms / 1000 / self._speed
        await asyncio.sleep(seconds)
        return {"simulated": True, "task_id": assignment.task_id, "waited_ms": round(seconds * 1000)}


def _imported(target: str) -> Callable[..., object]:
    if ":" not in target:
        raise ValueError(f"{target!r} is not written module:function")
    try:
        function: Callable[..., object] = resolve_name(target)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"{target!r} cannot be imported: {error}") from error
    return function


def _positional(function: Callable[..., object]) -> int:
    """Return how many arguments a function needs by their place, a parameter named `context` included."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # some that are written in C do not say
        return 1
    by_place = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(
        each.kind in by_place and (each.default is inspect.Parameter.empty or each.name == "context")
        for each in parameters
    )


def _is_async(function: Callable[..., object]) -> bool:
    """Whether calling gives a coroutine: also for a `partial`, and for an object whose `__call__` is async."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)
