"""The four kinds of anomaly in an hour of tickets and arrivals, as findings. Pure.

How sure a kind of anomaly is, is measured on history that was held out: the last part of the tickets before the hour is
judged by the part before it. What is found there is the background, and the share of an hour's anomalies beyond that
background is the precision. Where it is low, there is no finding: it is as always.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from functions._core.insights.findings import Advice, ProblemFound, entity, evidence, named
from functions._core.insights.insight import InsightType
from functions._core.learning.anomaly_kinds import (
    AnomalyKind,
    RowAnomaly,
    UsualWork,
    duration_anomalies,
    failure_anomalies,
    resource_anomalies,
)
from functions._core.learning.history import TicketRow
from functions._core.learning.series import median

LEAST_KNOWN = 100
"""Tickets before the hour from which on anything is usual."""

HELD_OUT = 0.3
"""The share of the tickets before the hour that is held out."""

PRECISE = 0.7
"""The precision below which there is no finding."""

GROUPS = 10
"""Findings of an hour, the worst first."""

SHOWN = 10
"""Tickets that a finding names."""

WORST_SCORE = 10.0
"""The score at which an anomaly is as severe as one can be."""

JUDGES = {
    AnomalyKind.DURATION: duration_anomalies,
    AnomalyKind.RESOURCES: resource_anomalies,
    AnomalyKind.FAILURES: failure_anomalies,
}

MEASURES: Mapping[str, str] = {
    "actual_ms": "ms of work",
    "worker_ms": "ms of workers over all attempts",
    "parameters_bytes": "bytes of parameters",
    "output_bytes": "bytes of output",
}


class OddRows(NamedTuple):
    """What an hour of tickets has that is not as usual."""

    anomalies: Mapping[AnomalyKind, Sequence[RowAnomaly]]
    """The anomalies by kind."""
    precision: Mapping[AnomalyKind, float]
    """The share of them that is beyond the background, 0 to 1."""


def odd_rows(before: Sequence[TicketRow], hour: Sequence[TicketRow]) -> OddRows:
    """Return what an hour of tickets has that those before it have not, with how sure that is."""
    if len(before) < LEAST_KNOWN or not hour:
        return OddRows({}, {})
    ordered = sorted(before, key=lambda row: (row.completed_at, row.ticket_id))
    known, held_out = ordered[: -round(HELD_OUT * len(ordered))], ordered[-round(HELD_OUT * len(ordered)) :]
    usual, usual_then = UsualWork(ordered), UsualWork(known)
    found, precision = {}, {}
    for kind, judge in JUDGES.items():
        odd = judge(hour, usual)
        if not odd:
            continue
        background = len(judge(held_out, usual_then)) / len(held_out) * len(hour)
        found[kind], precision[kind] = odd, max(0.0, 1 - background / len(odd))
    return OddRows(found, precision)


def row_problems(odd: OddRows, hour: Sequence[TicketRow]) -> Iterator[ProblemFound]:
    """Yield the findings: one for each worker or type that fails, one for each figure of a type of tasks."""
    types = {row.ticket_id: row.task_type.value for row in hour}
    problems = []
    for kind, anomalies in odd.anomalies.items():
        precision = odd.precision[kind]
        if precision < PRECISE:
            continue
        if kind is AnomalyKind.FAILURES:
            problems += [_failing(one, precision) for one in anomalies]
            continue
        groups: dict[tuple[str, str, bool], list[RowAnomaly]] = defaultdict(list)
        for one in anomalies:
            groups[types[one.entity_id], one.measure, one.score > 0].append(one)
        problems += [_odd(kind, key, group, precision) for key, group in groups.items()]
    yield from sorted(problems, key=lambda one: (-one.severity * one.affected, one.subject))[:GROUPS]


def _odd(
    kind: AnomalyKind,
    about: tuple[str, str, bool],
    group: Sequence[RowAnomaly],
    precision: float,
) -> ProblemFound:
    """Return the finding about a figure of a type of tasks that is too high, or too low, for some tickets."""
    task_type, measure, high = about
    number, worst = len(group), max(group, key=lambda one: (abs(one.score), one.entity_id))
    much = "more" if high else "fewer"
    return ProblemFound(
        rule=f"odd-{kind.lower()}",
        subject=f"{task_type}/{measure}/{much}",
        insight_type=InsightType.ANOMALY,
        title=f"{number} {task_type} {'ticket' if number == 1 else 'tickets'} had many {much} {MEASURES[measure]}",
        summary=f"They are not as work of their kind was before. The farthest off had {worst.value:.0f}, where "
        f"{worst.expected_low:.0f} to {worst.expected_high:.0f} {MEASURES[measure]} are usual.",
        analysis=f"Judged by the tickets of the day before; about {precision:.0%} of such findings are no background.",
        figures={
            "tickets": number,
            "worst": worst.value,
            "expected_low": worst.expected_low,
            "expected_high": worst.expected_high,
            "score": median([abs(one.score) for one in group]),
            "precision": precision,
        },
        entities=(
            entity("task_type", task_type, "source"),
            *(entity("ticket", one.entity_id, "affected") for one in group[:SHOWN]),
        ),
        advice=(Advice(action="Compare these tickets with others of their kind: `flowc why FLOW`.", share=0.4),),
        tags=("anomaly", kind.lower(), task_type),
        strength=precision * evidence(number),
        affected=number,
        severity=min(1.0, abs(worst.score) / WORST_SCORE) * 0.6,
    )


def _failing(one: RowAnomaly, precision: float) -> ProblemFound:
    who = f"worker {named(one.entity_id)}" if one.entity_type == "worker" else f"{one.entity_id} work"
    return ProblemFound(
        rule="odd-failures",
        subject=f"{one.entity_type}/{one.entity_id}",
        insight_type=InsightType.ANOMALY,
        title=f"Unusually many tickets of {who} fail: {one.value:.0%}",
        summary=f"{one.value:.0%} of its tickets of an hour failed, where {one.expected_high:.0%} would be much "
        "already. Such work failed less the day before, and fails less elsewhere.",
        analysis=f"The probability by chance is 10^-{one.score:.0f}.",
        figures={"failure_share": one.value, "expected_high": one.expected_high, "score": one.score}
        | {"precision": precision},
        entities=(entity(one.entity_type, one.entity_id, "cause"),),
        advice=(Advice(action="Read the logs of the tickets: `flowc why FLOW` names them.", share=0.5),),
        tags=("anomaly", "failures"),
        strength=precision * min(1.0, one.score / WORST_SCORE),
        affected=1,
        severity=one.value,
    )


def load_problems(anomalies: Sequence[RowAnomaly], precision: float) -> Iterator[ProblemFound]:
    """Yield the findings about buckets in which many more or fewer flows came than was forecast; one for each side."""
    for high in (True, False):
        group = [one for one in anomalies if (one.score > 0) is high]
        if not group:
            continue
        worst = max(group, key=lambda one: abs(one.score))
        yield ProblemFound(
            rule="odd-load",
            subject="more" if high else "fewer",
            insight_type=InsightType.ANOMALY,
            title=f"Many {'more' if high else 'fewer'} flows came than was forecast: {worst.value:.0f}",
            summary=f"In a quarter of an hour {worst.value:.0f} flows came, where {worst.expected_low:.0f} to "
            f"{worst.expected_high:.0f} were expected; {len(group)} of the last quarters were like that.",
            analysis="Compared with the forecast that was made before.",
            figures={"value": worst.value, "expected_low": worst.expected_low, "expected_high": worst.expected_high}
            | {"score": abs(worst.score), "precision": precision},
            entities=(entity("metric", worst.entity_id, "source"),),
            advice=(Advice(action="Look at whether one sender sends more, or another one less.", share=0.4),),
            tags=("anomaly", "load"),
            strength=precision * min(1.0, abs(worst.score) / WORST_SCORE),
            affected=1,
            severity=0.4 * min(1.0, abs(worst.score) / WORST_SCORE),
        )
