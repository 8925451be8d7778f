"""Calls of AWS, over aiobotocore in processes that live long and over botocore where starting fast counts.

Which is which was measured: importing aiobotocore takes 1.4 times as long as boto3. Credentials, region and endpoints
come from the standard environment of AWS. The SDK repeats what was throttled; what still fails is `Unavailable`.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Protocol

from functions._core.errors import Unavailable

CONNECT_SECONDS, READ_SECONDS, ATTEMPTS = 2, 5, 5

OPTIONS = {
    "connect_timeout": CONNECT_SECONDS,
    "read_timeout": READ_SECONDS,
    "retries": {"mode": "standard", "total_max_attempts": ATTEMPTS},
    "max_pool_connections": 64,
}

Meaning = Callable[[Exception], Exception]
"""Returns what an error of an SDK means to callers."""


class Client(Protocol):
    """What both SDKs offer, as one."""

    async def call(self, operation: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """Make one call, `update_item` for one; what it raises is what the client's `Meaning` says."""


class AsyncClient:
    """Calls by aiobotocore."""

    def __init__(self, client: Any, meaning: Meaning) -> None:
        self._client = client
        self._meaning = meaning

    async def call(self, operation: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """Make one call."""
        try:
            answer: Mapping[str, Any] = await getattr(self._client, operation)(**arguments)
        except Exception as error:
            raise self._meaning(error) from error
        return answer


class ThreadedClient:
    """Calls by botocore, each in a thread; `made` gives the SDK's client, at the first of them."""

    def __init__(self, made: Callable[[], Any], meaning: Meaning) -> None:
        self._made = made
        self._meaning = meaning

    async def call(self, operation: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """Make one call."""
        try:
            answer: Mapping[str, Any] = await asyncio.to_thread(getattr(self._made(), operation), **arguments)
        except Exception as error:
            raise self._meaning(error) from error
        return answer


class Clients:
    """Clients of several services over botocore, each made at its first call; `close` them after use."""

    def __init__(self) -> None:
        self._session: Any = None
        self._made: dict[str, Any] = {}

    def of(self, service: str, meaning: Meaning | None = None) -> Client:
        """Return the client of a service, `events` for one."""
        return ThreadedClient(lambda: self._client(service), meaning or away(service))

    def _client(self, service: str) -> Any:
        if service not in self._made:
            from botocore.config import Config  # noqa: PLC0415 only the SDK in use is loaded
            from botocore.session import get_session  # noqa: PLC0415 only the SDK in use is loaded

            self._session = self._session or get_session()
            self._made[service] = self._session.create_client(service, config=Config(**OPTIONS))
        return self._made[service]

    def close(self) -> None:
        """Give the connections back."""
        for client in self._made.values():
            client.close()


@asynccontextmanager
async def connected(service: str, meaning: Meaning | None = None) -> AsyncIterator[Client]:
    """Give a client by aiobotocore."""
    from aiobotocore.config import AioConfig  # noqa: PLC0415 only the SDK in use is loaded
    from aiobotocore.session import get_session  # noqa: PLC0415 only the SDK in use is loaded

    async with AsyncExitStack() as stack:
        context = get_session().create_client(service, config=AioConfig(**OPTIONS))
        yield AsyncClient(await stack.enter_async_context(context), meaning or away(service))


def away(service: str) -> Meaning:
    """Return the meaning of errors where every one may be gone when the call is repeated."""

    def meaning(error: Exception) -> Exception:
        found = reason(error)
        return error if found is None else Unavailable(f"AWS {service} does not answer: {found}")

    return meaning


def reason(error: Exception) -> str | None:
    """Return what an SDK says has gone wrong; None when the error is not one of a call."""
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 only the SDK in use is loaded

    if isinstance(error, ClientError):
        return str(error.response.get("Error", {}).get("Code", "")) or str(error)
    if isinstance(error, BotoCoreError | OSError | TimeoutError):
        return str(error) or type(error).__name__
    return None
