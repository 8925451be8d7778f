"""What changed? Why a flow was slow, or failed, compared with the flows before it: the likeliest causes with evidence.

The time of the flow is followed along the tickets that it really waited for; each piece is compared with what is usual
for it. What causes explain never adds up to more than the delay. Pure.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from functions._core.explain.spans import counted, span_of_ms
from functions._core.explain.wording import plain
from functions._core.insights.cause_texts import DelayCause, Evidence, cause_of
from functions._core.insights.causes import MEASURED, CauseKind, Fleet, Part, failed_before, parts_of, usual_ms
from functions._core.insights.flow_time import Spell, SpellKind, begun_at, spells_of
from functions._core.insights.usual_times import Base, BaseKind, ComparedWith, UsualTimes
from functions._core.learning.rows import kind_of
from functions._core.learning.series import median
from functions._core.planning.slack import closed_at, deadline_at, missed
from functions._core.records.models import Flow, Ticket
from functions._core.records.record import Record
from functions._core.records.values import Outcome, TicketStatus, Timestamp, milliseconds

MOST_CAUSES = 3
"""Causes that are named, the likeliest first."""

SLOW = 0.1
"""A flow counts as slow when it took longer than usual by more than this share ..."""

SLOW_MS = 1_000
"""... and by more than these milliseconds: less is nothing that anybody waits for."""

LEAST = 0.02
"""A cause that explains less than this share of the delay is not named."""

SURENESS = ((0.8, "surely"), (0.5, "probably"), (0.0, "perhaps"))
"""How a sureness of so much at least is said."""

MOST_STEPS = 200
"""Pieces of time that are shown, the longest of them; a chain may be 10,000 tickets long."""

MOST_EXAMINED = 2_000
"""Pieces of time whose causes are looked for, those that took longest beyond what is usual: each costs some work."""

MOST_CHANGES = 5
"""Changes of the platform that are named, the newest first."""


class FlowVerdict(StrEnum):
    """How a flow went."""

    FAILED = "failed"
    """It ended without success."""
    LATE = "late"
    """It missed its deadline, or has missed it by now."""
    SLOW = "slow"
    """It took longer than usual."""
    USUAL = "usual"
    """Nothing is unusual about its time."""


class PlatformChange(Record):
    """Something that was changed about the platform: it is told, and nothing is inferred from it."""

    at: Timestamp
    """When."""
    action: str
    """The name of the action, as audits have it, or `worker registered`."""
    target: str
    """What it was done to: the id of a policy or of a worker."""
    who: str
    """Who did it."""


class TimePiece(Record):
    """A piece of the flow's time."""

    kind: SpellKind
    """What the flow did in it."""
    since: Timestamp
    """Its begin."""
    until: Timestamp
    """Its end."""
    ms: int
    """How long it was, in milliseconds."""
    usual_ms: int
    """How long it usually is, in milliseconds; 0 for what usually is not there."""
    ticket_id: str | None = None
    """Id of the ticket that was waited for; null for the flow itself."""
    task_id: str | None = None
    """Id of its task."""


class WhatChanged(Record):
    """Why a flow was slow, or failed."""

    flow_id: str
    """Id of the flow."""
    status: str
    """Its status."""
    verdict: FlowVerdict
    """How it went."""
    compared_with: ComparedWith
    """The flows that it was compared with."""
    took_ms: int
    """How long it took from its arrival to the end of its work, or to now, in milliseconds."""
    usual_ms: int
    """How long that usually takes, in milliseconds; of a flow under way, or failed, what it had done by then."""
    late_ms: int
    """How long after its deadline that was, in milliseconds; 0 when it was in time."""
    delay_ms: int
    """The milliseconds to explain: those beyond what is usual, or behind the deadline if these are more."""
    explained_ms: int
    """The milliseconds that the causes explain, at most `delay_ms`."""
    causes: tuple[DelayCause, ...]
    """The likeliest causes, at most three, that which explains most first."""
    changes: tuple[PlatformChange, ...] = ()
    """Changes of the platform between the flows before and the end of this one, the newest first, at most five."""
    steps: tuple[TimePiece, ...] = ()
    """Where its time went, in order; of a long one the 200 longest pieces."""
    text: tuple[str, ...]
    """All of it as sentences."""
    checked_at: Timestamp
    """When this was found out."""


class _Delay(NamedTuple):
    """What is to be explained, in milliseconds."""

    took: int
    usual: int
    late: int

    @property
    def over(self) -> int:
        return max(0, self.took - self.usual)

    @property
    def never_fit(self) -> int:
        """The part of the lateness that comes of a deadline before what is usual."""
        return max(0, self.late - self.over)

    @property
    def all(self) -> int:
        return max(self.over, self.late)


def what_changed(
    flow: Flow,
    tickets: Sequence[Ticket],
    base: Base,
    now: datetime,
    *,
    held: Collection[str] = (),
    fleet: Fleet | None = None,
    changes: Sequence[PlatformChange] = (),
) -> WhatChanged:
    """Return why `flow` was slow, or failed, or is slow at `now`.

    `tickets` are all of its tickets, `base` earlier flows with their rows, in any order. `held` are ids of tickets that
    a freeze or a quarantine held back, `fleet` the workers that are registered now, None where that is not known,
    `changes` what was changed about the platform.
    """
    usual = UsualTimes(flow, base)
    spells = spells_of(flow, tickets, now, held)
    delay = _delay(flow, spells, usual, now)
    examined = sorted(spells, key=lambda spell: usual_ms(spell, usual) - spell.ms)[:MOST_EXAMINED]
    parts = [part for spell in examined for part in parts_of(spell, usual, fleet)]
    verdict = _verdict(flow, delay)
    slow = verdict is not FlowVerdict.USUAL
    causes = _causes(flow, tickets, usual, _scaled(parts, delay.over), delay) if slow else ()
    explained = sum(cause.explained_ms for cause in causes)
    told = _changes(flow, changes, usual, now)
    seen = len(spells) <= MOST_EXAMINED
    view = WhatChanged(
        flow_id=flow.flow_id,
        status=flow.status.value,
        verdict=verdict,
        compared_with=usual.view,
        took_ms=delay.took,
        usual_ms=delay.usual,
        late_ms=delay.late,
        delay_ms=delay.all,
        explained_ms=explained,
        causes=causes,
        changes=told,
        steps=_steps(spells, usual),
        text=(),
        checked_at=now,
    )
    return view.but(text=_text(flow, view, seen=seen))


def _delay(flow: Flow, spells: Sequence[Spell], usual: UsualTimes, now: datetime) -> _Delay:
    took = sum(spell.ms for spell in spells)
    until = max(begun_at(flow), closed_at(flow) or now)
    late = max(0, milliseconds(until - deadline_at(flow, until))) if flow.outcome is not Outcome.REJECTED else 0
    whole = flow.outcome is Outcome.COMPLETED and bool(usual.durations)
    expected = round(median(usual.durations)) if whole else sum(usual_ms(spell, usual) for spell in spells)
    return _Delay(took, expected, late)


def _scaled(parts: Sequence[Part], over: int) -> list[Part]:
    """Return the parts so that together they are at most `over`: others were faster than usual beside them."""
    whole = sum(part.ms for part in parts)
    if whole <= over:
        return list(parts)
    return [part._replace(ms=part.ms * over // whole) for part in parts]


def _causes(
    flow: Flow, tickets: Sequence[Ticket], usual: UsualTimes, parts: Sequence[Part], delay: _Delay
) -> tuple[DelayCause, ...]:
    groups: dict[tuple[CauseKind, str], list[Part]] = {}
    for part in parts:
        groups.setdefault((part.kind, part.subject), []).append(part)
    causes = [cause_of(found, usual) for found in groups.values()]
    if delay.never_fit:
        causes.append(_never_fit(flow, usual, delay))
    named = [cause for cause in causes if cause.explained_ms > LEAST * delay.all]
    named.sort(key=lambda cause: (-cause.explained_ms * cause.sure, cause.kind, cause.subject))
    failure = _failure(flow, tickets, usual)
    return tuple([*failure, *named][:MOST_CAUSES])


def _never_fit(flow: Flow, usual: UsualTimes, delay: _Delay) -> DelayCause:
    """Return the cause that such a flow takes longer than it is given."""
    given = max(0, delay.took - delay.late)
    planned = flow.critical_path_ms or 0
    longer = sum(one > given for one in usual.durations)
    sure = MEASURED if planned > given else longer / (len(usual.durations) + 3)
    return DelayCause(
        kind=CauseKind.NEVER_FIT,
        subject="",
        explained_ms=delay.never_fit,
        sure=round(sure, 2),
        text=(
            f"Its deadline gives {span_of_ms(given)}, and such a flow usually takes {span_of_ms(delay.usual)}; by its "
            f"estimates it takes {span_of_ms(planned)}. It was never going to fit."
        ),
        evidence=(
            Evidence(name="duration", unit="ms", before=delay.usual, now=given, samples=len(usual.durations)),
            Evidence(name="critical_path", unit="ms", before=planned, now=delay.took, samples=1),
        ),
    )


def _failure(flow: Flow, tickets: Sequence[Ticket], usual: UsualTimes) -> list[DelayCause]:
    """Return the cause that a task has failed, of a flow that did not succeed by one."""
    if flow.outcome is not Outcome.FAILED:
        return []
    failed = [one for one in tickets if one.status is TicketStatus.FAILED and one.compensates is None]
    if not failed:
        return []
    first = min(failed, key=lambda one: (one.completed_at or flow.received_at, one.ticket_id))
    rows = usual.like(first)
    before, own = failed_before(rows), [row for row in rows if row.worker_id == first.worker_id]
    share = before / len(rows) if rows else 0.0
    worker = f" at worker {plain(first.worker_id)}" if first.worker_id else ""
    reason = f": {plain(first.reason.message)} ({plain(first.reason.code)})" if first.reason else ""
    known = f"{before} of {counted(len(rows), 'such ticket')} before failed" if rows else "nothing is known of before"
    return [
        DelayCause(
            kind=CauseKind.FAILURE,
            subject=kind_of(first),
            explained_ms=0,
            sure=MEASURED,
            text=f"Task {plain(kind_of(first))} failed{worker}{reason}; {known}.",
            evidence=(
                Evidence(name="failures", unit="share", before=round(share, 4), now=1, samples=len(rows)),
                Evidence(
                    name="failures_of_worker",
                    unit="share",
                    before=round(failed_before(own) / len(own), 4) if own else 0,
                    now=1,
                    samples=len(own),
                ),
            ),
            ticket_ids=tuple(one.ticket_id for one in failed[:5]),
            worker_id=first.worker_id,
        )
    ]


def _verdict(flow: Flow, delay: _Delay) -> FlowVerdict:
    if flow.outcome in {Outcome.FAILED, Outcome.REJECTED, Outcome.CANCELLED}:
        return FlowVerdict.FAILED
    if missed(flow) or delay.late:
        return FlowVerdict.LATE
    return FlowVerdict.SLOW if delay.over > max(SLOW * delay.usual, SLOW_MS) else FlowVerdict.USUAL


def _changes(
    flow: Flow, changes: Sequence[PlatformChange], usual: UsualTimes, now: datetime
) -> tuple[PlatformChange, ...]:
    """Return the changes since the flows before: those that all of these had known already are none."""
    since = max((row.received_at for row in usual.flows), default=flow.received_at)
    until = closed_at(flow) or now
    within = [one for one in changes if since <= one.at <= until]
    return tuple(sorted(within, key=lambda one: one.at, reverse=True)[:MOST_CHANGES])


def _steps(spells: Sequence[Spell], usual: UsualTimes) -> tuple[TimePiece, ...]:
    longest = sorted(spells, key=lambda spell: -spell.ms)[:MOST_STEPS]
    return tuple(
        TimePiece(
            kind=spell.kind,
            since=spell.since,
            until=spell.until,
            ms=spell.ms,
            usual_ms=usual_ms(spell, usual),
            ticket_id=spell.ticket.ticket_id if spell.ticket else None,
            task_id=spell.ticket.task_id if spell.ticket else None,
        )
        for spell in sorted(longest, key=lambda spell: spell.since)
    )


def _text(flow: Flow, view: WhatChanged, *, seen: bool) -> tuple[str, ...]:
    took, usually = span_of_ms(view.took_ms), span_of_ms(view.usual_ms)
    ended = "took" if flow.outcome is not None else "has been under way for"
    lines = [f"Flow {flow.flow_id} {ended} {took}; {_usual_words(view)} {usually}.", _base_words(view.compared_with)]
    if view.late_ms:
        lines.append(f"It was {span_of_ms(view.late_ms)} behind its deadline.")
    if view.verdict is FlowVerdict.USUAL:
        return (*lines, "Nothing is unusual about its time.")
    lines += [f"{number}. {cause.text}{_share(cause, view)}" for number, cause in enumerate(view.causes, 1)]
    if not view.causes:
        lines.append("No cause was found in what is recorded.")
    rest = view.delay_ms - view.explained_ms
    if view.causes and rest > SLOW * max(1, view.delay_ms):
        where = "have no such cause" if seen else f"are in pieces that are shorter than the {MOST_EXAMINED} looked at"
        lines.append(f"{span_of_ms(rest)} of the delay {where}.")
    for one in view.changes:
        about = f"{plain(one.action)} {plain(one.target)} by {plain(one.who)}"
        lines.append(f"Changed since the flows before, at {one.at:%Y-%m-%d %H:%M:%S} UTC: {about}.")
    return tuple(lines)


def _usual_words(view: WhatChanged) -> str:
    if view.compared_with.kind is BaseKind.ESTIMATES:
        return "by its estimates that is"
    return "usual is" if view.verdict is not FlowVerdict.FAILED else "what it did by then usually takes"


def _base_words(base: ComparedWith) -> str:
    if not base.enough:
        return f"There is too little history to compare with: {counted(base.flows, 'earlier flow')}, five are needed."
    if base.kind is BaseKind.SAME_PLAN:
        return f"It is compared with {counted(base.flows, 'earlier flow')} of the same plan."
    return f"Its plan has no history; it is compared with the same kinds of work in {counted(base.flows, 'flow')}."


def _share(cause: DelayCause, view: WhatChanged) -> str:
    if not cause.explained_ms or not view.delay_ms:
        return ""
    share = cause.explained_ms / view.delay_ms
    return f" That explains {span_of_ms(cause.explained_ms)} of the delay ({share:.0%}), {_sureness(cause.sure)}."


def _sureness(sure: float) -> str:
    return next(word for least, word in SURENESS if sure >= least)
