"""One process of the platform: what an entry point may ask of it, done by the functions over its ports.

On one machine it is the only one; in a cluster there are many over one store. Implements `Engine`. Everything that one
flow is told goes through the executor under the flow's id.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from random import Random
from typing import Any

import msgspec

from functions._core.decision.admission import admit, conflict_with, decision_id_of
from functions._core.decision.stored_plans import with_stored_plan
from functions._core.engine import CommandResult, EventTaken, ReportResult
from functions._core.errors import Conflict, Rejected, Undeliverable
from functions._core.events.catalogue import BY_TYPE, SINK
from functions._core.events.commands import AnyCommand, event_type_of
from functions._core.events.envelope import CloudEvent, type_of
from functions._core.events.reports import Report
from functions._core.events.routes import handler_of
from functions._core.placement.breaker import verdicts_of
from functions._core.placement.leasing import Leased, LeaseRequest
from functions._core.placement.workers import Heartbeat, Registration
from functions._core.ports import Due, EventQueue, Ports
from functions._core.records.change_set import ChangeSet, Delivery
from functions._core.records.dead_letters import OUTSIDE, DeadLetter, event_of
from functions._core.records.models import Flow, Reason
from functions._core.records.worker import Answer, Worker
from functions._core.rules import LARGE_DECISION
from functions._engine.assignment_messages import failure_event
from functions._engine.assignment_sender import AssignmentSender
from functions._engine.clock import CHANCE, fresh_id
from functions._engine.companions import Companions, Doors
from functions._engine.dispatch import Dispatcher, DispatchResult, flow_of, read
from functions._engine.flow_waiters import FlowWaiters
from functions._engine.given_commands import HealingDoors
from functions._engine.guards import gated
from functions._engine.jobs import JobDoors
from functions._engine.keyed_executor import HeavyWork, KeyedExecutor, unwatched
from functions._engine.outbox import EventOutbox
from functions._engine.pheromones import LearnedPheromones
from functions._engine.registry_log import RegistryLog
from functions._engine.report_intake import ReportIntake
from functions._engine.secret_leases import SecretLeases
from functions._engine.settings import Settings
from functions._engine.sweep import Sweeper
from functions._engine.task_leases import Gone, TaskLeases
from functions._engine.telemetry_flush import TelemetryFlush
from functions._engine.unreadable_round import UnreadableRound
from functions._engine.wiring import dead_letter, replay_telemetry
from functions._engine.worker_tracker import Probe, WorkerTracker, ids_of_verdict
from functions._observability.instruments import Instruments, Recorder
from functions._observability.logs import ids_of, ids_of_delivery


class Platform:
    """One process that runs functions, and is the broker and the clock if there is no other. `close` it after use."""

    def __init__(  # noqa: PLR0913 the parts of a process
        self,
        settings: Settings,
        ports: Ports,
        queue: EventQueue,
        base_url: str,
        recorder: Recorder | None = None,
        *,
        chance: Random = CHANCE,
        outbox: EventOutbox | None = None,
        alarm: Callable[[ChangeSet], None] | None = None,
        joins: bool = True,
        commits_singly: bool = False,
        threads: bool = False,
        tells_registry: bool = True,
        acts_on_sla: bool = True,
        heals: bool = True,
    ) -> None:
        """Begin nothing yet; workers are told to report to `base_url`; `recorder` keeps traces.

        Ids and jitter come from `chance`, with a seed the same again. Committed events go to `outbox`, else to a broker
        in this process, which commits steps that follow from each other together if it `joins` them. `alarm` is told
        what is due next, else the sweeper is. `commits_singly` is for a store that charges more for several at once.
        With `threads` large plans are read and planned in one. It `tells_registry` changes to those who watch it,
        `acts_on_sla` by the policies of flows, and `heals` by playbooks.
        """
        self._chance, self.instruments = chance, Instruments(ports, queue, settings.rules, recorder)
        self.metrics, ports = self.instruments.metrics, self.instruments.ports
        self.pheromones = LearnedPheromones(ports.key_values, ports.clock, self.metrics, chance)
        self._joins, self._heavy = joins and outbox is None, HeavyWork(threads=threads)
        gates = gated(ports, guard_defaults=settings.guard_defaults)
        self.ports = ports = replace(gates, pheromones=self.pheromones, beside=self._heavy.run)
        self.rules, self.flow_waiters = settings.rules, FlowWaiters()
        self.flush_telemetry = TelemetryFlush(self.instruments.buffered)
        self._queue = queue = self.instruments.queue
        self._executor = KeyedExecutor(concurrency=settings.in_flight, limit=2 * settings.queue_memory)
        self.dispatcher = self._new_dispatcher(settings, own_broker=outbox is None, commits_singly=commits_singly)
        self._intake = ReportIntake(self._executor, self.dispatcher, self._overdue)
        self.unreadable = UnreadableRound(self.ports, queue, self.dispatcher, self._in_turn)
        self.outbox: EventOutbox = outbox or self._own_broker(settings.queue_memory)
        log_of = partial(RegistryLog, ports, self.rules, self._send, self.dispatcher, self.flow_waiters)
        told = log_of() if tells_registry else None
        self._worker_tracker = self._new_worker_tracker(settings, told)
        self.base_url = base_url.rstrip("/")
        self.secret_leases = SecretLeases(settings.leases, ports.store, ports.clock)
        self._assignment_sender = self._new_assignment_sender(settings.deliveries)
        self.task_leases = self._new_task_leases()
        self.sweeper = Sweeper(ports, self._due, self._round)
        self.companions = self._new_companions(settings, outbox is None, acts_on_sla, heals)
        self.after_commit = self._acts(alarm or self.sweeper.observe)

    def _new_companions(self, settings: Settings, alone: bool, acts_on_sla: bool, heals: bool) -> Companions:  # noqa: FBT001 as it is asked for
        healing = HealingDoors(self._send, self.order, self.replay, self._worker_tracker.break_circuit)
        messages = self._assignment_sender.messages
        jobs = JobDoors(messages, self._intake.answered, self.report, self._worker_tracker.own, self._send)
        doors = Doors(self._send, self.handle, self.admit, self.order, healing, jobs, self._heavy.apart().run)
        around = (settings, self.ports, self.instruments, self.dispatcher, self.sweeper, doors, self._chance)
        beside = Companions(*around, alone=alone, acts_on_sla=acts_on_sla, heals=heals)
        self.schedules, self.budgets = beside.schedules, beside.budgets
        self.recalculate, self.resolve_freeze = self.budgets.recalculate, self.budgets.resolve
        self.rehearse_healing, self.heal_alert = beside.healing.rehearse, beside.healing.alerted
        self.enforce_policies, self.policies_applied = self.budgets.enforce, beside.flow_policies.applied
        return beside

    def _acts(self, alarm: Callable[[ChangeSet], None]) -> Sequence[Callable[[ChangeSet], None]]:
        """Return what is done with each commit, in this order."""
        told = (self.metrics.observe, self.pheromones.learn, self.flow_waiters.observe, self.task_leases.observe)
        return (*told, self._publish, self._deliver, self._judge, alarm, *self.companions.observers)

    def _new_worker_tracker(self, settings: Settings, told: RegistryLog | None) -> WorkerTracker:
        def stored(worker: Worker) -> None:
            self.sweeper.arm(worker.next_wakeup_at)

        networks, instruments = settings.networks, self.instruments
        return WorkerTracker(self.ports, self.rules, networks, instruments, told, send=self._send, stored=stored)

    def _new_dispatcher(self, settings: Settings, *, own_broker: bool, commits_singly: bool) -> Dispatcher:
        return Dispatcher(
            self.ports,
            self.rules,
            committed=self._committed,
            observed=self.instruments.handled,
            subscribed=settings.tells if settings.subscriber_url or not own_broker else None,
            tells_owners=settings.webhooks,
            chain_told=own_broker,
            joins=self._joins,
            remembers=self._joins and settings.database_url is not None,
            commits_singly=commits_singly,
            heavy=self._heavy,
        )

    def _own_broker(self, memory: int) -> EventOutbox:
        from functions._engine.local_broker import LocalBroker  # cold start: with a broker nobody needs it

        return LocalBroker(self._queue, self.dispatcher, self._executor, self.ports, self.rules, memory, self._chance)

    def _new_assignment_sender(self, deliveries: int) -> AssignmentSender:
        return AssignmentSender(
            self.ports,
            self._worker_tracker,
            self.base_url,
            deliveries,
            answered=self._answered,
            unresolved=self._unresolved,
            references_bytes=self.rules.references_bytes,
        )

    def _new_task_leases(self) -> TaskLeases:
        return TaskLeases(
            self.ports,
            self.rules,
            self._worker_tracker,
            self.base_url,
            self.metrics,
            acknowledge=self._intake.answered,
            answered=self._answered,
            unresolved=self._unresolved,
            stopping=lambda: self.flow_waiters.closed,
        )

    async def start(self) -> None:
        """Take up what an earlier process has left; nobody is blamed for what happened while there was none."""
        self.dispatcher.up_since = self.ports.clock.now()
        await self._worker_tracker.excuse()
        await self.outbox.recover()

    async def close(self) -> None:
        """Stop; whatever is not done is in the store."""
        await self.companions.close()
        await self.outbox.close()
        await self._assignment_sender.close()
        await self._intake.close()
        await self._executor.close()
        await self.pheromones.close()

    @property
    def busy(self) -> bool:
        """Whether something is still to be done with what was committed here."""
        at_work = self._executor.busy or self._intake.busy or self._assignment_sender.busy or self.pheromones.busy
        return at_work or self.outbox.held > 0 or self.companions.busy

    async def handle(self, event: CloudEvent) -> DispatchResult:
        """Let its function handle a chain event that a broker has delivered."""
        return await self._in_turn(flow_of(event), partial(self.dispatcher.handle, event))

    async def give_up(self, flow_id: str, reason: Reason) -> DispatchResult:
        """Break off the step that a flow, which is known to exist, is at."""
        return await self._in_turn(flow_id, partial(self.dispatcher.broke, flow_id, reason))

    async def admit(self, event: CloudEvent) -> str:
        """See `Engine.admit`."""
        with self.instruments.admission(event) as traced:
            return await self._admit(traced)

    async def _admit(self, event: CloudEvent) -> str:
        decision_id_of(event.data)  # what cannot become a flow is not written out first
        event = await with_stored_plan(self.ports.key_values, event)
        text = msgspec.json.encode(event.data)
        admitted = partial(admit, event, text, self.ports.clock.now(), self.rules)
        flow, step = await self._heavy.run(admitted) if len(text) > LARGE_DECISION else admitted()
        known = await self.ports.store.flow(flow.flow_id)
        if known is None:
            try:
                await self.dispatcher.begin(self.dispatcher.told(step, flow), flow, event)
            except Conflict:
                known = await self.ports.store.flow(flow.flow_id)
                if known is None:  # nobody else has admitted it, so it has to be sent again
                    raise
        if known is not None and known.content_hash != flow.content_hash:
            await self._refuse_conflict(event, known)
        return flow.flow_id

    async def report(self, event: CloudEvent, report: Report | None = None) -> ReportResult:
        """See `Engine.report`."""
        return await self.companions.jobs.heard(self._intake.hear, event, report or read(Report, event))

    async def take_event(self, event: CloudEvent) -> EventTaken:
        """See `Engine.take_event`."""
        return await self.companions.events_in.take(event)

    async def order(self, order: AnyCommand, *, order_id: str | None = None) -> CommandResult:
        """See `Engine.order`."""
        flow = await self.ports.store.flow(order.flow_id)
        if flow is None:
            raise Rejected(f"there is no flow {order.flow_id}", code="unknown_flow", status=404)
        event = self._event(event_type_of(order), flow, order.model_dump(mode="json", exclude={"dry_run"}), order_id)
        handle = self.dispatcher.preview if order.dry_run else self.dispatcher.handle
        handled = await self._in_turn(order.flow_id, partial(handle, event))
        return CommandResult(handled.step.flow or handled.context.flow, handled.step.history, order.dry_run)

    def flow_policies_changed(self) -> None:
        """See `Engine.flow_policies_changed`."""
        self.companions.flow_policies.forget()

    def playbooks_changed(self) -> None:
        """See `Engine.playbooks_changed`."""
        self.companions.healing.forget()

    async def recheck(self, flow_id: str) -> Flow:
        """See `Engine.recheck`."""
        due = Due("flow", flow_id, flow_id, self.ports.clock.now())
        handled = await self._in_turn(flow_id, partial(self.dispatcher.due, due))
        return handled.step.flow or handled.context.flow

    async def register(self, registration: Registration) -> Worker:
        """See `Engine.register`."""
        return await self._worker_tracker.register(registration)

    async def heartbeat(self, worker_id: str, heartbeat: Heartbeat) -> ReportResult:
        """See `Engine.heartbeat`."""
        return await self._worker_tracker.heartbeat(worker_id, heartbeat)

    async def lease(self, asked: LeaseRequest, gone: Gone) -> Leased:
        """See `Engine.lease`."""
        return await self.task_leases.lease(asked, gone)

    async def deregister(self, worker_id: str, reason: str) -> bool:
        """See `Engine.deregister`."""
        return await self._worker_tracker.deregister(worker_id, reason)

    async def drain(self, worker_id: str, *, draining: bool) -> Worker:
        """See `Engine.drain`."""
        return await self._worker_tracker.drain(worker_id, draining=draining)

    def probe_by(self, probe: Probe) -> None:
        """Ask silent agents by `probe` whether they are well."""
        self._worker_tracker.probe = probe

    async def replay(self, letter_id: str) -> DeadLetter:
        """See `Engine.replay`."""
        letter = await self.ports.dead_letters.letter(letter_id)
        if letter is None:
            raise Rejected(f"there is no dead letter {letter_id}", code="unknown_letter", status=404)
        event = event_of(letter)
        if letter.reason.code == "decision_conflict":
            raise Rejected(
                "the flow of this decision exists with other content: send it again under a new decision_id",
                code="decision_conflict",
                status=422,
            )
        if event.event_type not in BY_TYPE or letter.function == OUTSIDE:
            raise Rejected(f"letter {letter_id} holds no event that can be replayed", code="not_replayable", status=422)
        if BY_TYPE[event.event_type].handled_by == SINK:
            await replay_telemetry(event, self.ports)
        elif handler_of(event) is None and not (self.outbox.subscriber and self.dispatcher.tells(event)):
            raise Rejected(
                f"nobody takes {event.event_type} events now: set FLOWC_SUBSCRIBER_URL", code="no_receiver", status=422
            )
        else:
            await self._queue.enqueue([event])
            self.outbox.take([event])
        await self.ports.dead_letters.drop(letter_id)
        return letter

    def _committed(self, step: ChangeSet) -> None:
        """Do what a commit has decided, in the order of `after_commit`; none of it can fail the commit."""
        for act in self.after_commit:
            act(step)

    def _publish(self, step: ChangeSet) -> None:
        """Send events to their functions."""
        self.outbox.take(step.events)

    def _deliver(self, step: ChangeSet) -> None:
        """Send assignments and cancellations to their workers."""
        self._assignment_sender.send(step.deliveries)

    def _judge(self, step: ChangeSet) -> None:
        """Count for or against a worker how its attempts have ended."""
        for verdict in filter(self._worker_tracker.counts, verdicts_of(step)):
            about = ids_of_verdict(verdict, step)
            unwatched(about, self._executor.submit, verdict.worker_id, partial(self._worker_tracker.judge, verdict))

    def _answered(self, delivery: Delivery, answer: Answer) -> None:
        if self._joins and answer.accepted:
            self._intake.acknowledged(delivery, answer)
            return
        about, flow_id = ids_of_delivery(delivery), delivery.ticket.flow_id
        unwatched(about, self._intake.answered, flow_id, (delivery, answer))

    def _overdue(self, flow_id: str) -> None:
        unwatched({"flow_id": flow_id}, self._intake.answered, flow_id, None)

    def _unresolved(self, delivery: Delivery, why: Undeliverable) -> None:
        event = failure_event(delivery, why, fresh_id(self._chance), self.ports.clock.now())
        job = partial(self.dispatcher.handle, event)
        unwatched(ids_of(event), self._executor.submit, delivery.ticket.flow_id, job)

    async def _due(self, due: Due) -> None:
        if due.flow_id is None:
            await self._worker_tracker.track(due)
        else:
            await self._in_turn(due.flow_id, partial(self.dispatcher.due, due))

    async def look_around(self) -> None:
        """Take note of what other processes have changed."""
        await self._worker_tracker.look_around()
        await self.instruments.gauges.refresh()

    async def _round(self) -> None:
        await self.instruments.gauges.refresh()
        await self.catch_up()

    async def catch_up(self) -> None:
        """Look for what may have been missed since the last round."""
        await self.unreadable.give_up()
        await self.unreadable.raise_incidents()
        await self.companions.round()
        await self._worker_tracker.release_waiting()
        await self.flush_telemetry.when_due()

    async def _send(self, events: tuple[CloudEvent, ...]) -> None:
        if events:
            await self._queue.enqueue(events)
            self.outbox.take(events)

    async def _in_turn(self, flow_id: str, job: Callable[[], Awaitable[Any]]) -> DispatchResult:
        result: DispatchResult = await self._executor.submit(flow_id, job)
        return result

    async def _refuse_conflict(self, event: CloudEvent, known: Flow) -> None:
        reason = conflict_with(known)
        await dead_letter(event, "api", reason, self.ports, letter_id=fresh_id(self._chance))
        raise Rejected(reason.message, code=reason.code, status=422)

    def _event(self, event_type: str, flow: Flow, data: dict[str, Any], event_id: str | None = None) -> CloudEvent:
        return CloudEvent(
            id=event_id or fresh_id(self._chance),
            source="/flowc/api",
            type=type_of(event_type),
            time=self.ports.clock.now(),
            subject=flow.flow_id,
            data=data,
            extensions={
                "partitionkey": flow.flow_id,
                "correlationid": flow.correlation_id,
                "traceparent": flow.traceparent,
            },
        )
