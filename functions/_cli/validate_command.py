"""`flowc validate`: the checks of C1 without a platform."""

from time import perf_counter
from typing import Annotated, Any

import typer

from functions._cli.console import print_json, run, say
from functions._cli.options import AsJson
from functions._core.explain.spans import counted, span_of_seconds


def validate(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="A decision as JSON, or a CloudEvent with it; - is stdin.")
    ],
    *,
    as_json: AsJson = False,
) -> None:
    """Check a decision without submitting it: what C1 would refuse, and what it would warn of.

    The exit status is 1 when it would be refused, 2 when the file is no decision.
    """
    run(_validate(file, as_json=as_json))


async def _validate(file: str, *, as_json: bool) -> int:
    begun = perf_counter()
    found = _checked(file)
    found["duration_ms"] = round(1000 * (perf_counter() - begun), 3)
    errors, needs, edges = found["errors"], found["approval"], found["redundant_edges"]
    if as_json:
        from functions._core.records.record import fields_of

        reasons = {kind: [fields_of(reason) for reason in found[kind]] for kind in ("errors", "warnings", "approval")}
        print_json({"valid": not errors, **found, **reasons})
        return 1 if errors else 0
    for kind, reasons in (("error", errors), ("warning", found["warnings"]), ("approval", needs)):
        for reason in reasons:
            say(f"{kind}: {reason.message} ({reason.code})")
    if errors:
        typer.echo(f"{file}: would be rejected")
        return 1
    if edges:
        say(f"redundant, as other dependencies imply it: {', '.join(edges)}")
    typer.echo(f"{file}: valid{', waits for approval' if needs else ''}")
    path = span_of_seconds(found["critical_path_ms"] / 1000)
    typer.echo(f"{counted(found['levels'], 'level')}, critical path {path}, checked in {found['duration_ms']:.1f} ms")
    return 0


def _checked(file: str) -> dict[str, Any]:
    """Return errors, warnings and why a person would be asked; and of a valid plan its shape."""
    from datetime import UTC, datetime

    from functions._cli.submission import read_decision_file
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

    document = read_decision_file(file).data
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
