"""The Grafana dashboards, made of the catalogue's metrics and of the alert rules."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from infra.generate.executor_panels import EXECUTORS
from infra.generate.learning_panels import INSIGHT_ROWS, MODEL_ROWS
from infra.generate.panels import FLOW_C, ORCHESTRATION, REGISTRY, TICKET_SERVICE, Panel, Rows
from infra.generate.slo_panels import SLA

WIDTH, HEIGHT, COLUMNS = 8, 8, 24
SOURCE = {"type": "prometheus", "uid": "${datasource}"}


@dataclass(frozen=True, slots=True)
class Dashboard:
    """One dashboard: its lasting name, its title, and its rows."""

    uid: str
    title: str
    rows: Rows


DASHBOARDS: Mapping[str, Dashboard] = {
    "flow-c": Dashboard("flow-c", "Flow C", FLOW_C),
    "orchestration": Dashboard("orchestration-flow-c", "Flow C: orchestration", ORCHESTRATION),
    "tickets": Dashboard("flow-c-tickets", "Flow C: tickets", TICKET_SERVICE),
    "registry": Dashboard("flow-c-registry", "Flow C: registry", REGISTRY),
    "sla": Dashboard("flow-c-sla", "Flow C: error budgets and freezes", SLA),
    "executors": Dashboard("flow-c-executors", "Flow C: executors", EXECUTORS),
    "insights": Dashboard("flow-c-insights", "Flow C: insights", INSIGHT_ROWS),
    "models": Dashboard("flow-c-models", "Flow C: models", MODEL_ROWS),
}
"""All dashboards by the name of their file."""


def dashboard(name: str) -> dict[str, Any]:
    """Return a dashboard as Grafana imports it."""
    one = DASHBOARDS[name]
    return {
        "uid": one.uid,
        "title": one.title,
        "description": "Made by `make observability`; do not edit.",
        "tags": ["flow-c", "orchestration"],
        "schemaVersion": 39,
        "refresh": "10s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": [{"name": "datasource", "type": "datasource", "query": "prometheus"}]},
        "panels": list(_panels(one.rows)),
    }


def queries() -> Iterator[str]:
    """Yield every query of all dashboards."""
    for one in DASHBOARDS.values():
        for _, panels in one.rows:
            yield from (query for panel in panels for query, _ in panel.queries)


def _panels(rows: Rows) -> Iterator[dict[str, Any]]:
    number, top = 0, 0
    for title, panels in rows:
        number += 1
        yield {"id": number, "type": "row", "title": title, "gridPos": {"x": 0, "y": top, "w": COLUMNS, "h": 1}}
        top, left = top + 1, 0
        for panel in panels:
            number += 1
            width = COLUMNS if panel.kind == "state-timeline" else WIDTH
            if left + width > COLUMNS:
                top, left = top + HEIGHT, 0
            yield _panel(number, panel, {"x": left, "y": top, "w": width, "h": HEIGHT})
            left += width
        top += HEIGHT


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
