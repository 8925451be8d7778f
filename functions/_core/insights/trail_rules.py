"""Rules about the trails of workers: who fails more often than not, by what a window's tickets have left on them.

The ends of tickets are counted here by the rules of `signals`: trails themselves fade, and hold ten signals of each
side at most. A trail that holds ten signals in spite of that counts as it is.
"""

from collections.abc import Iterator, Mapping
from math import fsum

from functions._core.insights.findings import Advice, ProblemFound, entity, named
from functions._core.insights.insight import InsightType
from functions._core.insights.window import HistoryWindow
from functions._core.learning.history import TicketRow
from functions._core.placement.pheromones import NO_TRAILS, Trail
from functions._core.placement.signals import NOT_ITS_WORK, STRENGTHS, SignalKind
from functions._core.records.record import Record
from functions._core.records.values import TicketStatus

FAILURES = 0.5
"""The share of failures that a trail may have: more than half is a finding, half is not."""

ENOUGH = 10
"""Signals that a trail has to have before its share says anything."""

MOST_DOMAINS = 50
"""Domains of one window whose statistics are kept, those with most signals first."""

MOST_FOUND = 20
"""Trails of one window that are findings, those with most failures first."""


class DomainStatistics(Record):
    """What the workers' trails in one domain say."""

    domain: str
    """The domain: that of the plan, else the type of the task."""
    signals: int = 0
    """Ends of tickets in the window that say something of their worker."""
    successes: int = 0
    """Those that completed."""
    failures: int = 0
    """Those that failed by their work."""
    warnings: int = 0
    """Attempts that failed before the last one."""
    workers: int = 0
    """Workers that had these tickets."""
    mean_score: float | None = None
    """The mean score of the trails as rankings see them, 0 to 1; None without trails."""

    @property
    def failure_share(self) -> float:
        """The share of failures, a warning counting half; 0 without signals."""
        bad = self.failures + STRENGTHS[SignalKind.WARNING] * self.warnings
        return bad / (self.successes + bad) if bad else 0.0


def trail_problems(window: HistoryWindow) -> Iterator[ProblemFound]:
    """Yield the trails on which more than half of at least ten signals are failures."""
    found = []
    counted = _by_trail(window)
    for (domain, worker_id), (good, bad) in counted.items():
        trail = window.trails.get(domain, NO_TRAILS).get(worker_id)
        pos, neg = max([(float(good), float(bad)), _weights(trail)], key=lambda pair: pair[0] + pair[1])
        if pos + neg >= ENOUGH and neg / (pos + neg) > FAILURES:
            found.append((neg, pos, domain, worker_id, trail))
    statistics = domain_statistics(window) if found else {}
    for neg, pos, domain, worker_id, trail in sorted(found, key=lambda one: (-one[0], one[2:4]))[:MOST_FOUND]:
        yield _failing(neg, pos, domain, worker_id, trail, statistics.get(domain))


def domain_statistics(window: HistoryWindow) -> Mapping[str, DomainStatistics]:
    """Return the statistics of each domain that had tickets in the window."""
    rows: dict[str, list[TicketRow]] = {}
    for ticket in window.tickets:
        if ticket.worker_id is not None:
            rows.setdefault(domain_of_row(ticket), []).append(ticket)
    most = sorted(rows, key=lambda domain: (-len(rows[domain]), domain))[:MOST_DOMAINS]
    return {domain: _statistics(domain, rows[domain], window) for domain in most}


def domain_of_row(ticket: TicketRow) -> str:
    """Return the domain of a ticket, as `pheromones.domain_of` does."""
    return ticket.domain or ticket.task_type.value


def signal_of(ticket: TicketRow) -> SignalKind | None:
    """Return what the end of a ticket says of its worker; None where it says nothing."""
    if ticket.status is TicketStatus.COMPLETED:
        return SignalKind.SUCCESS
    own = ticket.status is TicketStatus.FAILED and ticket.reason_code not in NOT_ITS_WORK
    return SignalKind.FAILURE if own else None


def _statistics(domain: str, rows: list[TicketRow], window: HistoryWindow) -> DomainStatistics:
    kinds = [signal_of(ticket) for ticket in rows]
    good, bad = kinds.count(SignalKind.SUCCESS), kinds.count(SignalKind.FAILURE)
    warnings, workers = sum(ticket.retries for ticket in rows), {ticket.worker_id for ticket in rows}
    scores = [trail.at(window.end).score for trail in window.trails.get(domain, NO_TRAILS).values()]
    mean = fsum(scores) / len(scores) if scores else None
    return DomainStatistics(
        domain=domain,
        signals=good + bad + warnings,
        successes=good,
        failures=bad,
        warnings=warnings,
        workers=len(workers),
        mean_score=mean,
    )


def _by_trail(window: HistoryWindow) -> Mapping[tuple[str, str], tuple[int, int]]:
    """Return how many tickets of a window each trail saw complete, and fail."""
    found: dict[tuple[str, str], tuple[int, int]] = {}
    for ticket in window.tickets:
        kind = signal_of(ticket)
        if kind is None or ticket.worker_id is None:
            continue
        key = domain_of_row(ticket), ticket.worker_id
        good, bad = found.get(key, (0, 0))
        success = kind is SignalKind.SUCCESS
        found[key] = (good + 1, bad) if success else (good, bad + 1)
    return found


def _weights(trail: Trail | None) -> tuple[float, float]:
    return (0.0, 0.0) if trail is None else (trail.pos, trail.neg)


def _failing(
    neg: float, pos: float, domain: str, worker_id: str, trail: Trail | None, of_domain: DomainStatistics | None
) -> ProblemFound:
    failing, figures = neg / (pos + neg), {"failures": neg, "successes": pos, "failure_share": neg / (pos + neg)}
    if of_domain is not None:
        figures |= {
            "domain_signals": of_domain.signals,
            "domain_failures": of_domain.failures,
            "domain_successes": of_domain.successes,
            "domain_failure_share": of_domain.failure_share,
            "domain_workers": of_domain.workers,
        }
    alone = of_domain is None or of_domain.workers <= 1
    return ProblemFound(
        rule="failure-trail",
        subject=f"{domain}/{worker_id}",
        insight_type=InsightType.OPERATIONAL,
        title=f"Worker {named(worker_id)} fails more often than not in {named(domain)}",
        summary=f"{neg:g} of {pos + neg:g} signals on its trail in {named(domain)} are failures ({failing:.0%}); "
        "rankings put it behind others, and where there are no others, tickets still go to it.",
        analysis="The ends of the window's tickets are counted by worker and domain; a trail that is fuller counts.",
        figures=figures,
        sources=("history", "pheromones") if trail is not None else ("history",),
        entities=(entity("worker", worker_id, "cause"), entity("domain", domain, "affected")),
        advice=(
            Advice(action="Drain the worker until its failures are understood.", share=0.7),
            Advice(
                action="Register another worker for this domain: nobody else does its work."
                if alone
                else "Compare its environment with that of the workers that succeed.",
                share=0.5,
            ),
        ),
        tags=("coordination", "pheromones", "worker"),
        strength=min(1.0, (failing - FAILURES) * 2) * 0.5 + 0.5,
        agreement=1.0 if trail is None or trail.score < FAILURES else 0.5,
        affected=int(neg),
        severity=failing,
    )
