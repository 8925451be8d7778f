"""Workers and subscribers over HTTP: an event is one binary-mode POST, several to a worker are one in batched mode."""

from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from functions._adapters.http.client import HttpClient, post_to_setting
from functions._adapters.http.cloudevents import write_batch, write_binary
from functions._adapters.http.reply import Bounds, NotReached
from functions._core.decision.secret_references import values_at
from functions._core.errors import Rejected, Unavailable
from functions._core.events.envelope import CloudEvent
from functions._core.events.signatures import message_id_of, signature_headers
from functions._core.masking import Mask
from functions._core.ports import Clock, Tokens
from functions._core.records.worker import Answer, Worker

DETAIL_LIMIT = 500
"""Characters kept of what a worker says: it is for people and ends up in histories."""


class HttpWorkerGateway:
    """Delivers events to workers, each signed by the worker's secret; implements `ports.WorkerGateway`."""

    def __init__(self, client: HttpClient, tokens: Tokens, clock: Clock) -> None:
        self._client = client
        self._tokens = tokens
        self._clock = clock

    async def deliver(self, worker: Worker, *events: CloudEvent) -> Answer:
        """POST `events` to the endpoint; an address that is never called answers 403, a bad one 400."""
        headers, body = write_binary(events[0]) if len(events) == 1 else write_batch(events)
        secret = self._tokens.worker_secret(worker.worker_id, worker.registration)
        headers |= signature_headers(secret, message_id_of(*events), self._clock.now(), body)
        try:
            reply = await self._client.post(worker.endpoint, headers, body)
        except Rejected as refusal:
            return Answer(refusal.status, str(refusal))
        except NotReached as failure:
            return Answer(0, str(failure), reached=False)
        except Unavailable as failure:
            return Answer(0, str(failure))
        return Answer(reply.status, _without_secrets(reply.text, events)[:DETAIL_LIMIT])


PROBE_SECONDS, PROBE_BYTES = 2.0, 1024
"""How long a probe may take, and how much of its answer is read."""


class HttpProbe:
    """Asks agents whether they are well: `GET /health` at the server of their endpoint."""

    def __init__(self, client: HttpClient) -> None:
        self._client = client

    async def __call__(self, worker: Worker) -> bool:
        """Return whether the agent answers with a 2xx within two seconds; never raises."""
        parts = urlsplit(worker.endpoint)
        bounds = Bounds(PROBE_SECONDS, PROBE_SECONDS, PROBE_BYTES)
        try:
            return (await self._client.request("GET", f"{parts.scheme}://{parts.netloc}/health", {}, b"", bounds)).ok
        except (Rejected, Unavailable):
            return False


def _without_secrets(text: str, events: Sequence[CloudEvent]) -> str:
    """Return what a worker said without the tokens and secrets it was sent, should it repeat what it is asked."""
    for event in events:
        data = event.data if isinstance(event.data, Mapping) else {}
        if data.get("token"):
            text = text.replace(data["token"], "[token]")
        if data.get("secrets"):
            text = Mask(values_at(data["parameters"], data["secrets"])).text(text)
    return text


class HttpBroker:
    """Hands events to one subscriber; implements `ports.Broker`, repeating is left to the caller."""

    def __init__(self, client: HttpClient, url: str) -> None:
        self._client = client
        self._url = url

    async def publish(self, events: Sequence[CloudEvent]) -> None:
        """POST the events one after the other, and stop at the first that is not taken.

        Raises `Unavailable` where repeating may help, else `Rejected` with the subscriber's status.
        """
        for event in events:
            reply = await post_to_setting(self._client, self._url, *write_binary(event))
            if reply.ok:
                continue
            if reply.passing:
                raise Unavailable(f"the subscriber answered {reply.status} to {event.id}")
            raise Rejected(
                f"the subscriber answered {reply.status} to {event.id}",
                code="refused_by_subscriber",
                status=reply.status,
            )
