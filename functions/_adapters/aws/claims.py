"""The claim check: the data of an event that no bus would take lies in a bucket, the event names it by `dataref`."""

import asyncio
import json
from dataclasses import replace
from hashlib import sha256
from urllib.parse import quote, unquote

from functions._adapters.aws.client import Client
from functions._core.errors import Rejected
from functions._core.events.envelope import CloudEvent

PREFIX = "claims/"


class Claims:
    """Data of large events in `bucket`; objects are never changed, and a rule of the bucket removes them in time."""

    def __init__(self, client: Client, bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    async def checked_in(self, event: CloudEvent) -> CloudEvent:
        """Return the event without its data, which lies in the bucket now; the same data is the same object."""
        body = json.dumps(event.data, separators=(",", ":"), ensure_ascii=False).encode()
        key = f"{PREFIX}{quote(event.id[:200], safe='')}-{sha256(body).hexdigest()[:16]}.json"
        await self._client.call(
            "put_object",
            {"Bucket": self._bucket, "Key": key, "Body": body, "ContentType": "application/json"},
        )
        extensions = {**event.extensions, "dataref": f"s3://{self._bucket}/{quote(key)}"}
        return replace(event, data=None, extensions=extensions)

    async def fetched(self, event: CloudEvent) -> CloudEvent:
        """Return the event with its data, wherever that was; raises `Rejected` for a bucket that is not ours."""
        reference = event.extensions.get("dataref")
        if reference is None or event.data is not None:
            return event
        ours = f"s3://{self._bucket}/"
        if not reference.startswith(ours + PREFIX):
            raise Rejected(f"dataref: only {ours}{PREFIX}… is read", code="foreign_dataref", status=422)
        key = unquote(reference.removeprefix(ours))
        answer = await self._client.call("get_object", {"Bucket": self._bucket, "Key": key})
        extensions = {name: value for name, value in event.extensions.items() if name != "dataref"}
        try:
            data = json.loads(await asyncio.to_thread(answer["Body"].read))
        except ValueError as wrong:
            raise Rejected(f"dataref: {reference} is no JSON", code="invalid_data", status=422) from wrong
        return replace(event, data=data, extensions=extensions)
