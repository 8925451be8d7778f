"""The diagrams of the architecture page are drawn from the tables, and nothing around them is touched."""

from pathlib import Path

import pytest

from functions._core.events.routes import ROUTES
from functions._core.machine.tables import (
    BACK,
    CONSOLIDATED,
    END,
    ENDED_FLOWS,
    FLOW_TIMEOUTS,
    FLOW_TRANSITIONS,
    TICKET_TIMEOUTS,
    TICKET_TRANSITIONS,
    FlowTrigger,
)
from functions._core.records.values import FlowStatus
from infra.generate import diagrams as generate_diagrams
from infra.generate.contract.diagrams import DIAGRAMS, chain_diagram, flow_diagram, ticket_diagram
from infra.generate.diagrams import EMPTY, main, redrawn


def test_the_page_has_every_diagram_as_the_tables_draw_it() -> None:
    assert main(["--check"]) == 0


def test_every_edge_of_the_tables_is_drawn_and_every_timeout_marked() -> None:
    flow, ticket = flow_diagram(), ticket_diagram()
    timeouts = {(status.value, trigger) for status, trigger in FLOW_TIMEOUTS.items()}
    for status, trigger, target in flow_edges():
        edge = next(line for line in flow.splitlines() if f"{status} --> {target}:" in line)
        assert f"{'⏱ ' if (status, trigger) in timeouts else ''}{trigger}" in _labels(edge)
    for state, edges in TICKET_TRANSITIONS.items():
        for cause, goal in edges.items():
            edge = next(line for line in ticket.splitlines() if f"{state} --> {goal}:" in line)
            assert ("⏱ " if TICKET_TIMEOUTS.get(state) is cause else "") + cause in _labels(edge)
    edges_of_time = [edge for edge in flow_edges() if edge[:2] in timeouts]
    assert flow.count("⏱") == len(edges_of_time)
    assert {status for status, _, _ in edges_of_time} == FLOW_TIMEOUTS.keys()
    assert ticket.count("⏱") == len(TICKET_TIMEOUTS)


def flow_edges() -> set[tuple[str, FlowTrigger, str]]:
    """Return every edge that a flow can take; where its row decides, each that it may decide on."""
    decided: dict[object, set[str]] = {
        CONSOLIDATED: {FlowStatus.COMPENSATING, FlowStatus.PUBLISHING},
        END: {"Ended"},
        ("PAUSED", BACK): {FlowStatus.GENERATING, FlowStatus.EXECUTING},
        ("Ended", BACK): {FlowStatus.VALIDATING, FlowStatus.EXECUTING},
    }
    table = [
        ("Ended" if status in ENDED_FLOWS else status.value, trigger, target)
        for status, row in FLOW_TRANSITIONS.items()
        for trigger, target in row.items()
    ]
    return {
        (status, trigger, node)
        for status, trigger, target in table
        for node in decided.get((status, target), decided.get(target, {target}))
    }


def _labels(edge: str) -> list[str]:
    return edge.partition(": ")[2].split("<br/>")


def test_the_chain_has_every_event_that_a_function_handles() -> None:
    lines = chain_diagram().splitlines()
    for event_type, route in ROUTES.items():
        assert [line for line in lines if line.endswith(f"| {route.function}") and event_type in line], event_type


def test_only_what_stands_between_the_markers_changes() -> None:
    text = "# Title\n\nbefore <!-- a note -->\n" + EMPTY.replace("# Architecture\n", "") + "\nafter\n"
    drawn = redrawn(text)
    for draw in DIAGRAMS.values():
        assert drawn.count(draw()) == 1
        drawn = drawn.replace(draw() + "\n", "")
    assert drawn == text
    assert redrawn(redrawn(text)) == redrawn(text)


@pytest.mark.parametrize(
    "text",
    [
        "# Nothing\n",
        EMPTY.replace("diagram: ticket", "diagram: tickets"),
        EMPTY + EMPTY,
        EMPTY.replace("<!-- /diagram -->", "<!-- end -->"),
    ],
)
def test_a_text_whose_markers_are_not_right_is_left_alone(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "architecture.md"
    page.write_text(text, encoding="utf-8")
    monkeypatch.setattr(generate_diagrams, "PAGE", page)
    assert main([]) == 1
    assert "each once" in capsys.readouterr().err
    assert page.read_text(encoding="utf-8") == text


def test_a_page_is_begun_where_there_is_none_and_drift_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "architecture.md"
    monkeypatch.setattr(generate_diagrams, "PAGE", page)
    assert main(["--check"]) == 1
    assert not page.exists()
    assert main([]) == 0
    assert main(["--check"]) == 0
    assert page.read_text(encoding="utf-8").startswith("# Architecture\n\n<!-- diagram: flow -->\n```mermaid\n")
    page.write_text(page.read_text(encoding="utf-8").replace("validated", "guessed"), encoding="utf-8")
    assert main(["--check"]) == 1
    assert "make diagrams" in capsys.readouterr().err
