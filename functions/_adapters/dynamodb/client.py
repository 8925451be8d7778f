"""Calls of DynamoDB, over aiobotocore in processes that live long and over botocore where starting fast counts.

Which is which was measured: importing aiobotocore takes 1.4 times as long as boto3. Credentials, region and endpoint
come from the standard environment of AWS. The SDK repeats what was throttled; what still fails is `Unavailable`.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Protocol

from functions._core.errors import Rejected, Unavailable

CONNECT_SECONDS, READ_SECONDS, ATTEMPTS = 2, 5, 5

NEVER_FITS = frozenset({"ValidationException", "ItemCollectionSizeLimitExceededException"})
REFUSED = frozenset({"ConditionalCheckFailedException", "TransactionCanceledException"})


class Refused(Exception):
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


class Client(Protocol):
    """What both SDKs offer, as one."""

    async def call(self, operation: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """Make one call, `update_item` for one; raise `Refused`, `Unavailable` or `Rejected`."""


class AsyncClient:
    """Calls by aiobotocore."""

    def __init__(self, client: Any) -> None:
        self._client = client

    async def call(self, operation: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """Make one call."""
        try:
            answer: Mapping[str, Any] = await getattr(self._client, operation)(**arguments)
        except Exception as error:
            raise meaning(error) from error
        return answer


class ThreadedClient:
    """Calls by botocore, each in a thread."""

    def __init__(self, client: Any) -> None:
        self._client = client

    async def call(self, operation: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """Make one call."""
        try:
            answer: Mapping[str, Any] = await asyncio.to_thread(getattr(self._client, operation), **arguments)
        except Exception as error:
            raise meaning(error) from error
        return answer


@asynccontextmanager
async def connected(*, threads: bool) -> AsyncIterator[Client]:
    """Give a client by botocore, which starts faster, or else by aiobotocore."""
    options = {
        "connect_timeout": CONNECT_SECONDS,
        "read_timeout": READ_SECONDS,
        "retries": {"mode": "standard", "total_max_attempts": ATTEMPTS},
        "max_pool_connections": 64,
    }
    if threads:
        from botocore.config import Config  # noqa: PLC0415 only the SDK in use is loaded
        from botocore.session import get_session  # noqa: PLC0415 only the SDK in use is loaded

        client = get_session().create_client("dynamodb", config=Config(**options))
        yield ThreadedClient(client)
        client.close()
        return
    from aiobotocore.config import AioConfig  # noqa: PLC0415 only the SDK in use is loaded
    from aiobotocore.session import get_session as get_async_session  # noqa: PLC0415 only the SDK in use is loaded

    async with AsyncExitStack() as stack:
        context = get_async_session().create_client("dynamodb", config=AioConfig(**options))
        yield AsyncClient(await stack.enter_async_context(context))


def meaning(error: Exception) -> Exception:
    """Return what an error of an SDK means to callers."""
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 only the SDK in use is loaded

    if isinstance(error, ClientError):
        code = str(error.response.get("Error", {}).get("Code", ""))
        if code == "TransactionConflictException":
            return Refused({**error.response, "CancellationReasons": [{"Code": "TransactionConflict"}]})
        if code in REFUSED:
            return Refused(error.response)
        if code in NEVER_FITS:
            return Rejected(f"It cannot be stored: {error}.", code="not_storable")
        return Unavailable(f"DynamoDB does not answer: {code or error}.")
    if isinstance(error, BotoCoreError | OSError | TimeoutError):
        return Unavailable(f"DynamoDB does not answer: {error or type(error).__name__}.")
    return error
