"""An event loop without waiting and without sockets: time is a number, and chance decides who goes next.

Of all callbacks that are ready at one moment, a seeded generator picks the next one. So every order of events that
the real loop could bring about is possible here, and the same seed always gives the same order.
"""

import asyncio
import heapq
from asyncio import events
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context
from random import Random
from typing import Any, TypeVar, TypeVarTuple, Unpack
from weakref import WeakKeyDictionary

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Standstill(Exception):
    """Nothing can happen any more."""


class VirtualLoop(asyncio.BaseEventLoop):
    """Runs callbacks in an order drawn from `chance`; when nothing is ready, time jumps to the next timer."""

    def __init__(self, chance: Random) -> None:
        super().__init__()
        self._draw = chance.random
        self._now = 0.0
        self._callable: list[asyncio.Handle] = []
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._timers_made = 0
        self._tasks_made = 0
        self._born: WeakKeyDictionary[asyncio.Task[Any], int] = WeakKeyDictionary()
        self.broken: list[str] = []
        """Errors that nobody has caught."""
        self._interruption: BaseException | None = None
        self.set_exception_handler(lambda _loop, context: self._uncaught(context))

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return self._now

    def call_soon(
        self, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """Run `callback` at this moment, in no particular order."""
        handle = asyncio.Handle(callback, args, self, context)
        self._callable.append(handle)
        return handle

    def call_at(
        self, when: float, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Run `callback` at `when`."""
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        self._timers_made += 1
        heapq.heappush(self._timers, (when, self._timers_made, timer))
        return timer

    def call_later(
        self, delay: float, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Run `callback` after `delay` seconds."""
        return self.call_at(self._now + max(0.0, delay), callback, *args, context=context)

    def create_task(
        self,
        coro: Generator[Any, None, T] | Coroutine[Any, Any, T],
        *,
        name: object = None,
        context: Context | None = None,
    ) -> "asyncio.Task[T]":
        """See `AbstractEventLoop.create_task`; tasks are numbered, as names need not tell them apart."""
        task = super().create_task(coro, name=name, context=context)
        self._born[task] = self._tasks_made = self._tasks_made + 1
        return task

    def run_in_executor(self, _executor: object, func: Callable[[Unpack[Ts]], T], *args: *Ts) -> "asyncio.Future[T]":
        """Call `func` at once: there is one thread, and the call takes no time."""
        future: asyncio.Future[T] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 whoever waits gets it
            future.set_exception(error)
        return future

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """Run `main` to its end, cancel what it leaves behind, and return its result.

        What comes from outside the world, the time limit of a test say, ends the run: it is raised here. It must not
        end just the task that happens to be at work, which would be a fault that no seed brings about again.
        """
        events._set_running_loop(self)  # noqa: SLF001 made for those who implement event loops
        try:
            task = self.create_task(main)
            self._until(task)
            self._end_others()
            return task.result()
        finally:
            events._set_running_loop(None)  # noqa: SLF001 likewise
            self.close()

    def _end_others(self) -> None:
        others = sorted(asyncio.all_tasks(self), key=self._born.__getitem__)
        for task in others:
            task.cancel()
        if others:
            self._until(asyncio.gather(*others, return_exceptions=True))

    def _until(self, future: "asyncio.Future[Any]") -> None:
        ready, draw = self._callable, self._draw
        while not future.done():
            if not ready:
                self._advance()
            chosen = int(draw() * len(ready))
            handle, ready[chosen] = ready[chosen], ready[-1]
            ready.pop()
            if not handle.cancelled():
                handle._run()  # noqa: SLF001 what a loop does with a handle
            if self._interruption is not None:
                raise self._interruption

    def _uncaught(self, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if error is not None and not isinstance(error, Exception):
            self._interruption = error
        self.broken.append(_text(context))

    def _advance(self) -> None:
        timers = self._timers
        while timers and timers[0][2].cancelled():
            heapq.heappop(timers)
        if not timers:
            raise Standstill("nothing is ready and no timer runs: whoever waits would wait for ever")
        self._now = max(self._now, timers[0][0])
        while timers and timers[0][0] <= self._now:
            self._callable.append(heapq.heappop(timers)[2])


def _text(context: dict[str, Any]) -> str:
    error = context.get("exception")
    return f"{context.get('message', '')}: {error!r}" if error is not None else str(context.get("message", ""))
