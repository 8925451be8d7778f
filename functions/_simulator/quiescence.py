"""What must hold when a simulated world has come to rest: each check's first line is the invariant."""

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from functions._core.events.healing import ESCALATED, RESOLVED
from functions._core.events.policies import APPLIED
from functions._core.machine.integrity import findings_of
from functions._core.machine.replay import StoredState, differences, fold
from functions._core.machine.tables import ENDED_FLOWS
from functions._core.records.record import decode
from functions._core.records.values import FlowStatus, TicketStatus, flow_id_of
from functions._engine.pheromones import SPACE, StoredTrail
from functions._simulator.environment import POISON
from functions._simulator.late_flows import acts_once
from functions._simulator.ledger import Invariant, Ledger

if TYPE_CHECKING:
    from functions._simulator.world import World

FRAME = "telemetry.frame"
ROUNDING = 1e-6


def history_gives_the_state(world: "World", ledger: Ledger) -> Iterator[str]:
    """The history, replayed, gives the state."""
    standing: dict[str, str] = {}
    for entry in ledger.history:
        if entry.to_status is not None:
            standing[entry.ticket_id or entry.flow_id] = entry.to_status
    for ticket in world.store.state.tickets:
        found = standing.get(ticket.ticket_id, TicketStatus.PENDING.value)
        if found != ticket.status:
            yield f"ticket {ticket.task_id} is {ticket.status}, its history ends with {found}"
    for flow in world.store.state.flows:
        found = standing.get(flow.flow_id, FlowStatus.VALIDATING.value)
        if found != flow.status:
            yield f"the flow is {flow.status}, its history ends with {found}"


def replay_finds_nothing(world: "World", ledger: Ledger) -> Iterator[str]:
    """The platform's own replay of the history finds the stored records."""
    state = world.store.state
    for flow in state.flows:
        folded = fold(entry for entry in ledger.history if entry.flow_id == flow.flow_id)
        tickets = [StoredState.of(ticket) for ticket in state.tickets if ticket.flow_id == flow.flow_id]
        yield from (*folded.gaps, *differences(folded, flow, tickets))


def store_agrees_with_the_books(world: "World", ledger: Ledger) -> Iterator[str]:
    """The store holds what was committed, and nothing else."""
    state = world.store.state
    stored: dict[str, Any] = {flow.flow_id: flow for flow in state.flows}
    stored |= {ticket.ticket_id: ticket for ticket in state.tickets}
    for record_id, record in {**ledger.flows, **ledger.tickets}.items():
        if stored.pop(record_id, None) != record:
            yield f"record {record_id} is not as it was committed last"
    yield from (f"record {record_id} was never committed" for record_id in stored)


def subscriber_was_told(world: "World", ledger: Ledger) -> Iterator[str]:
    """Every transition has reached the subscriber, once by its id, or lies in the dead letters."""
    state = world.store.state
    told = {event.id: event.event_type for event in world.subscriber.received.values() if event.source != POISON}
    undelivered = (letter for letter in state.letters if letter.function == "subscriber")
    told |= {one.letter_id: _event_type(one.event) for one in undelivered if one.event.get("source") != POISON}
    # Workers, and what policies and healing have done, are in no history of a flow.
    others = ("worker.", APPLIED, RESOLVED, ESCALATED)
    found = Counter(event_type for event_type in told.values() if not event_type.startswith(others))
    happened = Counter(entry.type for entry in ledger.history)
    for event_type in sorted(happened.keys() | found.keys()):
        if happened[event_type] != found[event_type]:
            yield f"{event_type} happened {happened[event_type]} times and was told {found[event_type]} times"


def telemetry_is_kept(world: "World", ledger: Ledger) -> Iterator[str]:
    """The telemetry of each end of a flow is at the sink, once by its id, or lies where it can be found."""
    state = world.store.state
    events = [*world.sink.events, *state.telemetry.values()]
    frames = {(event.data["flow_id"], event.id) for event in events if event.event_type == FRAME}
    frames |= {
        (letter.flow_id or "", letter.letter_id) for letter in state.letters if _event_type(letter.event) == FRAME
    }
    counted = Counter(flow_id for flow_id, _ in frames)
    for flow in ledger.flows.values():
        if flow.status in ENDED_FLOWS and counted[flow.flow_id] != flow.redrives + 1:
            yield f"the flow ended {flow.redrives + 1} times and has {counted[flow.flow_id]} frames"


def records_fit_together(world: "World", ledger: Ledger) -> Iterator[str]:
    """The records of a flow fit together, whatever happened to it."""
    if world.faults.struck["clock-jump"]:
        return  # times of records are those of the clock, which may have been set back
    if ledger.tampered:
        return  # what was changed past the platform is found and told: that is what the check is for
    tickets = list(world.store.state.tickets)
    for flow in world.store.state.flows:
        yield from findings_of(flow, [ticket for ticket in tickets if ticket.flow_id == flow.flow_id])


def queue_is_empty(world: "World", _ledger: Ledger) -> Iterator[str]:
    """Nothing is left in the queue: every event is handled or in the dead letters."""
    left = Counter(queued.event.event_type for queued in world.store.state.queue)
    if left:
        yield f"left are {dict(left)}"


def admitted_is_kept(world: "World", _ledger: Ledger) -> Iterator[str]:
    """A decision that was admitted has a flow."""
    for decision in world.scenario.decisions:
        decision_id = str(decision.get("decision_id"))
        if world.store.state.flows.get(flow_id_of(decision_id)) is None:
            yield f"decision {decision_id} was admitted and has no flow"


def signals_count_once(world: "World", ledger: Ledger) -> Iterator[str]:
    """No signal counts twice on a trail, whichever processes have stored it."""
    for (space, key), entry in world.store.state.entries.items():
        if space != SPACE:
            continue
        trail, (domain, _, worker_id) = decode(StoredTrail, entry.value), key.partition("/")
        deposited = ledger.signals[domain, worker_id]
        if trail.pos > deposited[True] + ROUNDING or trail.neg > deposited[False] + ROUNDING:
            yield f"the trail of {key} has {trail.pos:.2f} and {trail.neg:.2f}, deposited were {dict(deposited)}"


def nothing_breaks(world: "World", _ledger: Ledger) -> Iterator[str]:
    """No part of the platform fails by an error of its own."""
    for letter in world.store.state.letters:
        if letter.reason.code == "internal":
            yield f"{letter.function} failed at {_event_type(letter.event)}: {letter.reason.message}"
    yield from dict.fromkeys(world.broken)


AT_THE_END: tuple[Invariant, ...] = (
    history_gives_the_state,
    replay_finds_nothing,
    store_agrees_with_the_books,
    subscriber_was_told,
    telemetry_is_kept,
    records_fit_together,
    queue_is_empty,
    admitted_is_kept,
    signals_count_once,
    nothing_breaks,
    acts_once,
)


def _event_type(event: Any) -> str:
    return str(event.get("type", "")).removeprefix("io.neuralhive.").removesuffix(".v1")
