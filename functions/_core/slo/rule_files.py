"""Alert rules of Prometheus for SLOs: two burn rates over two windows each, for a page and for a ticket. Pure.

The numbers are those of the Site Reliability Workbook, "Alerting on SLOs", for 30 days, as Sloth has them for other
windows, too: an alert fires when a part of the budget would be spent within its long window at the rate of the errors,
and the short window says that it still burns. A file is YAML whose scalars are JSON strings: nothing in a name ends
before its end, and none of it is a template of Prometheus.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from functions._core.slo.definition import WINDOW, Aggregation, Slo, SloType

RECORD = "slo:sli_error:ratio_rate"
"""The series of error rates; the window is the end of its name, as in Sloth's files."""

PAGE, TICKET = "page", "ticket"
PAGE_ALERT, TICKET_ALERT = "SloBurnsFast", "SloBurnsSlowly"

RUNBOOKS = "docs/operate/runbooks"
"""Where the pages are that alerts refer to, in the repository of the platform."""

HOURS: Mapping[str, float] = {"5m": 1 / 12, "30m": 0.5, "1h": 1, "2h": 2, "6h": 6, "1d": 24, "3d": 72}
"""The windows of rules, and their hours."""

LEAST_FACTOR = 28 / 30
"""The lowest burn rate that is alerted, the slowest for four weeks: at 1 a budget lasts just as long as its window."""

OF_SERIES: Mapping[Aggregation, str] = {
    Aggregation.AVG: "avg",
    Aggregation.MIN: "min",
    Aggregation.MAX: "max",
    Aggregation.SUM: "sum",
    Aggregation.LAST: "avg",
    Aggregation.RATIO: "avg",
}
"""How several series become one; `last` and `ratio` are for queries that give one."""


class BurnAlert(NamedTuple):
    """A pair of windows: `share` of the budget, spent within the `long` one, is what is too fast."""

    severity: str
    share: float
    short: str
    long: str

    def factor(self, window_days: int) -> float:
        """Return the burn rate above which it fires, for an SLO over so many days."""
        return max(self.share * window_days * 24 / HOURS[self.long], LEAST_FACTOR)


BURN_ALERTS: Sequence[BurnAlert] = (
    BurnAlert(PAGE, 0.02, "5m", "1h"),
    BurnAlert(PAGE, 0.05, "30m", "6h"),
    BurnAlert(TICKET, 0.1, "2h", "1d"),
    BurnAlert(TICKET, 0.1, "6h", "3d"),
)
"""Over 30 days their burn rates are 14.4, 6, 3 and 1."""


def rules_of(slos: Iterable[Slo]) -> str:
    """Return the file of rules for those of the SLOs that are enabled and whose indicator is a query."""
    lines = ["# Alert rules of SLOs: multi-window, multi-burn-rate. Made by Flow C from its SLOs; do not edit."]
    groups = [line for slo in slos if slo.enabled and slo.sli_query.query is not None for line in _group(slo)]
    return "\n".join([*lines, "groups:", *groups, ""]) if groups else "\n".join([*lines, "groups: []", ""])


def fitting(slo: Slo) -> Sequence[BurnAlert]:
    """Return the pairs for an SLO: those whose long window is within its own."""
    return [pair for pair in BURN_ALERTS if HOURS[pair.long] <= slo.window_days * 24]


def error_query(slo: Slo, window: str) -> str:
    """Return the PromQL of an SLO's error rate over a window."""
    asked = (slo.sli_query.query or "").replace(WINDOW, window)
    one = f"{OF_SERIES[slo.sli_query.aggregation]}(\n{asked}\n)"  # a comment ends with its line
    return one if slo.kind is SloType.ERROR_RATE else f"1 - {one}"


def alert_query(slo: Slo, severity: str) -> str:
    """Return the PromQL of an SLO's alert of a severity."""
    budget, matcher = f"{1 - slo.target:.9g}", f"{{slo={json.dumps(slo.slo_id)}}}"

    def burning(pair: BurnAlert, window: str) -> str:
        above = f"{pair.factor(slo.window_days):.9g} * {budget}"
        return f"  max without (slo_window) ({RECORD}{window}{matcher} > ({above}))"

    pairs = [pair for pair in fitting(slo) if pair.severity == severity]
    both = [f"(\n{burning(pair, pair.short)}\n  and\n{burning(pair, pair.long)}\n)" for pair in pairs]
    return "\nor\n".join(both)


def _group(slo: Slo) -> Iterator[str]:
    yield f"  - name: {quoted(f'flowc-slo-{slo.slo_id}')}"
    yield "    rules:"
    pairs = fitting(slo)
    windows = [window for window in HOURS if any(window in {pair.short, pair.long} for pair in pairs)]
    of_slo = {"slo": slo.slo_id, "slo_name": slo.name, "service": slo.service_name}
    for window in windows:
        labels = of_slo | {"slo_window": window}
        yield from _rule({"record": f"{RECORD}{window}", "expr": error_query(slo, window)}, labels)
    for severity, alert in ((PAGE, PAGE_ALERT), (TICKET, TICKET_ALERT)):
        if any(pair.severity == severity for pair in pairs):
            about = {
                "summary": untemplated(f"{slo.service_name}: the error budget of {slo.name} burns too fast"),
                "description": "At this rate it is spent before its window ends: `flowc budget` shows it.",
                "runbook_url": f"{RUNBOOKS}/{alert}.md",
            }
            yield from _rule({"alert": alert, "expr": alert_query(slo, severity)}, {"severity": severity}, about)


def _rule(
    fields: Mapping[str, str], labels: Mapping[str, str], annotations: Mapping[str, str] | None = None
) -> Iterator[str]:
    start = "      - "
    for name, value in fields.items():
        yield f"{start}{name}: {quoted(value)}"
        start = "        "
    yield f"        labels: {{{', '.join(f'{name}: {quoted(value)}' for name, value in labels.items())}}}"
    if annotations is not None:
        yield "        annotations:"
        yield from (f"          {name}: {quoted(value)}" for name, value in annotations.items())


def quoted(text: str) -> str:
    """Return text as a double-quoted scalar of YAML, on one line, with an escape for what nobody sees."""
    return "".join(character if character.isprintable() else f"\\U{ord(character):08x}" for character in _escaped(text))


def untemplated(text: str) -> str:
    """Return text that Prometheus shows as it is: labels and annotations of alerts are templates."""
    return text.replace("{{", '{{ "{{" }}')


def _escaped(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
