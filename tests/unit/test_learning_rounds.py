"""The rounds of `learn` and `analyze` in a process: when they are gone, what a fault leaves, and what off costs."""

import asyncio
import subprocess
import sys
from collections.abc import Sequence
from datetime import timedelta

import pytest

from functions._adapters.memory import MemoryStore
from functions._core.errors import Unavailable
from functions._core.events.envelope import CloudEvent
from functions._core.learning.progress import TRAINING, ask
from functions._core.learning.state import ANALYZE, LEARN, LEARNING, LONGEST_ERROR, TrainingFailed, learning_state
from functions._core.rules import Rules
from functions._engine import learning as module
from functions._engine.learning import (
    ANALYZES_EVERY,
    GOES_ON,
    LEARNS_EVERY,
    LOOKS_EVERY,
    TRIES_AGAIN,
    Doing,
    Learning,
)
from functions._engine.learning_settings import LearningSettings
from functions._hosts.entry import NAMES
from functions._observability.instruments import Instruments
from tests.conftest import ROOT
from tests.support.slo_history import ports_of

BOTH = LearningSettings(learning="on", insights=True)


async def unsent(events: Sequence[CloudEvent]) -> None:
    raise AssertionError(events)


class Course:
    """Both functions, of which a test says what they do; and what they were asked for, by the hand of a clock."""

    def __init__(self, settings: LearningSettings = BOTH, *, alone: bool = True) -> None:
        store = MemoryStore()
        self.ports, self.clock = ports_of(store.stores)
        self.instruments = Instruments(self.ports, store.stores.queue, Rules())
        self.done: list[str] = []
        self.more, self.error, self.gate = False, None, None
        doing = Doing(self._learn, self._analyze)
        self.learning = Learning(
            settings, self.ports, self.instruments, unsent, Rules(), alone=alone, doing=lambda: doing
        )

    more: bool
    error: Exception | None
    gate: asyncio.Event | None

    async def _learn(self, *_: object) -> bool:
        return await self._do(LEARN)

    async def _analyze(self, *_: object) -> bool:
        return await self._do(ANALYZE)

    async def _do(self, name: str) -> bool:
        self.done.append(name)
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        return self.more

    async def round(self, later: timedelta = timedelta(0)) -> list[str]:
        """Go a round, later; return what was done in it."""
        self.clock.time += later
        self.done.clear()
        await self.learning.round()
        while self.learning.busy:
            await asyncio.sleep(0)
        return sorted(self.done)

    def at_work(self) -> bool:
        return self.learning.busy

    def counted(self, name: str, result: str) -> float:
        return self.instruments.metrics.totals()[name, (result,)]


async def test_each_has_its_own_pace() -> None:
    course = Course()
    assert await course.round() == [ANALYZE, LEARN]
    assert await course.round() == []
    assert await course.round(ANALYZES_EVERY - timedelta(seconds=1)) == []
    assert await course.round(timedelta(seconds=1)) == [ANALYZE]
    assert await course.round(LEARNS_EVERY) == [ANALYZE, LEARN]
    assert course.counted("orchestration_ml_rounds_total", "success") == 2
    assert course.counted("analyst_rounds_total", "success") == 3


@pytest.mark.parametrize("alone", [True, False], ids=["rounds", "ticks"])
async def test_a_training_that_somebody_has_asked_for_begins_within_a_minute(alone: bool) -> None:
    course = Course(LearningSettings(learning="advise"), alone=alone)

    async def minute(later: timedelta = LOOKS_EVERY) -> list[str]:
        await course.round(later)
        await course.learning.ticks[LEARN]()
        return course.done

    assert await minute() == [LEARN]
    assert await minute() == []
    await ask(course.ports.key_values, "ada", course.clock.time)
    assert await minute(timedelta(0)) == [], "it has looked a moment ago"
    assert await minute() == [LEARN]
    await course.ports.key_values.put(LEARNING, TRAINING, b"{}", version=0)
    assert await minute() == [], "another process is at it"


async def test_a_store_that_is_away_when_it_is_looked_for_a_request_is_asked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    course = Course(LearningSettings(learning="advise"))
    await course.round()
    await ask(course.ports.key_values, "ada", course.clock.time)

    async def away(*_: object, **__: object) -> None:
        raise Unavailable("away")

    with monkeypatch.context() as patched:
        patched.setattr(course.ports.key_values, "get", away)
        assert await course.round(LOOKS_EVERY) == []
    assert await course.round(LOOKS_EVERY) == [LEARN]
    assert course.counted("orchestration_ml_rounds_total", "error") == 0


async def test_a_clock_that_was_set_back_stops_nothing() -> None:
    course = Course()
    await course.round()
    assert await course.round(-timedelta(days=1)) == [ANALYZE, LEARN]


async def test_what_was_left_over_is_gone_on_with_soon() -> None:
    course = Course()
    course.more = True
    await course.round()
    assert await course.round(GOES_ON) == [ANALYZE, LEARN]


@pytest.mark.parametrize(
    ("wanted", "done"),
    [
        (LearningSettings(), []),
        (LearningSettings(learning="advise"), [LEARN]),
        (LearningSettings(insights=True), [ANALYZE]),
    ],
    ids=["none", "learning", "insights"],
)
async def test_what_the_settings_leave_off_is_not_done_nor_is_anything_read(
    wanted: LearningSettings, done: list[str]
) -> None:
    course = Course(wanted)
    assert await course.round() == done
    for name in (LEARN, ANALYZE):
        await course.learning.ticks[name]()
        assert (await course.ports.key_values.get(LEARNING, f"state:{name}") is not None) is (name in done)
    assert course.done == done


async def test_a_process_with_a_broker_goes_no_rounds_and_acts_at_ticks() -> None:
    course = Course(alone=False)
    assert await course.round() == []
    await course.learning.ticks[LEARN]()
    await course.learning.ticks[LEARN]()
    assert course.done == [LEARN], "an hour has not passed"
    course.clock.time += LEARNS_EVERY
    await course.learning.ticks[LEARN]()
    await course.learning.ticks[ANALYZE]()
    assert course.done == [LEARN, LEARN, ANALYZE]


async def test_a_tick_waits_for_a_long_round_within_bounds_and_begins_no_second_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "WAITS", 0.01)
    course = Course(alone=False)
    course.gate = asyncio.Event()
    for _ in range(3):
        await course.learning.ticks[LEARN]()
        course.clock.time += LEARNS_EVERY
    assert course.done == [LEARN]
    assert course.at_work()
    course.gate.set()
    await course.learning.ticks[LEARN]()
    assert not course.at_work()
    assert course.done == [LEARN], "the tick waited for the round that was under way"


@pytest.mark.parametrize("error", [Unavailable("the store is away"), ValueError("a fault of the code")], ids=repr)
async def test_a_round_that_fails_is_counted_and_kept_for_people_and_tried_again(error: Exception) -> None:
    course = Course()
    course.error = error
    await course.round()
    assert course.counted("orchestration_ml_rounds_total", "error") == 1
    assert course.counted("orchestration_ml_rounds_total", "success") == 0
    state = await learning_state(course.ports.key_values, LEARN)
    assert state is not None
    assert (state.function, state.error, state.library) == (LEARN, str(error), True)
    course.error = None
    assert await course.round(TRIES_AGAIN) == [ANALYZE, LEARN]
    state = await learning_state(course.ports.key_values, LEARN)
    assert state is not None
    assert state.error is None


async def test_a_training_that_fails_each_time_does_not_read_and_compute_all_the_time() -> None:
    course = Course()
    course.error = TrainingFailed("no memory")
    await course.round()
    assert LEARN not in await course.round(TRIES_AGAIN)
    assert LEARN in await course.round(LEARNS_EVERY)


async def test_an_error_of_any_length_is_kept_shortened_and_what_cannot_be_read_is_as_if_never_written() -> None:
    course = Course()
    course.error = ValueError("x" * 100_000)
    await course.round()
    state = await learning_state(course.ports.key_values, ANALYZE)
    assert state is not None
    assert state.error == "x" * LONGEST_ERROR
    entry = await course.ports.key_values.get(LEARNING, f"state:{ANALYZE}")
    assert entry is not None
    await course.ports.key_values.put(LEARNING, f"state:{ANALYZE}", b"no JSON", version=entry.version)
    assert await learning_state(course.ports.key_values, ANALYZE) is None


async def test_a_store_that_is_away_when_the_state_is_to_be_kept_ends_no_rounds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    course = Course()

    async def away(*_: object, **__: object) -> None:
        raise Unavailable("away")

    monkeypatch.setattr(module, "keep_state", away)
    await course.round()
    assert await course.round(LEARNS_EVERY) == [ANALYZE, LEARN]


async def test_the_state_is_not_written_each_minute() -> None:
    course = Course(LearningSettings(insights=True))
    written = set()
    for _ in range(40):
        assert await course.round(ANALYZES_EVERY) == [ANALYZE]
        entry = await course.ports.key_values.get(LEARNING, f"state:{ANALYZE}")
        written.add(entry and entry.version)
    assert len(written) == 2


async def test_what_is_closed_ends_and_cuts_off_a_round() -> None:
    course = Course()
    course.gate = asyncio.Event()
    await course.learning.round()
    await asyncio.sleep(0)
    assert course.at_work()
    await course.learning.close()
    assert not course.at_work()
    course.gate.set()
    assert await course.round(LEARNS_EVERY / 2) == [ANALYZE]


HEAVY = ("numpy", "scipy", "sklearn", "statsmodels", "networkx", "pyarrow")

ASK = """
import sys
{imports}
found = [name for name in {heavy!r} if name in sys.modules]
sys.exit(f"imported: {{found}}" if found else 0)
"""


def imported_heavily(*imports: str) -> str:
    """Return what a new process says that has imported these: nothing where none of the heavy libraries came along."""
    text = ASK.format(imports="\n".join(f"import {name}" for name in imports), heavy=HEAVY)
    run = subprocess.run([sys.executable, "-c", text], cwd=ROOT, capture_output=True, text=True, check=False)
    return run.stderr.strip()


def test_a_process_that_does_not_learn_imports_nothing_heavy() -> None:
    assert imported_heavily("functions._engine.compose", "functions._hosts.entry") == ""
    assert imported_heavily("numpy") == "imported: ['numpy']", "the question can be answered otherwise"


def test_no_function_imports_what_trains_when_it_starts_not_even_the_one_that_learns() -> None:
    handlers = [f"functions.{name}.handler" for name in NAMES]
    assert imported_heavily(*handlers, "functions._hosts.aws.environment", "functions._engine.wiring_learning") == ""
