"""`flowc validate`: the checks of C1 without a platform."""

from typing import TYPE_CHECKING, Annotated

import typer

from functions._cli.console import print_json, run, say
from functions._cli.options import AsJson

if TYPE_CHECKING:
    from functions._core.records.models import Reason


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
    errors, warnings, needs = _checked(file)
    if as_json:
        from functions._core.records.record import fields_of

        found = {"valid": not errors, "errors": errors, "warnings": warnings, "approval": needs}
        print_json(
            {name: [fields_of(r) for r in one] if isinstance(one, tuple) else one for name, one in found.items()}
        )
        return 1 if errors else 0
    for kind, reasons in (("error", errors), ("warning", warnings), ("approval", needs)):
        for reason in reasons:
            say(f"{kind}: {reason.message} ({reason.code})")
    if errors:
        typer.echo(f"{file}: would be rejected")
        return 1
    typer.echo(f"{file}: valid{', waits for approval' if needs else ''}")
    return 0


def _checked(file: str) -> "tuple[tuple[Reason, ...], tuple[Reason, ...], tuple[Reason, ...]]":
    """Return errors, warnings and why a person would be asked."""
    from datetime import UTC, datetime

    from functions._cli.submission import read_decision_file
    from functions._core.decision.reading import (
        InvalidDecision,
        approval_reasons,
        check_plan,
        decision_in,
        refusal_reasons,
    )
    from functions._core.decision.unknown_fields import unknown_fields

    document = read_decision_file(file).data
    unknown = unknown_fields(document)
    try:
        decision = decision_in(document)
    except InvalidDecision as invalid:
        return invalid.reasons, unknown, ()
    errors, warnings = check_plan(decision, datetime.now(UTC))
    return (*errors, *refusal_reasons(decision)), (*warnings, *unknown), approval_reasons(decision)
