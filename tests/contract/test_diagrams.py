"""The README's diagrams are drawn from the tables, and nothing around them is touched."""

from pathlib import Path

import pytest

from functions._core.events import ROUTES
from functions._core.machine import FLOW_TIMEOUTS, FLOW_TRANSITIONS, TICKET_TIMEOUTS, TICKET_TRANSITIONS
from functions._runtime import generate_diagrams
from functions._runtime.contract.diagrams import DIAGRAMS, chain_diagram, flow_diagram, ticket_diagram
from functions._runtime.generate_diagrams import EMPTY, main, redrawn


def test_the_readme_has_every_diagram_as_the_tables_draw_it() -> None:
    assert main(["--check"]) == 0


def test_every_edge_of_the_tables_is_drawn_and_every_timeout_marked() -> None:
    flow, ticket = flow_diagram(), ticket_diagram()
    for status, row in FLOW_TRANSITIONS.items():
        for trigger, target in row.items():
            edge = next(line for line in flow.splitlines() if f"{status} --> {_end(target)}:" in line)
            assert ("⏱ " if FLOW_TIMEOUTS[status] is trigger else "") + trigger in _labels(edge)
    for state, edges in TICKET_TRANSITIONS.items():
        for cause, goal in edges.items():
            edge = next(line for line in ticket.splitlines() if f"{state} --> {goal}:" in line)
            assert ("⏱ " if TICKET_TIMEOUTS[state] is cause else "") + cause in _labels(edge)
    assert flow.count("⏱") == len(FLOW_TIMEOUTS)
    assert ticket.count("⏱") == len(TICKET_TIMEOUTS)


def _end(target: str) -> str:
    return "Ended" if target == "END" else target


def _labels(edge: str) -> list[str]:
    return edge.partition(": ")[2].split("<br/>")


def test_the_chain_has_every_event_that_a_function_handles() -> None:
    lines = chain_diagram().splitlines()
    for noun, route in ROUTES.items():
        assert [line for line in lines if line.endswith(f"| {route.function}") and noun in line], noun


def test_only_what_stands_between_the_markers_changes() -> None:
    text = "# Title\n\nbefore <!-- a note -->\n" + EMPTY.replace("# Flow C\n", "") + "\nafter\n"
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
    readme = tmp_path / "README.md"
    readme.write_text(text, encoding="utf-8")
    monkeypatch.setattr(generate_diagrams, "README", readme)
    assert main([]) == 1
    assert "each once" in capsys.readouterr().err
    assert readme.read_text(encoding="utf-8") == text


def test_a_readme_is_begun_where_there_is_none_and_drift_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    readme = tmp_path / "README.md"
    monkeypatch.setattr(generate_diagrams, "README", readme)
    assert main(["--check"]) == 1
    assert not readme.exists()
    assert main([]) == 0
    assert main(["--check"]) == 0
    assert readme.read_text(encoding="utf-8").startswith("# Flow C\n\n<!-- diagram: flow -->\n```mermaid\n")
    readme.write_text(readme.read_text(encoding="utf-8").replace("validated", "guessed"), encoding="utf-8")
    assert main(["--check"]) == 1
    assert "make diagrams" in capsys.readouterr().err
