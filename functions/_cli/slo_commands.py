"""`flowc slo`: service level objectives, made, changed, tested and looked at."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from functions._cli import slo_check, slo_documents, slo_work
from functions._cli.admission_commands import admission
from functions._cli.console import run
from functions._cli.one_record import By, Why
from functions._cli.options import DEFAULT_URL, PAGE, ApiKey, AsJson, Cursor, Limit, Url
from functions._cli.slo_words import Service, SloName, milliseconds, pairs, span
from functions._cli.what_if_command import what_if

slo = typer.Typer(
    help="Say what is good enough: service level objectives (SLOs).", no_args_is_help=True, rich_markup_mode=None
)
slo.add_typer(admission, name="admission")
slo.command("what-if")(what_if)

MANY: Any = []  # Typer's way

Target = Annotated[str, typer.Option("--target", help="The share that has to be good, such as 99.9 or 0.999.")]
NewTarget = Annotated[
    str | None, typer.Option("--target", show_default=False, help="The share that has to be good, such as 99.9.")
]
Days = Annotated[int | None, typer.Option("--window-days", min=1, max=90, help="Days over which it is kept; 30.")]
Kind = Annotated[str | None, typer.Option("--type", help="AVAILABILITY, LATENCY, ERROR_RATE or CUSTOM.")]
Query = Annotated[str | None, typer.Option("--query", metavar="PROMQL", help="PromQL, with {{window}} for the window.")]
Aggregation = Annotated[
    str | None, typer.Option(help="How several series become one: avg, min, max, sum, last or ratio.")
]
Measure = Annotated[
    str | None,
    typer.Option(
        help="In place of --query, of our history: flow_success, sla_met, completion_time, ticket_success, queue_wait."
    ),
]
Within = Annotated[
    str | None,
    typer.Option(callback=span, metavar="SPAN", help="The time of completion_time or queue_wait, such as 30s."),
]
Only = Annotated[
    list[str],
    typer.Option(
        "--only",
        metavar="NAME=VALUE",
        help="What of the history: plan_id, tenant_id, task_type, capability, worker_id, or label.NAME; repeatable.",
    ),
]
Labels = Annotated[list[str], typer.Option("--label", metavar="NAME:VALUE", help="A label of the SLO; repeatable.")]
Layer = Annotated[str | None, typer.Option(help="The layer that the service is in.")]
Component = Annotated[str | None, typer.Option(help="A part of the service.")]
Text = Annotated[str | None, typer.Option("--description", help="What it is for.")]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write them to a file, whole or not at all.")
]


@slo.command("list")
def list_slos(  # noqa: PLR0913 a filter each
    *,
    service: Service = None,
    layer: Layer = None,
    kind: Kind = None,
    deleted: Annotated[bool, typer.Option("--deleted", help="Those that were deleted.")] = False,
    limit: Limit = PAGE,
    cursor: Cursor = None,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
) -> None:
    """List the SLOs."""
    enabled = "false" if deleted else "true"
    filters = {"service_name": service, "layer": layer, "slo_type": kind, "enabled": enabled}
    run(slo_work.print_list(filters, limit, cursor, url, api_key, as_json=as_json))


@slo.command("show")
def show_slo(name: SloName, *, as_json: AsJson = False, url: Url = DEFAULT_URL, api_key: ApiKey = "") -> None:
    """Show an SLO and its budget."""
    run(slo_work.print_slo(name, url, api_key, as_json=as_json))


@slo.command("create")
def create_slo(  # noqa: PLR0913 an option for each field
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the SLO, unique for its service.")],
    *,
    service: Annotated[str, typer.Option("--service", help="The service that it is an objective of.")],
    target: Target,
    kind: Kind = None,
    window_days: Days = None,
    query: Query = None,
    aggregation: Aggregation = None,
    measure: Measure = None,
    within: Within = None,
    only: Only = MANY,
    label: Labels = MANY,
    layer: Layer = None,
    component: Component = None,
    description: Text = None,
    by: By = "",
    reason: Why = None,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
) -> None:
    """Make an SLO."""
    form = _form(target, kind, window_days, layer, component, description, label)
    form |= {"name": name, "service_name": service, "sli_query": _query(query, aggregation, measure, within, only)}
    run(slo_work.send(None, form, by, reason, url, api_key, as_json=as_json))


@slo.command("update")
def update_slo(  # noqa: PLR0913 an option for each field
    name: SloName,
    *,
    new_name: Annotated[str | None, typer.Option("--name", help="Another name.")] = None,
    service: Annotated[str | None, typer.Option("--service", help="Another service.")] = None,
    target: NewTarget = None,
    kind: Kind = None,
    window_days: Days = None,
    query: Query = None,
    aggregation: Aggregation = None,
    measure: Measure = None,
    within: Within = None,
    only: Only = MANY,
    label: Labels = MANY,
    layer: Layer = None,
    component: Component = None,
    description: Text = None,
    enable: Annotated[bool, typer.Option("--enable", help="Bring a deleted one back.")] = False,
    by: By = "",
    reason: Why = None,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
) -> None:
    """Change an SLO; what no option names stays as it is."""
    form = _form(target, kind, window_days, layer, component, description, label)
    form |= {key: value for key, value in (("name", new_name), ("service_name", service)) if value is not None}
    form |= {"enabled": True} if enable else {}
    if query is not None or measure is not None:
        form["sli_query"] = _query(query, aggregation, measure, within, only)
    if not form:
        raise typer.BadParameter("nothing is to be changed: name an option")
    run(slo_work.send(name, form, by, reason, url, api_key, as_json=as_json))


@slo.command("delete")
def delete_slo(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[SLO]", show_default=False, help="The SLO: its id, its name, or SERVICE/NAME."),
    ] = None,
    *,
    file: Annotated[
        str | None, typer.Option("--file", "-f", metavar="FILE", help="In place of SLO: the documents to delete.")
    ] = None,
    namespace: slo_documents.Namespace = None,
    by: By = "",
    reason: Why = None,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
) -> None:
    """Calculate an SLO no more; `update --enable` brings it back. With -f, delete documents and what they make."""
    if (name is None) == (file is None):
        raise typer.BadParameter("name an SLO, or a file of documents with -f")
    if file is not None:
        run(slo_documents.delete_file(file, namespace, url, api_key))
    else:
        run(slo_work.delete(name or "", by, reason, url, api_key))


slo.command("apply")(slo_documents.apply_documents)
slo.command("check")(slo_check.check_slos)


@slo.command("test")
def try_slo(name: SloName, *, as_json: AsJson = False, url: Url = DEFAULT_URL, api_key: ApiKey = "") -> None:
    """Measure an SLO now, and store nothing."""
    run(slo_work.test(name, url, api_key, as_json=as_json))


@slo.command("history")
def show_history(
    name: SloName,
    *,
    days: Annotated[int, typer.Option(min=1, max=90, help="How many days back.")] = 7,
    by: Annotated[str, typer.Option("--by", help="What becomes one line: none, hourly or daily.")] = "daily",
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
) -> None:
    """Show the course of a budget, and where it is heading."""
    run(slo_work.print_history(name, days, by, url, api_key, as_json=as_json))


@slo.command("rules")
def print_rules(
    *, service: Service = None, output: Output = None, url: Url = DEFAULT_URL, api_key: ApiKey = ""
) -> None:
    """Print alert rules of the SLOs for Prometheus: each fires when a budget burns too fast."""
    run(slo_work.print_rules(service, output, url, api_key))


@slo.command("import")
def import_rules(
    file: Annotated[str, typer.Argument(metavar="FILE", help="Alert rules of Prometheus, YAML; - is stdin.")],
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be made.")] = False,
    by: By = "",
    reason: Why = None,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
) -> None:
    """Make SLOs of alert rules."""
    run(slo_work.import_file(file, by, reason, url, api_key, dry_run=dry_run, as_json=as_json))


def _form(
    target: str | None,
    kind: str | None,
    window_days: int | None,
    layer: str | None,
    component: str | None,
    description: str | None,
    label: Sequence[str],
) -> dict[str, Any]:
    """Return the fields that are given."""
    form = {
        "target": None if target is None else _number(target),
        "slo_type": kind,
        "window_days": window_days,
        "layer": layer,
        "component": component,
        "description": description,
        "labels": pairs(label) or None,
    }
    return {name: value for name, value in form.items() if value is not None}


def _number(target: str) -> float:
    try:
        return float(target.removesuffix("%"))
    except ValueError:
        raise typer.BadParameter(f"{target!r} is no number such as 99.9", param_hint="--target") from None


def _query(
    query: str | None, aggregation: str | None, measure: str | None, within: str | None, only: Sequence[str]
) -> dict[str, Any]:
    """Return how an SLO is measured."""
    if (query is None) == (measure is None):
        raise typer.BadParameter("exactly one of --query and --measure says how it is measured")
    if query is not None:
        return {"query": query} | ({} if aggregation is None else {"aggregation": aggregation})
    history: dict[str, Any] = {"measure": measure, "labels": {}}
    for word in only:
        name, equals, value = word.partition("=")
        if not equals:
            raise typer.BadParameter(f"{word!r} is no filter: write NAME=VALUE")
        if name.startswith("label."):
            history["labels"][name.removeprefix("label.")] = value
        else:
            history[name] = value
    return {"history": history | ({} if within is None else {"within_ms": milliseconds(within)})}
