"""The diagrams of the architecture page in Mermaid, drawn from the tables that the code runs on."""

from collections.abc import Callable, Iterable, Mapping

from functions._core.events.catalogue import CATALOGUE
from functions._core.events.telemetry import STEPS
from functions._core.machine.tables import (
    BACK,
    CONSOLIDATED,
    END,
    ENDED_FLOWS,
    ENDED_TICKETS,
    FLOW_TIMEOUTS,
    FLOW_TRANSITIONS,
    TICKET_TIMEOUTS,
    TICKET_TRANSITIONS,
)
from functions._core.records.values import FlowStatus, Outcome

TIMEOUT = "⏱ "
"""Marks what happens when a status has waited too long."""

ENDED = "Ended"
NODES: Mapping[str, str] = {
    "user": "user([user])",
    "api": "api[api]",
    **{name: f"{name}[{step} {name}]" for step, name in STEPS},
    "worker": "worker([worker])",
    "track_workers": "track_workers[track_workers]",
    "enforce_sla": "enforce_sla[enforce_sla]",
    "telemetry sink": "sink[(telemetry sink)]",
}
"""What the chain is drawn with. Ways in and out that change nothing about it are left out, for the picture's sake."""

MOST_LABELS = 4
"""Labels on one edge; more of them are drawn as further edges, so that no line of the page is too wide."""

Edges = Iterable[tuple[str, str, str]]
"""From, to, and what is written on the edge."""


def flow_diagram() -> str:
    """Return the states of a flow; its end status is named like its outcome."""
    edges = [
        (_flow_node(status), node, _label(trigger, FLOW_TIMEOUTS.get(status)))
        for status, row in FLOW_TRANSITIONS.items()
        for trigger, target in row.items()
        for node in _targets(status, target)
    ]
    ended = (f"state {ENDED} {{", *(f"    {outcome}" for outcome in Outcome), "}", f"{ENDED} --> [*]")
    return _states(next(iter(FLOW_TRANSITIONS)), edges, ended)


def _flow_node(status: FlowStatus) -> str:
    return ENDED if status in ENDED_FLOWS else status


def _targets(status: FlowStatus, target: str) -> Iterable[str]:
    """Return where an edge may lead: some targets are decided by the flow's row."""
    if target == BACK:
        came_from = (s for s, row in FLOW_TRANSITIONS.items() if FlowStatus.PAUSED in row.values())
        return [FlowStatus.VALIDATING, FlowStatus.EXECUTING] if status in ENDED_FLOWS else came_from
    decided: Mapping[str, Iterable[str]] = {
        END: [ENDED],
        CONSOLIDATED: [FlowStatus.COMPENSATING, FlowStatus.PUBLISHING],
    }
    return decided.get(target, [target])


def ticket_diagram() -> str:
    """Return the states of a ticket."""
    edges = [
        (status, target, _label(trigger, TICKET_TIMEOUTS.get(status)))
        for status, row in TICKET_TRANSITIONS.items()
        for trigger, target in row.items()
    ]
    ended = (f"{status} --> [*]" for status in TICKET_TRANSITIONS if status in ENDED_TICKETS)
    return _states(next(iter(TICKET_TRANSITIONS)), edges, ended)


def chain_diagram() -> str:
    """Return who sends which event to whom; dotted is what is sent again when time has passed without effect."""
    edges = [
        (sender, handler, entry.event_type)
        for entry in CATALOGUE
        for sender in _parties(entry.sent_by)
        for handler in _parties(entry.handled_by)
    ]
    ids = {name: shape.split("[")[0].split("(")[0] for name, shape in NODES.items()}
    lines = [
        f"{ids[sender]} {'-.->' if sender == 'enforce_sla' else '-->'}|{label}| {ids[handler]}"
        for sender, handler, label in _merged(edges)
    ]
    return _block("flowchart LR", [*NODES.values(), *lines])


DIAGRAMS: Mapping[str, Callable[[], str]] = {"flow": flow_diagram, "ticket": ticket_diagram, "chain": chain_diagram}
"""Every diagram of the page by the name in its marker."""


def _parties(names: str) -> list[str]:
    """Return those of some parties, as the catalogue lists them, that are drawn."""
    return [party for name in names.split(", ") if (party := name.removeprefix("the ")) in NODES]


def _label(trigger: str, timeout: str | None) -> str:
    return f"{TIMEOUT if trigger == timeout else ''}{trigger}"


def _states(first: str, edges: Edges, ended: Iterable[str]) -> str:
    lines = [f"{source} --> {target}: {label}" for source, target, label in _merged(edges)]
    return _block("stateDiagram-v2", [f"[*] --> {first}", *lines, *ended])


def _merged(edges: Edges) -> Edges:
    """Return the edges between each pair, with all that is written on them."""
    labels: dict[tuple[str, str], list[str]] = {}
    for source, target, label in edges:
        labels.setdefault((source, target), []).append(label)
    return [
        (source, target, "<br/>".join(written[start : start + MOST_LABELS]))
        for (source, target), written in ((pair, list(dict.fromkeys(told))) for pair, told in labels.items())
        for start in range(0, len(written), MOST_LABELS)
    ]


def _block(kind: str, lines: Iterable[str]) -> str:
    return "\n".join(("```mermaid", kind, *(f"    {line}" for line in lines), "```"))
