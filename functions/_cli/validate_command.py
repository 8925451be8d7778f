"""`flowc validate`: the checks of C1 without a platform, each finding with its place in the file."""

from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from functions._cli.console import WRONG_USE, CommandFailed, print_json, run, say
from functions._cli.options import AsJson
from functions._core.explain.spans import counted, span_of_seconds

if TYPE_CHECKING:
    from functions._cli.decision_file import DecisionFile

KINDS = {"errors": "error", "warnings": "warning", "approval": "approval"}
"""What is found, and the word for one of it."""


def validate(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE", help="A decision or a plan as JSON or YAML, or a CloudEvent with one; - is stdin."
        ),
    ],
    *,
    as_json: AsJson = False,
) -> None:
    """Check a decision or a plan without submitting it: what C1 would refuse, and what it would warn of.

    Each finding comes with its line and column. The exit status is 1 when the decision would be refused, 2 when the
    file holds none.
    """
    run(_validate(file, as_json=as_json))


async def _validate(name: str, *, as_json: bool) -> int:
    begun = perf_counter()
    file = _read(name)
    found = _checked(file)
    found["duration_ms"] = round(1000 * (perf_counter() - begun), 3)
    errors, needs, edges = found["errors"], found["approval"], found["redundant_edges"]
    if as_json:
        print_json({"valid": not errors, **found, **_located(file, found)})
        return 1 if errors else 0
    _tell(file, found)
    if errors:
        typer.echo(f"{name}: would be rejected")
        return 1
    if edges:
        say(f"redundant, as other dependencies imply it: {', '.join(edges)}")
    typer.echo(f"{name}: valid{', waits for approval' if needs else ''}")
    path = span_of_seconds(found["critical_path_ms"] / 1000)
    typer.echo(f"{counted(found['levels'], 'level')}, critical path {path}, checked in {found['duration_ms']:.1f} ms")
    return 0


def _read(name: str) -> "DecisionFile":
    """Return what a file holds; raise `CommandFailed` with the line that cannot be read."""
    from functions._cli.decision_file import read_file, text_of
    from functions._core.errors import Rejected

    text = text_of(name)
    try:
        return read_file(name, text)
    except Rejected as error:
        from functions._cli.text_places import SPOKEN, picture_of, spoken_place

        if not SPOKEN.search(str(error)):
            raise CommandFailed(f"{name}: {error}", exit_status=WRONG_USE) from error
        place = spoken_place(str(error))
        picture = picture_of(text.decode(errors="replace").split("\n"), place)
        message = "\n".join((f"{name}:{place.line}:{place.column}: {error}", *picture))
        raise CommandFailed(message, exit_status=WRONG_USE) from error


def _located(file: "DecisionFile", found: dict[str, Any]) -> dict[str, Any]:
    """Return the findings with `line` and `column`."""
    from functions._core.records.record import fields_of

    reasons = [reason for kind in KINDS for reason in found[kind]]
    places = file.places({reason.where or "" for reason in reasons}) if reasons else {}
    return {
        kind: [
            {**fields_of(reason), "line": places[reason.where or ""][0], "column": places[reason.where or ""][1]}
            for reason in found[kind]
        ]
        for kind in KINDS
    }


def _tell(file: "DecisionFile", found: dict[str, Any]) -> None:
    """Say each finding with its place, the line and a caret."""
    if not any(found[kind] for kind in KINDS):
        return
    from functions._cli.text_places import TextPlace, picture_of
    from functions._cli.words import clean

    for kind, reasons in _located(file, found).items():
        for reason in reasons:
            place = TextPlace(reason["line"], reason["column"])
            head = f"{file.name}:{place.line}:{place.column}: {KINDS[kind]}"
            say(f"{head}: {clean(reason['message'])} ({reason['code']})")
            for line in picture_of(file.lines, place):
                say(line)


def _checked(file: "DecisionFile") -> dict[str, Any]:
    """Return errors, warnings and why a person would be asked; and of a valid plan its shape."""
    from datetime import UTC, datetime

    from functions._core.decision.control_checks import has_branches
    from functions._core.decision.reading import (
        InvalidDecision,
        approval_reasons,
        check_plan,
        decision_in,
        refusal_reasons,
    )
    from functions._core.decision.unknown_fields import unknown_fields
    from functions._core.planning.graph import named_edges, schedule

    document = file.event.data
    unknown = unknown_fields(document)
    shape: dict[str, Any] = {"levels": None, "critical_path_ms": None, "redundant_edges": []}
    try:
        decision = decision_in(document)
    except InvalidDecision as invalid:
        return {"errors": invalid.reasons, "warnings": unknown, "approval": (), **shape}
    now = datetime.now(UTC)
    errors, warnings = check_plan(decision, now)
    if not errors:
        tasks = decision.cognitive_plan.tasks
        plan = schedule(tasks, now, decision.deadline(now))
        edges = () if has_branches(tasks) else named_edges(plan.redundant(tasks))
        shape = {"levels": plan.levels, "critical_path_ms": plan.critical_path_ms, "redundant_edges": list(edges)}
    return {
        "errors": (*errors, *refusal_reasons(decision)),
        "warnings": (*warnings, *unknown),
        "approval": approval_reasons(decision),
        **shape,
    }
