"""The Grafana dashboard of Flow C, made of the catalogue's metrics and of the alert rules."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from infra.generate.alerts import BUFFER, DECISIONS, DURATION, FAILURES, RULES, STEP, SUCCESS, VIOLATIONS

WIDTH, HEIGHT, COLUMNS = 8, 8, 24
RATE = "$__rate_interval"
SOURCE = {"type": "prometheus", "uid": "${datasource}"}


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel: a title, its queries with their legends, and the unit of their values."""

    title: str
    queries: tuple[tuple[str, str], ...]
    unit: str = "short"
    kind: str = "timeseries"


def _quantiles(name: str, by: str = "") -> tuple[tuple[str, str], ...]:
    groups = f"le, {by}" if by else "le"
    legend = f"{{{{{by}}}}} " if by else ""
    return tuple(
        (f"histogram_quantile({q}, sum by ({groups}) (rate({name}_bucket[{RATE}])))", f"{legend}p{int(q * 100)}")
        for q in ((0.95,) if by else (0.5, 0.95, 0.99))
    )


def _rate(name: str, by: str) -> tuple[tuple[str, str], ...]:
    return ((f"sum by ({by}) (rate({name}[{RATE}]))", f"{{{{{by}}}}}"),)


def _total(name: str, legend: str) -> tuple[str, str]:
    return (f"sum(increase({name}[$__range]))", legend)


STATES = tuple((rule.state, f"{rule.alert} {{{{step}}}}" if "step" in rule.signal else rule.alert) for rule in RULES)
GOOD_RATE = next(rule.signal for rule in RULES if rule.alert == "FlowCLowSuccessRate")

ROWS: Sequence[tuple[str, Sequence[Panel]]] = (
    ("State", (Panel("Objectives", STATES, kind="state-timeline"),)),
    (
        "Flows",
        (
            Panel("Success rate", ((GOOD_RATE, "success"),), "percentunit", "gauge"),
            Panel("Decisions, flows", (_total(DECISIONS, "decisions"), _total(SUCCESS, "completed")), kind="stat"),
            Panel("Active flows", (("max(orchestration_workflows_active)", "active"),)),
            Panel("Failures by reason", _rate(FAILURES, "reason")),
            Panel("Flows ended", _rate("orchestration_workflows_completed_total", "status")),
        ),
    ),
    (
        "Latency and steps",
        (
            Panel("Flow duration", (*_quantiles(DURATION), ("vector(14400)", "SLA")), "s"),
            Panel("Step duration", _quantiles(STEP, "step"), "s"),
            Panel("Functions at work", _quantiles("flowc_event_duration_seconds", "function"), "s"),
        ),
    ),
    (
        "Tickets",
        (
            Panel("Tickets by status", (("max by (status) (tickets_by_status)", "{{status}}"),)),
            Panel("Tickets generated", _rate("orchestration_tickets_generated_total", "task_type")),
            Panel("Tickets ended", _rate("orchestration_tickets_completed_total", "status")),
            Panel(
                "Retries, reassignments",
                tuple(
                    (f"sum(rate({name}[{RATE}]))", name)
                    for name in ("ticket_retries_total", "ticket_reassignments_total")
                ),
            ),
        ),
    ),
    (
        "SLA",
        (
            Panel("Deadlines missed", (_total(VIOLATIONS, "missed"),), kind="stat"),
            Panel("Time limits that ran out", _rate("flowc_timeouts_total", "limit")),
            Panel(
                "Least time left", (("min by (risk_band) (orchestration_sla_remaining_seconds)", "{{risk_band}}"),), "s"
            ),
        ),
    ),
    (
        "Workers",
        (
            Panel("Workers by health", (("max by (status) (agents_active)", "{{status}}"),)),
            Panel("Registry calls", _rate("neural_hive_service_registry_calls_total", "status")),
            Panel("Discovery", (*_quantiles("discovery_duration_seconds"),), "s"),
            Panel("Messages not taken", _rate("webhooks_failed_total", "reason")),
        ),
    ),
    (
        "Telemetry, queue, API",
        (
            Panel("Telemetry buffer", ((f"max({BUFFER})", "waiting"),)),
            Panel(
                "Telemetry",
                (
                    (f"sum(rate(neural_hive_flow_c_telemetry_published_total[{RATE}]))", "published"),
                    (f"sum(rate(neural_hive_flow_c_telemetry_lost_total[{RATE}]))", "lost"),
                ),
            ),
            Panel("Queue depth", (("max(flowc_queue_depth)", "events"),)),
            Panel("Dead letters", _rate("flowc_dead_letters_total", "function")),
            Panel("API requests", _rate("api_requests_total", "code")),
            Panel("API duration", _quantiles("api_request_duration_seconds", "route"), "s"),
        ),
    ),
)


def dashboard() -> dict[str, Any]:
    """Return the dashboard as Grafana imports it."""
    return {
        "uid": "flow-c",
        "title": "Flow C",
        "description": "Made by `make observability`; do not edit.",
        "tags": ["flow-c", "orchestration"],
        "schemaVersion": 39,
        "refresh": "10s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": [{"name": "datasource", "type": "datasource", "query": "prometheus"}]},
        "panels": list(_panels()),
    }


def queries() -> Iterator[str]:
    """Yield every query of the dashboard."""
    for _, panels in ROWS:
        for panel in panels:
            yield from (query for query, _ in panel.queries)


def _panels() -> Iterator[dict[str, Any]]:
    number, top = 0, 0
    for title, panels in ROWS:
        number += 1
        yield {"id": number, "type": "row", "title": title, "gridPos": {"x": 0, "y": top, "w": COLUMNS, "h": 1}}
        top += 1
        per_row = COLUMNS // WIDTH
        for place, panel in enumerate(panels):
            number += 1
            width = COLUMNS if panel.kind == "state-timeline" else WIDTH
            left, below = place % per_row * WIDTH, place // per_row * HEIGHT
            yield _panel(number, panel, {"x": left, "y": top + below, "w": width, "h": HEIGHT})
        top += -(-len(panels) // per_row) * HEIGHT


def _panel(number: int, panel: Panel, place: dict[str, int]) -> dict[str, Any]:
    defaults: dict[str, Any] = {"unit": panel.unit, "noValue": "no data"}
    if panel.kind == "state-timeline":
        states = {"0": {"text": "good", "color": "green"}, "1": {"text": "bad", "color": "red"}}
        nothing = {"match": "null+nan", "result": {"text": "no data", "color": "gray"}}
        defaults["mappings"] = [{"type": "value", "options": states}, {"type": "special", "options": nothing}]
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "datasource": SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + place), "expr": query, "legendFormat": legend, "datasource": SOURCE}
            for place, (query, legend) in enumerate(panel.queries)
        ],
    }
