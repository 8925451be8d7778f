"""A simulated process: all tasks that one start of the platform has begun, so that a crash can end them together."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import ContextVar, copy_context
from typing import Any, TypeVar

from functions._core.errors import Unavailable
from functions._simulator.silent_log import unexpected

T = TypeVar("T")


class Process:
    """What dies in a crash. A task that a task of the process begins belongs to the process, too."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.died = asyncio.Event()
        self._tasks: dict[asyncio.Future[Any], None] = {}

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Begin `work` within the process."""
        context = copy_context()
        context.run(CURRENT.set, self)
        return asyncio.get_running_loop().create_task(work, context=context)

    async def call(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do `work` within the process, for a caller outside; raise `Unavailable` when the process dies meanwhile."""

        async def inside() -> T:
            return await work()

        if not self.alive:
            raise Unavailable("nothing listens there")
        task = self.spawn(inside())
        await asyncio.wait({task})
        if task.cancelled():
            raise Unavailable("the connection was lost")
        return task.result()

    async def breathe(self) -> None:
        """Return at once; but what is dead never gets beyond this."""
        if not self.alive:
            await asyncio.Event().wait()

    def kill(self) -> None:
        """End it as `kill -9` does: nothing of it reaches the world any more."""
        self.alive = False
        self.died.set()
        for task in self._tasks:
            task.cancel()

    def adopt(self, task: "asyncio.Future[Any]") -> None:
        """Count a task to the process."""
        self._tasks[task] = None
        task.add_done_callback(self._over)
        if not self.alive:
            task.cancel()

    def _over(self, task: "asyncio.Future[Any]") -> None:
        self._tasks.pop(task, None)
        tell_if_broken(task)


def tell_if_broken(task: "asyncio.Future[Any]") -> None:
    """Tell the loop of a task that failed by an error of its own, at once and whoever else looks at it."""
    error = None if task.cancelled() else task.exception()
    if error is not None and unexpected(error):
        task.get_loop().call_exception_handler({"message": "a task failed", "exception": error})


CURRENT: ContextVar[Process | None] = ContextVar("process", default=None)
"""The process that the running code belongs to; None is the world outside."""


def adopting(loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> "asyncio.Future[Any]":
    """Make a task and count it to its process; the task factory of a simulated world."""
    task: asyncio.Task[Any] = asyncio.Task(work, loop=loop, **options)
    context = options.get("context")
    process = CURRENT.get() if context is None else context.get(CURRENT)
    if process is not None:
        process.adopt(task)
    return task
