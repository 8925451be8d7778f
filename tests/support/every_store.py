"""Each of the stores as the fixture `stores` of a suite: a class of tests inherits one of these and the suite."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from functions._adapters.aws.client import Client
from functions._adapters.dynamodb import DynamoStore
from functions._adapters.memory.store import MemoryStore
from functions._adapters.sql.postgres import PostgresStore
from functions._adapters.sql.sqlite import SqliteStore
from functions._adapters.stores import Stores
from functions._engine.clock import SystemClock


class OnMemory:
    """The reference."""

    @pytest.fixture
    async def stores(self) -> Stores:
        """Return an empty store."""
        return MemoryStore().stores


class OnSqlite:
    """A file of its own."""

    @pytest.fixture
    async def stores(self, tmp_path: Path) -> AsyncIterator[Stores]:
        """Return an empty store."""
        store = SqliteStore.open(tmp_path / "flowc.db")
        yield store.stores
        await store.close()


class OnPostgres:
    """A database of its own."""

    @pytest.fixture
    async def stores(self, database_url: str) -> AsyncIterator[Stores]:
        """Return an empty store."""
        store = await PostgresStore.open(database_url, owner="process-1")
        yield store.stores
        await store.close()


class OnDynamo:
    """A table of its own."""

    @pytest.fixture
    async def stores(self, dynamodb_client: Client, dynamodb_table: str) -> AsyncIterator[Stores]:
        """Return an empty store."""
        store = DynamoStore(dynamodb_client, dynamodb_table, "process-1", SystemClock(), settle=0.05)
        await store.queue.enter()
        yield store.stores
        await store.close()
