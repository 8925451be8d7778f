"""`flowc cost`: what a plan costs on AWS, from what its functions ask of AWS, beside what else AWS offers."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from functions._cli.console import WRONG_USE, CommandFailed, console, print_json, say
from functions._cli.options import AsJson

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from functions._cost.bill import Bill

A_MONTH = 1_000_000
TASKS = 5
MILLION = 1e6

Plan = Annotated[
    str,
    typer.Argument(
        metavar="[PLAN]",
        show_default=False,
        help=f"A decision as for submit, - is stdin; without one, {TASKS} tasks: one, three, one.",
    ),
]
PricesFile = Annotated[
    Path | None,
    typer.Option("--prices", metavar="FILE", show_default=False, help="Prices of another day or region, as JSON."),
]
Pace = Annotated[
    int, typer.Option("--per-month", min=1, max=10**9, help="Flows in a month: the more, the more of them share.")
]


Subscribed = Annotated[
    str,
    typer.Option(
        "--subscriber-events", metavar="none|all|TYPE,…", help="Transitions that the stack puts on the bus besides."
    ),
]


def cost(
    plan: Plan = "",
    *,
    prices: PricesFile = None,
    per_month: Pace = A_MONTH,
    subscriber_events: Subscribed = "none",
    as_json: AsJson = False,
) -> None:
    """Print what a plan costs on AWS, for a flow and for a million.

    Its functions are run as Lambda runs them, in virtual time, over services in memory that count what is asked of
    them. Tasks take what they are estimated to take. Nothing is sent anywhere.
    """
    try:
        found = _bill(_decision(plan), prices, per_month, subscriber_events)
    except CommandFailed as failure:
        say(f"flowc: {failure}")
        raise typer.Exit(failure.exit_status) from None
    if as_json:
        print_json(found.as_json())
    else:
        _show(found, per_month)


def _decision(plan: str) -> "Mapping[str, Any]":
    if plan:
        from functions._cli.submission import read_decision_file

        data = read_decision_file(plan).data
        if not isinstance(data, dict):
            raise CommandFailed(f"{plan}: a decision is a JSON object", exit_status=WRONG_USE)
        return data
    from functions._core.decision.sample import Shape, sample_decision

    return sample_decision(TASKS, Shape.FORK_JOIN, 1)


def _bill(decision: "Mapping[str, Any]", prices: Path | None, per_month: int, subscribed: str) -> "Bill":
    from functions._core.errors import Rejected
    from functions._cost.bill import Bill
    from functions._cost.prices import PRICES, Prices, PricesUnusable
    from functions._cost.run import Broken, counted, flows_of
    from functions._engine.settings import SettingsError

    try:
        priced = Prices.read(prices or PRICES)
        return Bill.of(counted(decision, flows_of(decision), per_month, subscribed), priced)
    except SettingsError as wrong:
        raise CommandFailed(str(wrong), exit_status=WRONG_USE) from wrong
    except PricesUnusable as wrong:
        raise CommandFailed(f"the prices cannot be used: {wrong}", exit_status=WRONG_USE) from wrong
    except (Rejected, Broken) as refusal:
        raise CommandFailed(f"the plan cannot be priced: {refusal}", exit_status=WRONG_USE) from refusal


def _show(bill: "Bill", per_month: int) -> None:
    from functions._cli.tables import table

    shown = console()
    prices = bill.prices
    shown.print(
        f"A flow of {bill.tasks} tasks on AWS, {prices.region}, prices of {prices.date}, {per_month:,} flows a month:\n"
    )
    new = table("", "A FLOW", "A MILLION FLOWS", right=("A FLOW", "A MILLION FLOWS"))
    for title, lines, total in _sections(bill):
        for line in lines:
            new.add_row(f"{line.name}", f"{line.number:,.1f}", f"${line.dollars * MILLION:,.2f}")
        new.add_row(title, "", f"${total * MILLION:,.2f}", style="bold")
    for name, dollars in bill.rivals.items():
        times = f"{dollars / bill.steps:.1f} times the steps" if bill.steps else ""
        new.add_row(name, times, f"${dollars * MILLION:,.2f}")
    shown.print(new)
    shown.print(
        f"\nWith no flow at all: ${bill.idle:.2f} a month for ticks, ${bill.worker:.2f} for the heartbeats of a worker."
        "\nNot in it: workers, free tiers, support, data that leaves AWS, alarms, dashboards, CloudWatch's own metrics."
        f"\nAssumed: {prices.assumptions}",
        soft_wrap=True,
        highlight=False,
    )


def _sections(bill: "Bill") -> "Sequence[tuple[str, Sequence[Any], float]]":
    steps = [line for line in bill.lines if not line.around]
    around = [line for line in bill.lines if line.around]
    return [("The steps of a flow", steps, bill.steps), ("With all around them", around, bill.whole)]
