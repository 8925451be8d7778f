"""Calls of DynamoDB, and what its errors mean."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from functions._adapters.aws.client import Client, Clients, reason
from functions._adapters.aws.client import connected as connected_by_aio
from functions._core.errors import Rejected, Unavailable

NEVER_FITS = frozenset({"ValidationException", "ItemCollectionSizeLimitExceededException"})
REFUSED = frozenset({"ConditionalCheckFailedException", "TransactionCanceledException"})
AGAIN = frozenset({"TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"})


class RequestRefused(Exception):
    """A condition did not hold, or another transaction was in the way; `answer` says which and shows the items."""

    def __init__(self, answer: Mapping[str, Any]) -> None:
        super().__init__(str(answer.get("Error", {}).get("Message", "")))
        self.answer = answer

    @property
    def reasons(self) -> list[Mapping[str, Any]]:
        """Of each item of the write, in order: its `Code` and the `Item` as it is."""
        single = {"Code": "ConditionalCheckFailed", "Item": self.answer.get("Item", {})}
        reasons: list[Mapping[str, Any]] = self.answer.get("CancellationReasons") or [single]
        return reasons

    @property
    def passing(self) -> bool:
        """Whether the same write may succeed in a moment: others were in the way, and no condition has failed."""
        codes = {reason.get("Code") for reason in self.reasons} - {None, "None"}
        return codes <= AGAIN


@asynccontextmanager
async def connected(*, threads: bool) -> AsyncIterator[Client]:
    """Give a client by botocore, which starts faster, or else by aiobotocore."""
    if threads:
        clients = Clients()
        yield clients.of("dynamodb", meaning)
        clients.close()
        return
    async with connected_by_aio("dynamodb", meaning) as client:
        yield client


def meaning(error: Exception) -> Exception:
    """Return what an error of an SDK means to callers: `RequestRefused`, `Rejected`, or `Unavailable`."""
    code = reason(error)
    if code is None:
        return error
    answer: Mapping[str, Any] = getattr(error, "response", {})
    if code == "TransactionConflictException":
        return RequestRefused({**answer, "CancellationReasons": [{"Code": "TransactionConflict"}]})
    if code in REFUSED:
        return RequestRefused(answer)
    if code in NEVER_FITS:
        return Rejected(f"It cannot be stored: {error}.", code="not_storable")
    if code == "ResourceNotFoundException":
        return Unavailable("DynamoDB has no such table in this region and account; template.yaml makes one.")
    return Unavailable(f"DynamoDB does not answer: {code}.")
