"""Everything that watches the platform at work, in one place: its ports, counted, and whoever is told of each event."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from datetime import datetime
from typing import Protocol

from functions._core.events.envelope import CloudEvent
from functions._core.learning.guard import UNUSABLE
from functions._core.machine.assignment import Discovered
from functions._core.placement.breaker import WorkerVerdict
from functions._core.placement.workers import Deregistration, Heartbeat, Registration, WorkerEvent
from functions._core.ports import Due, EventQueue, Ports
from functions._core.records.set_aside import UnreadableRecord
from functions._core.records.values import Health
from functions._core.records.worker import Worker
from functions._core.rules import Rules
from functions._observability.catalogue import WORKER_TYPE
from functions._observability.counted_ports import MeasuredQueue, MeasuredSink, measured
from functions._observability.dispatch_result import Handling
from functions._observability.gauges import Gauges
from functions._observability.http_metrics import AsgiApp, MeasuredApp
from functions._observability.learning_metrics import record_unusable
from functions._observability.logs import event_handled, log
from functions._observability.metrics import Metrics

WORKED = {
    "validate": "orchestration_validation_duration_seconds",
    "generate_tickets": "orchestration_ticket_generation_duration_seconds",
    "discover": "discovery_duration_seconds",
}


class Recorder(Protocol):
    """Keeps traces."""

    def admission(self, event: CloudEvent) -> AbstractContextManager[CloudEvent]:
        """Return the context in which a decision is taken in; it gives the event with its trace."""

    def watched(self, ports: Ports) -> Ports:
        """Return `ports` whose deliveries and telemetry leave a span."""

    def serving(self, app: AsgiApp) -> AsgiApp:
        """Return `app`, with the traces of its requests continued."""

    async def close(self) -> None:
        """Hand over what is left."""

    def handled(self, handling: Handling) -> None:
        """Record an event that was handled; never raises."""


class Instruments:
    """The instruments of one platform.

    `ports` and `queue` are the given ones, watched; `buffered` are the ports for sending what was kept for the sink.
    """

    def __init__(self, ports: Ports, queue: EventQueue, rules: Rules, recorder: Recorder | None = None) -> None:
        self.metrics = Metrics()
        self.ports = measured(ports, self.metrics)
        again = MeasuredSink(ports.telemetry_sink, self.metrics, first=False)
        self.buffered = replace(self.ports, telemetry_sink=again)
        if recorder is not None:
            self.ports, self.buffered = recorder.watched(self.ports), recorder.watched(self.buffered)
        self.queue = MeasuredQueue(queue, self.metrics)
        self.gauges = Gauges(ports, queue, self.metrics, rules)
        self._recorder = recorder
        self._unusable = UNUSABLE.total()
        self.last_event_at: datetime | None = None
        self.last_decision_at: datetime | None = None
        ports.set_aside.told = self._set_aside

    def _set_aside(self, record: UnreadableRecord) -> None:
        """Tell of a stored record that cannot be read; it is told once."""
        self.metrics.count("flowc_unreadable_records_total", record.kind.value)
        log.error(
            "record.set_aside",
            kind=record.kind.value,
            record_id=record.record_id,
            flow_id=record.flow_id,
            why=record.why,
        )

    def serving(self, app: AsgiApp) -> AsgiApp:
        """Return `app`, watched."""
        return MeasuredApp(app if self._recorder is None else self._recorder.serving(app), self.metrics)

    def admission(self, event: CloudEvent) -> AbstractContextManager[CloudEvent]:
        """Return the context in which a decision is taken in; it gives the event as it is to be taken."""
        return nullcontext(event) if self._recorder is None else self._recorder.admission(event)

    def handled(self, handling: Handling) -> None:
        """Tell metrics, log and traces of one event; never raises."""
        metrics, self.last_event_at = self.metrics, handling.begun_at
        if handling.function == "validate":
            self.last_decision_at = handling.begun_at
        metrics.count("flowc_events_handled_total", handling.function, handling.result)
        metrics.time("flowc_event_duration_seconds", handling.seconds, handling.function)
        if handling.function in WORKED:
            metrics.time(WORKED[handling.function], handling.seconds)
        if handling.function == "discover":
            self._discovered(handling)
        event_handled(handling)
        if UNUSABLE:
            self._unusable = record_unusable(metrics, self._unusable, UNUSABLE.total())
        if self._recorder is not None:
            self._recorder.handled(handling)

    def tracked(
        self,
        event: WorkerEvent,
        known: Worker | None,
        worker: Worker | None,
    ) -> None:
        """Tell of a worker's message, or of its silence: `known` is its former row, `worker` the new one."""
        if isinstance(event, Registration):
            self.metrics.count("agents_registered_total", WORKER_TYPE)
        elif isinstance(event, Heartbeat):
            self.metrics.count("heartbeats_received_total", event.status.value)
        elif isinstance(event, WorkerVerdict):
            if known is not None and worker is not None and worker.suspended_until not in {None, known.suspended_until}:
                self.metrics.count("agents_suspended_total", WORKER_TYPE)
        elif known is not None and isinstance(event, Deregistration):
            self.metrics.count("agents_deregistered_total", WORKER_TYPE)
        elif known is not None and isinstance(event, Due):
            self._not_heard(known, worker)

    def _not_heard(self, known: Worker, worker: Worker | None) -> None:
        # Whoever looked too late to find the worker unhealthy has it removed at once.
        gone = worker is None or worker.announced is Health.UNHEALTHY
        fell_silent = gone and known.announced is not Health.UNHEALTHY
        if fell_silent:
            self.metrics.count("flowc_timeouts_total", "sign_of_life")
        if worker is None:
            self.metrics.count("agents_removed_total", WORKER_TYPE, "silent")
        elif fell_silent:
            self.metrics.count("agents_marked_unhealthy_total", WORKER_TYPE)

    def _discovered(self, handling: Handling) -> None:
        if not isinstance(handling.outcome, Discovered):
            if handling.error is not None:
                self.metrics.count("discovery_requests_total", "error")
            return
        found, waiting = handling.outcome.found, handling.outcome.waiting
        self.metrics.count("discovery_requests_total", "waiting" if waiting else "found")
        for candidates in found.values():
            self.metrics.time("agents_matched", len(candidates))
        for _ in waiting:
            self.metrics.time("agents_matched", 0)
