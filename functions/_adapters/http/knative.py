"""A Knative broker, or whatever else a SinkBinding names: each event is one binary-mode POST."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace

from functions._adapters.http.client import HttpClient, post_to_setting
from functions._adapters.http.cloudevents import write_binary
from functions._core.errors import Rejected, Unavailable
from functions._core.events.envelope import CloudEvent
from functions._core.ports import Clock

PAUSES = (0.1, 0.4)
"""Seconds before a second and a third try; who calls tries again later, with longer pauses."""

LONGEST_PAUSE = 2.0
"""A broker that asks for more is not waited for, but left alone for as long as it asks, up to `LONGEST_PEACE`."""

LONGEST_PEACE = 60.0


class KnativeBroker:
    """Publishes to `K_SINK`; implements `ports.Broker`.

    `extensions` are those of `K_CE_OVERRIDES`; they are added to every event.
    """

    def __init__(self, client: HttpClient, sink: str, extensions: Mapping[str, str], clock: Clock) -> None:
        self._client = client
        self._sink = sink
        self._extensions = extensions
        self._clock = clock
        self._peace_until = 0.0

    async def publish(self, events: Sequence[CloudEvent]) -> None:
        """POST the events one after the other, and stop at the first that is not taken.

        Raises `Unavailable` where repeating may help, else `Rejected` with the broker's status.
        """
        for event in events:
            await self._publish(replace(event, extensions={**event.extensions, **self._extensions}))

    async def _publish(self, event: CloudEvent) -> None:
        message = write_binary(event)
        for pause in PAUSES:
            refusal, asked = await self._tried(message)
            if refusal is None:
                return
            if asked > LONGEST_PAUSE:
                raise refusal
            await asyncio.sleep(max(pause, asked))
        refusal, _ = await self._tried(message)
        if refusal is not None:
            raise refusal

    async def _tried(self, message: tuple[dict[str, str], bytes]) -> tuple[Unavailable | None, float]:
        """Try once; return why it failed, if it did, and for how many seconds the broker asks to be left alone."""
        peace = self._peace_until - _now()
        if peace > 0:
            return Unavailable(f"the broker asked for {peace:.1f} s of peace"), peace
        try:
            reply = await post_to_setting(self._client, self._sink, *message)
        except Unavailable as away:
            return away, 0.0
        if reply.ok:
            return None, 0.0
        if reply.passing:
            said = reply.retry_after(self._clock.now())
            asked = min(said.total_seconds(), LONGEST_PEACE) if said is not None else 0.0
            self._peace_until = _now() + asked
            return Unavailable(f"the broker answered {reply.status}"), asked
        raise Rejected(f"the broker answered {reply.status}", code="refused_by_broker", status=reply.status)


def _now() -> float:
    return asyncio.get_running_loop().time()
