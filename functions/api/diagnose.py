"""The questions that people ask when something does not happen, each answered from the state of the platform.

A case looks at a bounded number of records, changes nothing, and says what it has found and what helps.
"""

from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Literal

from functions._core.errors import Rejected, Unavailable
from functions._core.explain.wording import ago, counted, listed, plain, said, span
from functions._core.machine.tables import ENDED_FLOWS
from functions._core.placement.limits import over_limit
from functions._core.placement.ranking import health_of, nothing_until
from functions._core.planning.slack import missed
from functions._core.records.dead_letters import REFUSED_BY_SINK, SINK_UNAVAILABLE, DeadLetter
from functions._core.records.models import Flow, Ticket
from functions._core.records.values import FlowStatus, Health, Model, TicketStatus, Timestamp, Waiting
from functions._core.records.worker import TAKE_TICKETS, Worker
from functions.api.diagnose_learning import learning
from functions.api.documents import problems
from functions.api.routes import Routes
from functions.api.services import ApiServices, Services

router = Routes(prefix="/api/v1/diagnose", tags=["system"])

LOOKED_AT = 200
"""Flows, and tickets, that a case looks at: the newest flows, the oldest tickets."""

LETTERS = 100
BUFFERED = 1_000
NAMED = 5

PATIENCE = timedelta(seconds=30)
"""How long a step may take before it is worth a word: after this its event is sent again."""

MANY = 0.05
"""The share of missed deadlines from which on they are a problem, not an exception."""

Status = Literal["ok", "problem", "unknown"]


class Diagnosis(Model):
    """What a case has found; `unknown` where this process cannot know. `remedy` says what helps."""

    case: str
    status: Status
    findings: tuple[str, ...]
    remedy: tuple[str, ...]
    checked_at: Timestamp


@dataclass(slots=True)
class _Findings:
    """What a case has found so far: facts, and those of them that are problems."""

    facts: list[str] = field(default_factory=list)
    remedy: list[str] = field(default_factory=list)
    status: Status = "ok"

    def fact(self, text: str) -> None:
        self.facts.append(text)

    def problem(self, text: str, *remedy: str) -> None:
        self.facts.append(text)
        self.remedy += [one for one in remedy if one not in self.remedy]
        self.status = "problem"


@router.get("/{case}", responses=problems(404))
async def diagnose(services: Services, case: str) -> Diagnosis:
    """Answer a question of troubleshooting, by its name.

    empty-discovery, telemetry, no-tickets, not-starting, hmac, unpublished, sla, buffer or learning.
    """
    look = CASES.get(case)
    if look is None:
        text = f"there is no case {case[:100]!r}; known are {', '.join(CASES)}"
        raise Rejected(text, code="unknown_case", status=404)
    found = _Findings()
    await look(services, found)
    return Diagnosis(
        case=case,
        status=found.status,
        findings=tuple(found.facts),
        remedy=tuple(found.remedy),
        checked_at=services.ports.clock.now(),
    )


async def _empty_discovery(services: ApiServices, found: _Findings) -> None:
    ports, now = services.ports, services.ports.clock.now()
    workers = [one for one in await ports.registry.workers() if one.agent_type in TAKE_TICKETS]
    register = "start a worker: `flowc worker`, or POST /api/v1/workers; it has to send a heartbeat every 30 s"
    if not workers:
        found.problem("No worker is registered.", register)
    else:
        _health(services, workers, now, found)
    waiting = [t for t in await _tickets(services, TicketStatus.PENDING) if t.waiting is Waiting.WORKER]
    if waiting:
        offered = {name for worker in workers for name in worker.capabilities}
        missing = sorted({name for ticket in waiting for name in ticket.required_capabilities} - offered)
        lack = f" No worker offers {listed([plain(name) for name in missing])}." if missing else ""
        help_ = ("register a worker that offers what is missing",) if missing else ()
        found.problem(
            f"{counted(len(waiting), 'ticket')} wait for a worker that is capable and cleared.{lack}",
            *help_,
            "POST /api/v1/workers/discover with the capabilities names each worker that is left out, and why",
        )


def _health(services: ApiServices, workers: Sequence[Worker], now: datetime, found: _Findings) -> None:
    counts = Counter(health_of(worker, now, services.rules) for worker in workers)
    found.fact(f"{counted(len(workers), 'worker')} registered: {', '.join(f'{n} {h}' for h, n in counts.items())}.")
    if counts[Health.UNHEALTHY] == len(workers):
        found.problem("All of them are UNHEALTHY, so discovery finds none.", "look why their heartbeats do not arrive")
    shut = [worker.worker_id for worker in workers if nothing_until(worker, now) is not None]
    if shut:
        found.fact(f"The circuit breaker lets nothing through to {listed([plain(one) for one in shut])}.")


async def _telemetry(services: ApiServices, found: _Findings) -> None:
    away = services.state().sink_away
    if away:
        found.problem(f"The sink does not take telemetry: {plain(away)}.", CHECK_SINK)
    await _buffered(services, found)
    lost = [one for one in await _letters(services) if one.reason.code in {REFUSED_BY_SINK, SINK_UNAVAILABLE}]
    for letter in lost[:NAMED]:
        found.problem(f"Given up at {ago(letter.last_seen, services.ports.clock.now())}: {said(letter.reason)}.")
    if lost:
        found.problem(
            f"{counted(len(lost), 'telemetry event')} among the newest dead letters.",
            "replay them once the sink takes telemetry: `flowc dead-letters replay ID`",
        )


CHECK_SINK = "check that FLOWC_TELEMETRY_URL names the sink, and that its topic exists"


async def _buffer(services: ApiServices, found: _Findings) -> None:
    away = services.state().sink_away
    found.fact(f"The sink: {plain(away) if away else 'no failure is known to this process'}.")
    await _buffered(services, found, by_intent=True)


async def _buffered(services: ApiServices, found: _Findings, *, by_intent: bool = False) -> None:
    now, size = services.ports.clock.now(), await services.ports.telemetry_buffer.size()
    if not size:
        found.fact("No telemetry waits in the buffer.")
        return
    oldest = await services.ports.telemetry_buffer.oldest(BUFFERED if by_intent else 1)
    since = f", the oldest since {ago(oldest[0][1], now)}" if oldest else ""
    found.problem(
        f"{counted(size, 'event')} wait in the buffer{since}.",
        CHECK_SINK,
        "what waits is sent in order as soon as the sink takes it; POST /api/v1/telemetry/flush tries now",
        "after an hour an event becomes a dead letter, which can be replayed",
    )
    counts = Counter(str((event.data or {}).get("intent_id")) for _, _, event in oldest)
    for intent, number in counts.most_common(NAMED) if by_intent else ():
        found.fact(f"Intent {plain(intent)}: {number} of the oldest {len(oldest)}.")


async def _no_tickets(services: ApiServices, found: _Findings) -> None:
    flows = await _flows(services)
    without = [flow for flow in flows if not flow.tickets_generated]
    found.fact(f"Of the newest {counted(len(flows), 'flow')}, {len(without)} have no tickets.")
    ended = [flow for flow in without if flow.status in ENDED_FLOWS]
    for flow in ended[:NAMED]:
        reasons = "; ".join(said(reason) for reason in flow.reasons) or "no reason is kept"
        found.problem(
            f"Flow {flow.flow_id} ended {flow.status}: {reasons}.",
            "correct the decision; `flowc validate FILE` says all that C1 would refuse",
        )
    _not_begun(services, [flow for flow in without if flow not in ended], found)


async def _not_starting(services: ApiServices, found: _Findings) -> None:
    state, now = services.state(), services.ports.clock.now()
    try:
        ready = await services.ready()
    except Unavailable as unavailable:
        found.problem(f"The platform is not ready: {plain(str(unavailable))}.", "make its store reachable")
        return
    if not ready.get("ready", True):
        found.problem("The platform is not ready.", "GET /ready says what it lacks")
    if state.consumer == "stopped":
        found.problem("This process handles no events any more.", "start the platform again")
    elif state.consumer == "elsewhere":
        found.fact("Events are handled by other processes: their own /health tells how they are.")
    lag = "" if state.lag is None else f", {counted(state.lag, 'event')} queued"
    last = ago(state.last_event_at, now) if state.last_event_at else "none since this process began"
    found.fact(f"Consumer: {state.consumer}{lag}; last event: {last}.")
    flows = await _flows(services)
    found.fact(f"Last decision: {ago(flows[0].received_at, now) if flows else 'none is known'}.")
    _not_begun(services, flows, found)
    for letter in [one for one in await _letters(services) if one.function in {"api", "validate"}][:NAMED]:
        found.problem(
            f"A decision became a dead letter at {ago(letter.last_seen, now)}: {said(letter.reason)}.",
            "`flowc dead-letters show ID` shows it; one that was corrected is sent under a new decision_id",
        )


def _not_begun(services: ApiServices, flows: Iterable[Flow], found: _Findings) -> None:
    """Tell of flows that stay where they have no tickets yet; to wait for a person or for a place is no problem."""
    now = services.ports.clock.now()
    early = {FlowStatus.VALIDATING, FlowStatus.GENERATING, FlowStatus.AWAITING_APPROVAL}
    late = [flow for flow in flows if flow.status in early and now - flow.phase.entered_at >= PATIENCE]
    held = [flow for flow in late if flow.status is FlowStatus.AWAITING_APPROVAL or over_limit(flow)]
    stuck = [flow for flow in late if flow not in held]
    for flow in held[-NAMED:]:
        found.fact(_waits(flow, now))
    for flow in stuck[-NAMED:]:
        found.problem(_waits(flow, now), "`flowc why ID` says what a flow waits for, and what happens next")
    for some, tell in ((held, found.fact), (stuck, found.problem)):
        if len(some) > NAMED:
            tell(f"{counted(len(some) - NAMED, 'more flow')} in the same position.")


def _waits(flow: Flow, now: datetime) -> str:
    why = f": {'; '.join(said(reason) for reason in flow.reasons)}" if flow.reasons else ""
    return f"Flow {flow.flow_id} is {flow.status} since {ago(flow.phase.entered_at, now)}{why}."


async def _hmac(services: ApiServices, found: _Findings) -> None:
    now, seen = services.ports.clock.now(), services.refused_proofs.seen
    if services.webhooks is None or not services.webhooks.pipeline_secrets:
        found.fact("No secret of pipelines is set (FLOWC_WEBHOOK_SECRET): their webhooks are all refused.")
    for code, (times, last) in sorted(seen.items()):
        what, remedy = PROOFS.get(code, (f"refused as {plain(code)}", "see docs/reference/errors.md"))
        found.problem(f"{counted(times, 'time')}, last at {ago(last, now)}: {what}.", remedy)
    if not seen:
        found.fact("No signature and no token was refused since this process began.")


PROOFS: Mapping[str, tuple[str, str]] = {
    "not_signed": ("a webhook came without a signature", "send X-Webhook-Signature: sha256=<hex>"),
    "malformed_signature": (
        "the signature of a webhook is not `sha256=` and 64 hexadecimal digits",
        "put `sha256=` before the hexadecimal HMAC; the bare digits are refused",
    ),
    "bad_signature": (
        "the signature of a webhook has the right form but is that of another secret or another body",
        "use one FLOWC_WEBHOOK_SECRET on both sides, and sign the raw body, behind `<timestamp>.` if one is sent",
    ),
    "stale_signature": ("the timestamp of a webhook was more than five minutes off", "set both clocks right"),
    "missing_token": ("a report came without a token", "send the token of the assignment: authorization: Bearer"),
    "expired_token": ("the token of a report has expired", "report within the timeout of the attempt"),
    "bad_token": (
        "the token of a report was not made by this platform",
        "all processes of a platform need the same FLOWC_WORKER_KEY, or FLOWC_TOKEN_KEYS",
    ),
}
"""What a refused proof means and what helps, by the code of the refusal; no secret is part of it."""


async def _unpublished(services: ApiServices, found: _Findings) -> None:
    now, state = services.ports.clock.now(), services.state()
    if state.lag is not None:
        found.fact(f"{counted(state.lag, 'event')} queued in this process.")
    held = await _tickets(services, TicketStatus.ASSIGNED)
    late = [t for t in held if t.acknowledged_at is None and t.assigned_at and now - t.assigned_at >= PATIENCE / 2]
    for ticket in late[:NAMED]:
        found.problem(
            f"Ticket {ticket.ticket_id}: worker {plain(str(ticket.worker_id))} has not accepted it since "
            f"{ago(ticket.assigned_at or now, now)}.",
            "look whether the worker can be reached; it gets the ticket again every 5 s, then another one does",
        )
    pending = [t for t in await _tickets(services, TicketStatus.PENDING) if t.reason is not None]
    for ticket in pending[:NAMED]:
        if ticket.reason is not None:
            found.problem(f"Ticket {ticket.ticket_id} waits after a failure: {said(ticket.reason)}.", WHY)
    undelivered = [one for one in await _letters(services) if one.function in {"subscriber", "notify", "outbox"}]
    for letter in undelivered[:NAMED]:
        found.problem(f"Not delivered at {ago(letter.last_seen, now)}: {said(letter.reason)}.", REPLAY)
    if found.status == "ok":
        found.fact("No ticket waits for its delivery, and no event for subscribers was given up.")


WHY = "`flowc why ID` says what a ticket waits for"
REPLAY = "make the receiver take events, then replay what was given up: `flowc dead-letters replay ID`"


async def _sla(services: ApiServices, found: _Findings) -> None:
    flows = [flow for flow in await _flows(services) if flow.status in ENDED_FLOWS]
    late = [flow for flow in flows if missed(flow)]
    found.fact(f"Of the newest {counted(len(flows), 'ended flow')}, {len(late)} missed the deadline.")
    for name, seconds in _slowest(flows):
        found.fact(f"{name}: {span(timedelta(seconds=seconds))} on average.")
    failed = await _tickets(services, TicketStatus.FAILED)
    timed_out = [ticket for ticket in failed if ticket.reason is not None and ticket.reason.code == "timed_out"]
    longer = "give attempts more time: SLA_DEFAULT_TIMEOUT_MS, such as 7200000, or the task's `timeout_ms`"
    if timed_out:
        tasks = Counter(ticket.task_type.value for ticket in timed_out)
        named = listed([f"{kind} ({number})" for kind, number in tasks.most_common()])
        found.problem(f"{counted(len(timed_out), 'ticket')} failed by their timeout: {named}.", longer)
    if late and len(late) >= MANY * len(flows):
        found.problem(
            f"{len(late) / len(flows):.0%} of the flows are late.",
            longer,
            "give flows more time (`sla_deadline_seconds`, FLOWC_SLA_SECONDS), or more workers",
        )


def _slowest(flows: Sequence[Flow]) -> list[tuple[str, float]]:
    """Return the phases of flows with their average seconds, the slowest first."""
    stays: dict[str, list[float]] = defaultdict(list)
    for flow in flows:
        for phase, after in pairwise(flow.phases):
            stays[phase.status.value].append((after.entered_at - phase.entered_at).total_seconds())
    averages = [(name, sum(seconds) / len(seconds)) for name, seconds in stays.items()]
    return sorted(averages, key=lambda one: -one[1])[:NAMED]


async def _flows(services: ApiServices) -> Sequence[Flow]:
    return (await services.ports.views.flows(status=None, cursor=None, limit=LOOKED_AT))[0]


async def _tickets(services: ApiServices, status: TicketStatus) -> Sequence[Ticket]:
    return (await services.ports.views.find_tickets({"status": status.value}, None, LOOKED_AT))[0]


async def _letters(services: ApiServices) -> Sequence[DeadLetter]:
    return (await services.ports.dead_letters.letters(None, LETTERS))[0]


CASES: Mapping[str, Callable[[ApiServices, _Findings], Awaitable[None]]] = {
    "empty-discovery": _empty_discovery,
    "telemetry": _telemetry,
    "no-tickets": _no_tickets,
    "not-starting": _not_starting,
    "hmac": _hmac,
    "unpublished": _unpublished,
    "sla": _sla,
    "buffer": _buffer,
    "learning": learning,
}
"""The cases by their names; each is a chapter of a troubleshooting guide."""
