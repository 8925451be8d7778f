"""Takes the reports of workers to C5, and their answers to C4: those that wait for the turn of their flow together.

Nobody waits for an acknowledgement. Where steps are joined it stays here for a moment, as a report on the same flow
often follows at once, and one commit holds both. One that is lost in a crash is asked for again.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress

from functions._core.engine import ReportResult
from functions._core.errors import Conflict, FlowcError, Rejected, Unavailable
from functions._core.events.envelope import CloudEvent
from functions._core.events.reports import Report
from functions._core.records.change_set import Delivery
from functions._core.records.worker import Answer
from functions._engine.dispatch import Dispatcher, DispatchResult, ReportMessage, read
from functions._engine.keyed_executor import Gathering, KeyedExecutor

MOST_TOGETHER = 64
"""Reports in one step: a commit stays short, however many wait and however large their outputs are."""

ACKNOWLEDGEMENT_SECONDS = 0.05
"""How long an acknowledgement waits for a report."""

Results = Mapping[ReportMessage, ReportResult | Exception]
Answers = dict[str, tuple[int, Answer]]
"""Attempts and the answers to them, by ticket id."""


class ReportIntake:
    """Hears reports, and gives each caller the answer to its own; hears what workers answer to assignments, too."""

    def __init__(self, executor: KeyedExecutor, dispatcher: Dispatcher, overdue: Callable[[str], None]) -> None:
        """Call `overdue` with the flow whose acknowledgements have waited long enough."""
        self._dispatcher = dispatcher
        self._waiting: Gathering[ReportMessage, Results] = Gathering(executor, self._take)
        self._answers = Gathering(executor, self._take_answers)
        self._overdue = overdue
        self._acknowledged: dict[str, Answers] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}

    @property
    def busy(self) -> bool:
        """Whether an acknowledgement waits."""
        return bool(self._acknowledged)

    def answered(self, flow_id: str, answer: tuple[Delivery, Answer] | None) -> asyncio.Future[DispatchResult]:
        """Record an answer in the next turn of its flow, and all acknowledgements of that flow.

        Raises `Unavailable` like the executor: what was to be recorded is lost then, and asked for again.
        """
        try:
            return self._answers.add(flow_id, answer)
        except Unavailable:
            self._held(flow_id)
            raise

    def acknowledged(self, delivery: Delivery, answer: Answer) -> None:
        """Record an answer with the next report on its flow, or when it is overdue."""
        ticket = delivery.ticket
        self._acknowledged.get(ticket.flow_id, {}).pop(ticket.ticket_id, None)
        self._hold(ticket.flow_id, {ticket.ticket_id: (delivery.attempt, answer)})

    async def close(self) -> None:
        """Record all acknowledgements, as far as there is room for them."""
        turns = []
        for flow_id in tuple(self._acknowledged):
            with suppress(Unavailable):
                turns.append(self.answered(flow_id, None))
        await asyncio.gather(*turns, return_exceptions=True)

    async def hear(self, event: CloudEvent, report: Report | None = None) -> ReportResult:
        """See `Engine.report`."""
        told = ReportMessage(event, report or read(Report, event))
        answers = await asyncio.shield(self._waiting.add(event.extensions["partitionkey"], told))
        answer = answers[told]
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def _take(self, flow_id: str, waiting: Sequence[ReportMessage]) -> Results:
        results: dict[ReportMessage, ReportResult | Exception] = {}
        for together in rounds(waiting):
            results |= await self._heard(flow_id, together, self._held(flow_id))
        return results

    async def _take_answers(self, flow_id: str, told: Sequence[tuple[Delivery, Answer] | None]) -> DispatchResult:
        answers = self._held(flow_id)
        answers |= {one[0].ticket.ticket_id: (one[0].attempt, one[1]) for one in told if one is not None}
        return await self._dispatcher.delivered(flow_id, answers)

    def _hold(self, flow_id: str, answers: Answers) -> None:
        """Let acknowledgements wait, the first of them so long; of one ticket the one that waits already is newer."""
        if answers:
            self._acknowledged[flow_id] = answers | self._acknowledged.get(flow_id, {})
        if answers and flow_id not in self._timers:
            loop = asyncio.get_running_loop()
            self._timers[flow_id] = loop.call_later(ACKNOWLEDGEMENT_SECONDS, self._overdue, flow_id)

    def _held(self, flow_id: str) -> Answers:
        """Return the acknowledgements of a flow, which wait no longer."""
        timer = self._timers.pop(flow_id, None)
        if timer is not None:
            timer.cancel()
        return self._acknowledged.pop(flow_id, {})

    async def _heard(self, flow_id: str, together: Sequence[ReportMessage], answers: Answers) -> Results:
        """Record reports and acknowledgements; these wait on when that fails, as reports may be to blame or they."""
        try:
            handled = await self._dispatcher.reported(flow_id, together, answers)
        except (Conflict, Unavailable) as error:
            self._hold(flow_id, answers)
            return dict.fromkeys(together, error)
        except Exception as error:  # noqa: BLE001 handed to whoever sent the report that is to blame
            self._hold(flow_id, answers)
            if len(together) == 1 and not answers:
                return {together[0]: error}
            return {told: answer for told in together for answer in (await self._heard(flow_id, [told], {})).values()}
        return {told: _answer(told.report, handled) for told in together}


def rounds(waiting: Sequence[ReportMessage]) -> Iterator[Sequence[ReportMessage]]:
    """Yield what may be one step, of each ticket one report; those of one ticket stay in order."""
    while waiting:
        together: dict[str, ReportMessage] = {}
        later: list[ReportMessage] = []
        for told in waiting:
            if len(together) < MOST_TOGETHER and told.report.ticket_id not in together:
                together[told.report.ticket_id] = told
            else:
                later.append(told)
        yield tuple(together.values())
        waiting = later


def _answer(report: Report, handled: DispatchResult) -> ReportResult | FlowcError:
    ticket = handled.context.tickets.get(report.ticket_id)
    if ticket is None:
        return Rejected(f"there is no ticket {report.ticket_id}", code="unknown_ticket", status=404)
    if report.counts_for(ticket):
        return ReportResult("recorded")
    if report.repeats(ticket):
        return ReportResult("duplicate")
    return ReportResult("superseded", cancel=(ticket.ticket_id,))
