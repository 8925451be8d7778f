"""Batches of SQS: each message is an event that is handled, kept as a dead letter, or left in its queue.

handled, or handled before                       deleted
malformed, or refused for good                   a dead letter, deleted
not now: a service away, records moving          seen again after 1, 2, 4 … s, in the end by `dead_letter`
broken: the log says why                         likewise, twice; then a dead letter, and its flow is broken off
"""

from collections.abc import Mapping
from time import perf_counter
from typing import Any

import structlog
from aws_lambda_powertools.utilities.batch import AsyncBatchProcessor, EventType, async_process_partial_response
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord

from functions._adapters.aws.client import Client
from functions._adapters.aws.messages import Queue, queue_of, read_message
from functions._core.delivery import GiveUp, RetryAfter, RetryLimits, next_delivery
from functions._core.errors import Rejected, Unavailable
from functions._core.events.envelope import CloudEvent
from functions._core.records.models import Reason
from functions._engine.dispatch import flow_of
from functions._hosts.aws.function import LambdaFunction
from functions._observability.emf import EmbeddedMetrics
from functions._observability.logs import ids_of, log

LIMITS = RetryLimits(broken=3, first=0.5, longest=60.0)
"""An event that breaks its function is given up here; what is away for long ends by the queue's own count."""

UNREADABLE = "unreadable"
"""Type of the dead letter of a message that is no event, and the code of its reason."""


class Records:
    """Handles the messages of a queue by one function."""

    def __init__(self, function: LambdaFunction, sqs: Client, metrics: EmbeddedMetrics) -> None:
        self._function = function
        self._sqs = sqs
        self._metrics = metrics
        self._queues: dict[str, Queue] = {}
        self._processor = AsyncBatchProcessor(event_type=EventType.SQS, raise_on_entire_batch_failure=False)

    def handled(self, event: Mapping[str, Any], context: Any) -> Any:  # noqa: ANN401 as Powertools has it
        """Handle a batch; return which of its messages have to stay in the queue."""
        return async_process_partial_response(
            event=dict(event), record_handler=self.record, processor=self._processor, context=context
        )

    def flows(self, event: Mapping[str, Any]) -> set[str]:
        """Return the flows that a batch is about, as far as can be told."""
        found = set()
        for record in event.get("Records", ()):
            try:
                found.add(flow_of(self._read(SQSRecord(record))))
            except Rejected:
                continue
        return found - {""}

    async def record(self, record: SQSRecord) -> None:
        """Handle one message; raise what leaves it in the queue."""
        begun = perf_counter()
        try:
            event = self._read(record)
        except Rejected as refusal:
            await self._unreadable(record, refusal)
            return
        with structlog.contextvars.bound_contextvars(
            event_id=event.id, flow_id=flow_of(event), correlation_id=event.extensions.get("correlationid")
        ):
            try:
                await self._event(event, record)
            except Exception:
                self._metrics.failed()
                await self._sooner(record)
                raise
            finally:
                self._metrics.took(perf_counter() - begun)

    def _read(self, record: SQSRecord) -> CloudEvent:
        return read_message(record.body, self._function.platform.ports.clock.now())

    async def _event(self, event: CloudEvent, record: SQSRecord) -> None:
        """Handle an event; raise what leaves it in the queue."""
        try:
            if self._function.name == "dead_letter":
                reason = given_up(record)
                await self._function.dead_letter(
                    event, reason, outside=reason.where == self._function.settings.outside_queue
                )
            else:
                await self._function.handle(event)
        except Exception as error:
            match next_delivery(error, _times(record), LIMITS):
                case GiveUp(reason, breaks_flow):
                    if not isinstance(error, Rejected):
                        log.error("event.failed", **ids_of(event), exc_info=error)
                    await self._function.dead_letter(event, reason, breaks_flow=breaks_flow)
                    return
                case RetryAfter(broken=True):
                    log.error("event.failed", **ids_of(event), exc_info=error)
                case RetryAfter():
                    log.warning("event.not_now", **ids_of(event), error=repr(error))
            raise

    async def _sooner(self, record: SQSRecord) -> None:
        """Let a message be seen again before its time in the queue's settings; if that fails, then not.

        Dead letters take the queue's time: when the table is away for long, they are the last that is left.
        """
        if self._function.name == "dead_letter":
            return
        arn = record.event_source_arn
        pause = round(LIMITS.pause(_times(record)))
        try:
            if arn not in self._queues:
                self._queues[arn] = await queue_of(self._sqs, arn)
            await self._queues[arn].see_again(record.receipt_handle, pause)
        except Unavailable as away:
            log.warning("message.not_sooner", error=str(away))

    async def _unreadable(self, record: SQSRecord, refusal: Rejected) -> None:
        """Keep a message that is no event as a dead letter, for people."""
        log.error("message.unreadable", message_id=record.message_id, code=refusal.code, error=str(refusal))
        event = CloudEvent(
            id=record.message_id,
            source=record.event_source_arn,
            type=UNREADABLE,
            time=self._function.platform.ports.clock.now(),
            data={"body": record.body},
        )
        await self._function.dead_letter(event, Reason(code=UNREADABLE, message=str(refusal)))


def _times(record: SQSRecord) -> int:
    """Return how often a message was received."""
    return int(record.attributes.approximate_receive_count)


def given_up(record: SQSRecord) -> Reason:
    """Return why a message is among the dead letters: EventBridge says so, SQS only from where it comes."""
    said = {
        name: value.get("stringValue") or "" for name, value in record.raw_event.get("messageAttributes", {}).items()
    }
    if "ERROR_CODE" in said:
        return Reason(
            code=said["ERROR_CODE"][:100].lower(),
            message=f"EventBridge could not deliver it: {said.get('ERROR_MESSAGE', '')}"[:2000],
            where=said.get("TARGET_ARN"),
        )
    source = record.raw_event["attributes"].get("DeadLetterQueueSourceArn")
    return Reason(
        code="undeliverable", message="the function did not take it, however often it was delivered", where=source
    )
