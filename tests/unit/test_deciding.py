"""How the dispatcher decides on records that move under it."""

from datetime import datetime, timedelta
from typing import Any, cast

import pytest

from functions._adapters.memory import MemoryStore
from functions._core.errors import IllegalTransition
from functions._core.machine.advance import advance
from functions._core.machine.context import Context
from functions._core.machine.outcomes import AnyOutcome
from functions._core.ports import Due, Ports
from functions._core.records.change_set import ChangeSet
from functions._core.records.values import add_time
from functions._core.rules import Rules
from functions._engine import dispatch
from functions._engine.dispatch import Dispatcher
from tests.support.builders import T0, later, make_flow

READ = timedelta(seconds=5)
FLOW = make_flow(next_wakeup_at=T0)
DUE = Due("flow", FLOW.flow_id, FLOW.flow_id, T0)


class SlowWorld:
    """The ports that a dispatcher needs, where each read of a flow takes five seconds."""

    def __init__(self) -> None:
        self.time = T0
        self.store, self.clock = self, self
        self._stores = MemoryStore().stores
        self.ticket_counts, self.registry = self._stores.ticket_counts, self._stores.registry

    def now(self) -> datetime:
        return self.time

    async def flow(self, flow_id: str) -> Any:
        found = await self._stores.store.flow(flow_id)
        self.time += READ
        return found

    async def commit(self, step: ChangeSet) -> None:
        await self._stores.store.commit(step)


@pytest.fixture
async def dispatcher() -> Dispatcher:
    """Give a dispatcher over a store that holds one flow, due now."""
    world = SlowWorld()
    await world.commit(ChangeSet(flow_id=FLOW.flow_id, flow=FLOW))
    return Dispatcher(cast("Ports", world), Rules(), committed=lambda _step: None, observed=lambda _handling: None)


async def test_nothing_is_decided_at_a_time_before_what_was_read(dispatcher: Dispatcher) -> None:
    handled = await dispatcher.due(DUE)
    assert handled is not None
    assert [entry.at for entry in handled.step.history] == [T0 + READ]


async def test_a_step_of_records_that_do_not_belong_together_is_decided_anew(
    dispatcher: Dispatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    mixtures = [True, False]

    def once_illegal(context: Context, outcome: AnyOutcome) -> ChangeSet:
        if mixtures.pop(0):
            raise IllegalTransition
        return advance(context, outcome)

    monkeypatch.setattr(dispatch, "advance", once_illegal)
    handled = await dispatcher.due(DUE)
    assert handled is not None
    assert [entry.type for entry in handled.step.history] == ["flow.reemitted"]


async def test_a_step_that_is_illegal_every_time_is_an_error(
    dispatcher: Dispatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    def illegal(_context: Context, _outcome: AnyOutcome) -> ChangeSet:
        raise IllegalTransition

    monkeypatch.setattr(dispatch, "advance", illegal)
    with pytest.raises(IllegalTransition):
        await dispatcher.due(DUE)


@pytest.fixture
async def remembering() -> tuple[Dispatcher, SlowWorld]:
    """Give a dispatcher that has just decided on a flow and remembers it, and the world of which it is one process."""
    world = SlowWorld()
    await world.commit(ChangeSet(flow_id=FLOW.flow_id, flow=FLOW))
    dispatcher = Dispatcher(
        cast("Ports", world), Rules(), committed=lambda _step: None, observed=lambda _handling: None, remembers=True
    )
    await dispatcher.due(DUE)
    return dispatcher, world


async def test_a_record_that_another_process_has_changed_is_read_again(
    remembering: tuple[Dispatcher, SlowWorld],
) -> None:
    dispatcher, world = remembering
    known = await world.flow(FLOW.flow_id)
    changed = later(known, correlation_id="of another process")
    await world.commit(ChangeSet(flow_id=FLOW.flow_id, flow=changed))
    world.time = add_time(known.next_wakeup_at, READ)
    handled = await dispatcher.due(DUE)
    assert handled is not None
    assert handled.context.flow == changed
    assert [entry.type for entry in handled.step.history] == ["flow.reemitted"]


async def test_nothing_to_do_is_believed_only_of_what_is_stored(remembering: tuple[Dispatcher, SlowWorld]) -> None:
    dispatcher, world = remembering
    known = await world.flow(FLOW.flow_id)
    await world.commit(ChangeSet(flow_id=FLOW.flow_id, flow=later(known, next_wakeup_at=T0)))
    handled = await dispatcher.due(DUE)
    assert handled is not None
    assert [entry.type for entry in handled.step.history] == ["flow.reemitted"]
