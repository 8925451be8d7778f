"""Takes the reports of workers to C5: those that wait for the turn of their flow are one step, with one commit."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence

from functions._core.engine import ReportResult
from functions._core.errors import Conflict, FlowcError, Rejected, Unavailable
from functions._core.events.envelope import CloudEvent
from functions._core.events.reports import Report
from functions._engine.dispatch import Dispatcher, DispatchResult, ReportMessage, read
from functions._engine.keyed_executor import Gathering, KeyedExecutor

MOST_TOGETHER = 64
"""Reports in one step: a commit stays short, however many wait and however large their outputs are."""

Answers = Mapping[ReportMessage, ReportResult | Exception]


class Reporting:
    """Hears reports, and gives each caller the answer to its own."""

    def __init__(self, executor: KeyedExecutor, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._waiting: Gathering[ReportMessage, Answers] = Gathering(executor, self._take)

    async def hear(self, event: CloudEvent) -> ReportResult:
        """See `Engine.report`."""
        told = ReportMessage(event, read(Report, event))
        answers = await asyncio.shield(self._waiting.add(event.extensions["partitionkey"], told))
        answer = answers[told]
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def _take(self, flow_id: str, waiting: Sequence[ReportMessage]) -> Answers:
        answers: dict[ReportMessage, ReportResult | Exception] = {}
        for together in rounds(waiting):
            answers |= await self._heard(flow_id, together)
        return answers

    async def _heard(self, flow_id: str, together: Sequence[ReportMessage]) -> Answers:
        try:
            handled = await self._dispatcher.reported(flow_id, together)
        except (Conflict, Unavailable) as error:
            return dict.fromkeys(together, error)
        except Exception as error:  # noqa: BLE001 handed to whoever sent the report that is to blame
            if len(together) == 1:
                return {together[0]: error}
            return {told: answer for told in together for answer in (await self._heard(flow_id, [told])).values()}
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
