"""The graph of what had to do with what, made of history: flows, plans, tasks' types, capabilities, domains, workers.

An edge says how many tickets, or flows, both had in common. The graph of one look is small: some thousand nodes.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import fsum
from typing import NamedTuple, TypeAlias

from functions._core.learning.history import FlowRow, TicketRow
from functions._core.records.values import Outcome, TicketStatus, format_time

Node: TypeAlias = tuple[str, str]
"""What it is (`flow`, `plan`, `task_type`, `capability`, `domain`, `worker`), and its id."""

DAMPING = 0.85
"""The share of importance that a node hands on to its neighbours, as usual for PageRank."""

ROUNDS = 100
SETTLED = 1e-9
"""Importance is settled when it moves by less in a round."""

MAX_DEPTH = 3
CHAIN_LENGTH = 6
"""Ends of tickets that a chain names."""

BAD_ENDS = frozenset({TicketStatus.FAILED, TicketStatus.CANCELLED})


class Related(NamedTuple):
    """Something that is connected with something else."""

    entity_type: str
    entity_id: str
    distance: int
    """Edges between them, on the shortest way."""
    weight: float
    """What they have in common: tickets or flows, on the first edge of that way."""


class Central(NamedTuple):
    """How important a node is."""

    entity_type: str
    entity_id: str
    score: float
    """Its PageRank: all together are 1."""
    degree: int
    """Its neighbours."""


class WaitedFor(NamedTuple):
    """Something that tickets waited for."""

    entity_type: str
    entity_id: str
    waited_ms: int
    """How long they waited, all together."""
    waiting: int
    """How many waited."""
    worked_ms: int
    """How long the work took that succeeded."""
    share: float
    """Its share of all waiting, among what is of its type."""


class PlanPattern(NamedTuple):
    """A course that flows took again and again."""

    tasks: Sequence[str]
    """The tasks, in order of their level."""
    flows: int
    """How many flows took it."""
    completed: int
    """How many of them ended COMPLETED."""
    missed: int
    """How many of them missed their deadline."""
    mean_ms: int
    """How long they took, in the mean."""


@dataclass(frozen=True, slots=True)
class CausalChain:
    """How flows came to a bad end: what failed first, what followed, how the flow ended."""

    steps: Sequence[str]
    """`TRANSFORM: timeout`, and so on, then the outcome of the flow."""
    count: int
    """How many flows ended that way."""
    flows: Sequence[str]
    """Ids of some of them, the newest first."""


class IntentStep(NamedTuple):
    """A step on the way from a decision to its outcome."""

    entity_type: str
    entity_id: str
    what: str
    """What happened: `received`, `COMPLETED by worker-1`."""
    at: str
    """When, as RFC 3339."""
    took_ms: int | None = None
    """How long it took, where that is known."""


class WorkGraph:
    """The graph of some flows and their tickets."""

    def __init__(self, flows: Sequence[FlowRow], tickets: Sequence[TicketRow]) -> None:
        self._flows = {flow.flow_id: flow for flow in flows}
        self._tickets = tickets
        self._edges: dict[Node, dict[Node, float]] = defaultdict(lambda: defaultdict(float))
        for flow in flows:
            if flow.plan_id is not None:
                self._join(("flow", flow.flow_id), ("plan", flow.plan_id))
        for ticket in tickets:
            kind: Node = ("task_type", ticket.task_type.value)
            self._join(("flow", ticket.flow_id), kind)
            if ticket.worker_id is not None:
                self._join(("worker", ticket.worker_id), kind)
                self._join(("flow", ticket.flow_id), ("worker", ticket.worker_id))
            for capability in ticket.capabilities:
                self._join(("capability", capability), kind)
            if ticket.domain is not None:
                self._join(("domain", ticket.domain), ("flow", ticket.flow_id))

    def _join(self, one: Node, other: Node) -> None:
        self._edges[one][other] += 1
        self._edges[other][one] += 1

    @property
    def nodes(self) -> Sequence[Node]:
        """All nodes, in order."""
        return sorted(self._edges)

    @property
    def edges(self) -> Mapping[Node, Mapping[Node, float]]:
        """What each node has in common with its neighbours."""
        return self._edges

    def related(self, node: Node, depth: int = 2, limit: int = 50) -> Sequence[Related]:
        """Return what is connected with a node, the closest first; nothing for one that is not there."""
        seen: dict[Node, tuple[int, float]] = {node: (0, 0.0)}
        border = [node] if node in self._edges else []
        for distance in range(1, min(depth, MAX_DEPTH) + 1):
            reached: dict[Node, float] = {}
            for one in border:
                for other, weight in self._edges[one].items():
                    if other not in seen:
                        reached[other] = max(reached.get(other, 0.0), weight if distance == 1 else seen[one][1])
            seen |= {other: (distance, weight) for other, weight in reached.items()}
            border = [*reached]
        found = [Related(*one, *of) for one, of in seen.items() if one != node]
        return sorted(found, key=lambda one: (one.distance, -one.weight, one.entity_type, one.entity_id))[:limit]

    def central(self, limit: int = 20) -> Sequence[Central]:
        """Return the most important nodes, by PageRank over what they have in common."""
        nodes = self.nodes
        if not nodes:
            return []
        totals = {node: fsum(self._edges[node].values()) for node in nodes}
        scores = dict.fromkeys(nodes, 1 / len(nodes))
        for _ in range(ROUNDS):
            rest = (1 - DAMPING) / len(nodes)
            new = {
                node: rest
                + DAMPING * sum(scores[other] * weight / totals[other] for other, weight in self._edges[node].items())
                for node in nodes
            }
            moved = sum(abs(new[node] - scores[node]) for node in nodes)
            scores = new
            if moved < SETTLED:
                break
        found = [Central(*node, score, len(self._edges[node])) for node, score in scores.items()]
        return sorted(found, key=lambda one: (-one.score, one.entity_type, one.entity_id))[:limit]

    def bottlenecks(self, limit: int = 20) -> Sequence[WaitedFor]:
        """Return what tickets waited for the longest: capabilities, types of work, workers."""
        waited: Counter[Node] = Counter()
        waiting: Counter[Node] = Counter()
        worked: Counter[Node] = Counter()
        of_type: Counter[str] = Counter()
        for ticket in self._tickets:
            for node in _waited_for(ticket):
                span = ticket.waited_ms or 0
                waited[node] += span
                waiting[node] += span > 0
                worked[node] += ticket.actual_ms or 0
                of_type[node[0]] += span
        found = [
            WaitedFor(*node, span, waiting[node], worked[node], span / of_type[node[0]])
            for node, span in waited.items()
            if span
        ]
        return sorted(found, key=lambda one: (-one.waited_ms, one.entity_type, one.entity_id))[:limit]

    def patterns(self, limit: int = 20) -> Sequence[PlanPattern]:
        """Return the courses that flows take most often."""
        by_course: dict[tuple[str, ...], list[FlowRow]] = defaultdict(list)
        for flow, tickets in self._by_flow():
            course = sorted({(ticket.level, ticket.task_id) for ticket in tickets})
            by_course[tuple(task for _, task in course)].append(flow)
        found = [
            PlanPattern(
                tasks=course[:100],
                flows=len(flows),
                completed=sum(flow.outcome is Outcome.COMPLETED for flow in flows),
                missed=sum(flow.missed for flow in flows),
                mean_ms=sum(flow.duration_ms for flow in flows) // len(flows),
            )
            for course, flows in by_course.items()
        ]
        return sorted(found, key=lambda one: (-one.flows, one.tasks))[:limit]

    def chains(self, limit: int = 20) -> Sequence[CausalChain]:
        """Return how flows came to a bad end, the commonest way first."""
        by_steps: dict[tuple[str, ...], list[FlowRow]] = defaultdict(list)
        for flow, tickets in self._by_flow():
            if flow.outcome is Outcome.COMPLETED:
                continue
            bad = sorted((one for one in tickets if one.status in BAD_ENDS), key=lambda one: one.completed_at)
            said = [f"{one.task_type.value}: {one.reason_code or one.status.value}" for one in bad]
            steps = [step for step, _ in groupby(said)][:CHAIN_LENGTH]
            by_steps[*steps, flow.outcome.value].append(flow)
        found = [
            CausalChain(steps, len(flows), [flow.flow_id for flow in _newest(flows)[:10]])
            for steps, flows in by_steps.items()
            if len(steps) > 1
        ]
        return sorted(found, key=lambda one: (-one.count, one.steps))[:limit]

    def intent_flow(self, correlation_id: str, limit: int = 200) -> Sequence[IntentStep]:
        """Return what became of a correlation id, in order of time."""
        steps: list[IntentStep] = []
        for flow, tickets in self._by_flow():
            if flow.correlation_id != correlation_id:
                continue
            steps.append(IntentStep("decision", flow.decision_id, "received", format_time(flow.received_at)))
            steps += [
                IntentStep(
                    "ticket",
                    ticket.ticket_id,
                    f"{ticket.task_id}: {ticket.status.value}"
                    + (f" by {ticket.worker_id}" if ticket.worker_id else ""),
                    format_time(ticket.completed_at),
                    ticket.actual_ms,
                )
                for ticket in tickets
            ]
            steps.append(
                IntentStep("flow", flow.flow_id, flow.outcome.value, format_time(flow.ended_at), flow.duration_ms)
            )
        return sorted(steps, key=lambda one: one.at)[:limit]

    def _by_flow(self) -> Iterable[tuple[FlowRow, Sequence[TicketRow]]]:
        tickets: dict[str, list[TicketRow]] = defaultdict(list)
        for ticket in self._tickets:
            tickets[ticket.flow_id].append(ticket)
        return [(flow, tickets[flow.flow_id]) for flow in self._flows.values()]


def _waited_for(ticket: TicketRow) -> Sequence[Node]:
    worker: Sequence[Node] = () if ticket.worker_id is None else (("worker", ticket.worker_id),)
    capabilities: Sequence[Node] = [("capability", one) for one in ticket.capabilities]
    return [("task_type", ticket.task_type.value), *capabilities, *worker]


def _newest(flows: Iterable[FlowRow]) -> Sequence[FlowRow]:
    return sorted(flows, key=lambda flow: flow.ended_at, reverse=True)
