"""What flows teach, in a process: `learn` and `analyze` go rounds where it is the platform's clock, or act at ticks.

`learn` goes a round before its hour is over when somebody has asked for a training: nobody waits an hour for that.

While the settings leave one off, nothing of it is imported or read. A round that fails is logged and counted, and the
next one begins where it began; no flow waits for any of this. Several processes may go rounds over one store: what is
kept there has versions, which decide between them.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from importlib.util import find_spec
from typing import NamedTuple

from functions._core.errors import FlowcError
from functions._core.events.envelope import CloudEvent
from functions._core.learning.progress import training_waits
from functions._core.learning.state import ANALYZE, LEARN, LearningState, TrainingFailed, keep_state
from functions._core.ports import Ports
from functions._core.rules import Rules
from functions._engine.learning_settings import LearningSettings
from functions._observability.instruments import Instruments
from functions._observability.learning_metrics import LearningGauges
from functions._observability.logs import log
from functions._observability.metrics import Gauge

LEARNS_EVERY = timedelta(hours=1)
"""How often rows are taken in and models judged; `learn` itself trains on Sundays only."""

ANALYZES_EVERY = timedelta(minutes=1)
"""How often somebody looks whether a window of five minutes can be closed."""

LOOKS_EVERY = timedelta(minutes=1)
"""How often `learn` looks whether somebody has asked for a training: one read of a key."""

GOES_ON = timedelta(seconds=10)
"""How long a function rests that has left something over: its rounds are bounded, and the next one goes on."""

TRIES_AGAIN = timedelta(minutes=1)
"""How long a function rests that has failed."""

TELLS_EVERY = timedelta(minutes=30)
"""How old the state that is stored may be while nothing changes."""

WAITS = 45.0
"""Seconds that a tick waits for a round: a broker gives a request 60. A longer round goes on behind it."""

LIBRARY = "sklearn"

COUNTED = {LEARN: "orchestration_ml_rounds_total", ANALYZE: "analyst_rounds_total"}
"""The metrics that count rounds."""

Send = Callable[[tuple[CloudEvent, ...]], Awaitable[None]]
Work = Callable[[], Awaitable[bool]]
"""One round of a function; whether it has left something over."""


class Doing(NamedTuple):
    """What the two functions do in a round; see `wiring_learning`, which is imported when one of them is wanted."""

    learn: Callable[[Ports, Instruments, LearningGauges, bool], Awaitable[bool]]
    analyze: Callable[[Ports, Instruments, LearningGauges, Send, Rules], Awaitable[bool]]


def _doing() -> Doing:
    from functions._engine.wiring_learning import analyze_once, learn_once

    return Doing(learn_once, analyze_once)


class Rounds:
    """The rounds of one function: one at a time, and none too early."""

    def __init__(
        self,
        function: str,
        ports: Ports,
        every: timedelta,
        work: Work,
        failed: Callable[[], None],
        asked: Work | None = None,
    ) -> None:
        """Begin nothing yet; `failed` counts a round that did not end well, `asked` says that one is wanted early."""
        self.function, self._ports, self._every = function, ports, every
        self._work, self._failed, self._asked = work, failed, asked
        self._next: datetime | None = None
        self._look: datetime | None = None
        self._task: asyncio.Task[None] | None = None
        self._told: LearningState | None = None

    @property
    def busy(self) -> bool:
        """Whether a round is under way."""
        return self._task is not None and not self._task.done()

    def begin(self) -> None:
        """Begin a round if it is time for one, and none is under way."""
        now = self._ports.clock.now()
        if self.busy:
            return
        if not _early(now, self._next, self._every):
            self._next, self._look = now + self._every, now + LOOKS_EVERY
            self._task = asyncio.create_task(self._round())
        elif self._asked is not None and not _early(now, self._look, LOOKS_EVERY):
            self._look = now + LOOKS_EVERY
            self._task = asyncio.create_task(self._round_if_asked(self._asked))

    async def tick(self) -> None:
        """Begin a round if it is time for one, and wait for it, within bounds."""
        self.begin()
        if self._task is not None:
            await asyncio.wait([self._task], timeout=WAITS)

    async def close(self) -> None:
        """Stop; what was cut off is done by the next round."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _round_if_asked(self, asked: Work) -> None:
        """Go a round where somebody wants one; a store that is away is asked again, and that counts for nothing."""
        try:
            wanted = await asked()
        except FlowcError:
            return
        if wanted:
            self._next = self._ports.clock.now() + self._every
            await self._round()

    async def _round(self) -> None:
        error = None
        try:
            if await self._work():
                self._next = self._ports.clock.now() + min(GOES_ON, self._every)
        except Exception as raised:  # noqa: BLE001 a round must not end those that follow
            rests = self._every if isinstance(raised, TrainingFailed) else min(TRIES_AGAIN, self._every)
            self._next = self._ports.clock.now() + rests
            error, known = str(raised) or type(raised).__name__, isinstance(raised, FlowcError)
            self._failed()
            log.warning(f"{self.function}.failed", error=error, exc_info=None if known else raised)
        await self._tell(error)

    async def _tell(self, error: str | None) -> None:
        """Store how the round went, where it went otherwise than the last one or that is long ago."""
        now, told = self._ports.clock.now(), self._told
        if told is not None and told.error == error and told.at <= now < told.at + TELLS_EVERY:
            return
        state = LearningState(function=self.function, at=now, error=error, library=find_spec(LIBRARY) is not None)
        try:
            await keep_state(self._ports.key_values, state)
            self._told = state
        except FlowcError as away:
            log.warning(f"{self.function}.state_not_kept", error=str(away))


def _early(now: datetime, due: datetime | None, every: timedelta) -> bool:
    """Tell whether a moment is still to come; one that is too far away belongs to a clock that was set back."""
    return due is not None and now < due <= now + every


class Learning:
    """Both functions, as one process lets them work."""

    def __init__(
        self,
        settings: LearningSettings,
        ports: Ports,
        instruments: Instruments,
        send: Send,
        rules: Rules,
        *,
        alone: bool,
        doing: Callable[[], Doing] = _doing,
    ) -> None:
        """Begin nothing yet; `send` makes events durable. A process that is not `alone` goes no rounds."""
        self._ports, self._instruments, self._send, self._rules = ports, instruments, send, rules
        self._doing, self.alone = doing, alone
        self._models = LearningGauges(instruments.gauges, "models")
        self._insights = LearningGauges(instruments.gauges, "insights")
        count = instruments.metrics.count
        learns, analyzes = settings.learning != "off", settings.insights
        learnt = partial(count, "orchestration_ml_rounds_total", "error")
        asked = partial(training_waits, ports.key_values)
        learn = Rounds(LEARN, ports, LEARNS_EVERY, self._learn, learnt, asked)
        looks = partial(count, "analyst_rounds_total", "error")
        analyze = Rounds(ANALYZE, ports, ANALYZES_EVERY, self._analyze, looks)
        wanted = ((learn, learns), (analyze, analyzes))
        self._rounds: Sequence[Rounds] = [rounds for rounds, is_on in wanted if is_on]
        enabled: dict[Gauge, float] = {("flowc_learning_enabled", (one.function,)): 1.0 for one in self._rounds}
        instruments.gauges.hold(enabled, "settings")
        self.ticks: Mapping[str, Callable[[], Awaitable[None]]] = {
            LEARN: partial(self._ticked, learn) if learns else _nothing,
            ANALYZE: partial(self._ticked, analyze) if analyzes else _nothing,
        }

    @property
    def busy(self) -> bool:
        """Whether one of them is at work."""
        return any(rounds.busy for rounds in self._rounds)

    async def round(self) -> None:
        """Begin what it is time for."""
        if self.alone:
            for rounds in self._rounds:
                rounds.begin()

    async def close(self) -> None:
        """Stop; what was cut off is done by the next round."""
        for rounds in self._rounds:
            await rounds.close()

    def _count(self, function: str, result: str) -> None:
        self._instruments.metrics.count(COUNTED[function], result)

    async def _ticked(self, rounds: Rounds) -> None:
        await rounds.tick()
        self._instruments.gauges.keep_on()  # a tick comes each minute; what was counted an hour ago still holds

    async def _learn(self) -> bool:
        more = await self._doing().learn(self._ports, self._instruments, self._models, self.alone)
        self._count(LEARN, "success")
        return more

    async def _analyze(self) -> bool:
        more = await self._doing().analyze(self._ports, self._instruments, self._insights, self._send, self._rules)
        self._count(ANALYZE, "success")
        return more


async def _nothing() -> None:
    """Do nothing: the settings leave it off."""
