"""Results of pipelines of the code forge: each is committed with the end, or with the review, that it tells of.

A pipeline is a flow with a label, so all else costs a look at the labels of its flow. The numbers of a pipeline are
counted of its result when that is committed, and so once for each.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Self

from functions._core.events.envelope import CloudEvent, type_of
from functions._core.events.pipelines import LABEL, RESULTS
from functions._core.events.reports import Report
from functions._core.machine.tables import ENDED_FLOWS
from functions._core.ports import Ports
from functions._core.records.attempts import runs
from functions._core.records.change_set import ChangeSet
from functions._core.records.models import Flow, Ticket
from functions._engine.dispatch import Dispatcher
from functions._engine.jobs import Jobs
from functions._observability.metrics import Metrics

RESULT_TYPE = type_of(RESULTS)
MERGES = "forge_merge_request"
"""The executor whose job is a merge request."""


class PipelineResults:
    """Tells, as one process does it, what has become of pipelines."""

    busy = False
    """All is done within a commit."""

    def __init__(
        self,
        ports: Ports,
        metrics: Metrics,
        dispatcher: Dispatcher,
        send: Callable[[tuple[CloudEvent, ...]], Awaitable[None]],
    ) -> None:
        """Tell nothing yet; `send` queues events."""
        self._ports, self._metrics, self._dispatcher, self._send = ports, metrics, dispatcher, send

    def begin(self, jobs: Jobs) -> Self:
        """Be asked by the commits of the dispatcher, beside whoever is, and hear of the jobs that workers name."""
        asks = self._dispatcher.asks

        async def asking(step: ChangeSet, flow: Flow, function: str) -> ChangeSet:
            return await self.asking(step if asks is None else await asks(step, flow, function), flow)

        self._dispatcher.asks, jobs.named = asking, self.named
        return self

    async def asking(self, step: ChangeSet, flow: Flow) -> ChangeSet:
        """Return a step with the result of the pipeline that ends by it, or whose review begins by it."""
        if not _is_pipeline(flow):
            return step
        events = [await self._event(flow, step.tickets, key) for key in _told_by(step, flow)]
        return replace(step, events=(*step.events, *events)) if events else step

    async def named(self, event: CloudEvent, report: Report) -> None:
        """Tell where the merge request of a review is, when a worker names it; that again is the same event."""
        if report.job is None or report.job.executor != MERGES or not report.job.url:
            return
        flow = await self._ports.store.flow(event.extensions["partitionkey"])
        if flow is None or flow.ended_at is not None or not _is_pipeline(flow):
            return
        ticket = (await self._ports.store.tickets([report.ticket_id], flow.flow_id)).get(report.ticket_id)
        if ticket is None or ticket.parameters.get("provider") != MERGES or not runs(ticket, report.attempt):
            return
        key = f"{report.ticket_id}:{report.job.url}"  # whichever attempt goes on with it
        await self._send((await self._event(flow, (), key, report.job.url),))

    async def _event(
        self, flow: Flow, changed: Sequence[Ticket], key: str, merge_request: str | None = None
    ) -> CloudEvent:
        from functions._core.forge.results import result_event, result_of

        now = self._ports.clock.now()
        newest = {one.ticket_id: one for one in changed}
        stored = await self._ports.store.tickets_of(flow.flow_id)
        tickets = [newest.pop(one.ticket_id, one) for one in stored]
        result = result_of(flow, [*tickets, *newest.values()], now, merge_request)
        return result_event(result, flow, key, now)

    def observe(self, step: ChangeSet) -> None:
        """Count what a commit tells of pipelines."""
        for event in step.events:
            if event.type == RESULT_TYPE:
                from functions._observability.forge_metrics import counts_of_result

                self._metrics.take(counts_of_result(event.data))

    async def round(self) -> None:
        """Do nothing: what is told is committed with its cause."""

    async def close(self) -> None:
        """Do nothing: nothing runs by itself."""


def _is_pipeline(flow: Flow) -> bool:
    if LABEL not in flow.labels:
        return False
    from functions._core.forge.pipeline import is_pipeline

    return is_pipeline(flow)


def _told_by(step: ChangeSet, flow: Flow) -> Sequence[str]:
    """Return the keys of the results that a step of a pipeline leads to: one for its end, one for each review."""
    ends = any(
        one.ticket_id is None and one.to_status in ENDED_FLOWS and one.from_status not in ENDED_FLOWS
        for one in step.history
    )
    if ends:
        return [f"{flow.status}:{flow.redrives}"]
    completed = {one.ticket_id for one in step.history if one.type == "ticket.completed"}
    if not completed:
        return ()
    from functions._core.forge.results import goes_to_review

    reviews = [one for one in step.tickets if one.ticket_id in completed and goes_to_review(one)]
    return [f"{one.ticket_id}:{one.runs}:{one.attempt}" for one in reviews]
