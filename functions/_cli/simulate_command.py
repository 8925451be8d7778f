"""`flowc simulate`: the real platform in virtual time, with faults; what a plan takes, every invariant checked."""

import os
import shlex
from typing import TYPE_CHECKING, Any

import typer

from functions._cli.console import WRONG_USE, CommandFailed, console, print_json, say
from functions._cli.options import AsJson
from functions._cli.simulate_options import (
    MOST_JOBS,
    RUNS,
    At,
    FaultNames,
    History,
    Jobs,
    Outputs,
    Plan,
    Runs,
    Seed,
    Slots,
    Workers,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from functions._simulator.plans import Scenario
    from functions._simulator.report import SimulationReport
    from functions._simulator.run import Result

WORKERS = SLOTS = 4
SHOWN = 10
"""Broken runs that are shown."""


def simulate(  # noqa: PLR0913 its options
    plan: Plan = "",
    *,
    seed: Seed = None,
    faults: FaultNames = "all",
    runs: Runs = None,
    workers: Workers = WORKERS,
    slots: Slots = SLOTS,
    at: At = "",
    outputs: Outputs = "",
    jobs: Jobs = None,
    history: History = False,
    as_json: AsJson = False,
) -> None:
    """Run a plan through the real platform, in virtual time and with faults, and check every invariant at every step.

    Prints when the flows were done, and how likely the SLA is met.
    The exit status is 1 when an invariant is violated, which comes with the command that shows it again.
    """
    if faults.strip().lower() == "list":
        _list_faults()
        return
    named, start = _named(faults), _moment(at)
    first, count = (1 if seed is None else seed), runs or (RUNS if seed is None else 1)
    if history and count > 1:
        raise typer.BadParameter("it is about one run: give its --seed, and no --runs", param_hint="--history")
    try:
        scenario = _scenario(plan, workers, slots, outputs)
        report = _run(range(first, first + count), named, scenario, start, jobs, history=history)
    except CommandFailed as failure:
        say(f"flowc: {failure}")
        raise typer.Exit(failure.exit_status) from None
    if history:
        typer.echo("\n".join(report.results[0].history))
    elif as_json:
        print_json(report.as_json())
    else:
        _show(report, plan)
    _complain(report, f"flowc simulate {_again(plan, workers, slots, at, outputs)}--faults {faults} --seed")


def _again(plan: str, workers: int, slots: int, at: str, outputs: str) -> str:
    """Return the arguments that say what was simulated, beside faults and seed."""
    fleet = ["--workers", str(workers), "--slots", str(slots)] if (workers, slots) != (WORKERS, SLOTS) else []
    given = ["--outputs", outputs] if outputs else []
    words = [*([plan, *fleet, *given] if plan else []), *(["--at", at] if at else [])]
    return shlex.join(words) + " " if words else ""


def _run(
    seeds: "Sequence[int]",
    faults: "Sequence[str]",
    scenario: "Scenario | None",
    start: "datetime",
    jobs: int | None,
    *,
    history: bool,
) -> "SimulationReport":
    from rich.progress import track

    from functions._core.errors import Rejected
    from functions._simulator.report import SimulationReport
    from functions._simulator.run import simulate as simulate_one
    from functions._simulator.run import simulate_many

    shown = console(stderr=True)
    try:
        if history:
            return SimulationReport([simulate_one(seeds[0], faults, scenario, start, keep_history=True)])
        found = simulate_many(seeds, faults, scenario, start, min(jobs or os.cpu_count() or 1, MOST_JOBS))
        followed = track(found, "simulating", len(seeds), console=shown, transient=True, disable=not shown.is_terminal)
        return SimulationReport(list(followed))
    except Rejected as refusal:
        raise CommandFailed(f"the plan cannot be simulated: {refusal}", exit_status=WRONG_USE) from refusal


def _named(faults: str) -> "Sequence[str]":
    from functions._simulator.faults import parse_faults

    try:
        return parse_faults(faults)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--faults") from error


def _moment(text: str) -> "datetime":
    from datetime import datetime

    from functions._core.records.values import parse_time
    from functions._simulator.clock import START

    if not text:
        return START
    moment = parse_time(text)
    if not isinstance(moment, datetime):
        raise typer.BadParameter(f"{text!r} is no time such as 2026-01-31T08:00:00Z", param_hint="--at")
    return moment


def _scenario(plan: str, workers: int, slots: int, outputs: str) -> "Scenario | None":
    if not plan:
        if outputs:
            raise CommandFailed("--outputs are those of tasks of a PLAN", exit_status=WRONG_USE)
        return None
    from functions._cli.submission import read_decision_file
    from functions._simulator.plans import scenario_of

    data = read_decision_file(plan).data
    if not isinstance(data, dict):
        raise CommandFailed(f"{plan}: a decision is a JSON object", exit_status=WRONG_USE)
    return scenario_of(data, workers, slots, _outputs_in(outputs) if outputs else None)


def _outputs_in(name: str) -> "Mapping[str, Any]":
    from functions._cli.decision_file import text_of
    from functions._core.errors import Rejected
    from functions._core.records.json_text import parse_json

    try:
        found = parse_json(text_of(name))
    except Rejected as error:
        raise CommandFailed(f"{name}: {error}", exit_status=WRONG_USE) from error
    if not isinstance(found, dict):
        raise CommandFailed(f"{name}: outputs are a JSON object, by task id", exit_status=WRONG_USE)
    return found


def _list_faults() -> None:
    from functions._simulator.faults import CATALOGUE

    for fault in CATALOGUE:
        typer.echo(f"{fault.name:<22}{fault.sentence}")


def _show(report: "SimulationReport", plan: str) -> None:
    first, last = report.results[0].seed, report.results[-1].seed
    about = f"of {plan}" if plan else "each of a plan of its own"
    seeds = f"seed {first}" if first == last else f"seeds {first} to {last}"
    typer.echo(f"{len(report.results)} runs {about}, {seeds}")
    for line in report.lines():
        typer.echo(line)


def _complain(report: "SimulationReport", command: str) -> None:
    """Say which invariants were violated, and leave with exit status 1; or say that none was."""
    if not report.broken:
        say(f"Every invariant held at all of {sum(result.steps for result in report.results)} steps.")
        return
    say(f"{len(report.broken)} of {len(report.results)} runs violated an invariant:")
    for result in report.broken[:SHOWN]:
        say(_complaint(result))
        say(f"  {command} {result.seed}")
    raise typer.Exit(1)


def _complaint(result: "Result") -> str:
    told = [f"seed {result.seed}: {one.sentence}\n  {one.at:%H:%M:%S} {one.detail}" for one in result.violations]
    return told[0]
