"""A process that commits without end and prints each decision once its commit is acknowledged: made to be killed."""

import asyncio
import sys
from itertools import count
from pathlib import Path

from functions._adapters.sql.postgres import PostgresStore
from functions._adapters.sql.sqlite import SqliteStore
from functions._adapters.stores import OpenStore
from tests.support.builders import make_event, make_flow, make_plan, make_step


async def opened(where: str) -> OpenStore:
    """Open a data folder or a database."""
    if not where.startswith("postgresql:"):
        return SqliteStore.open(Path(where))
    store = await PostgresStore.open(where, "doomed")
    await store.stores.queue.take_over()
    return store


async def main(where: str) -> None:
    store = await opened(where)
    numbers = count(1)

    async def commit_for_ever() -> None:
        for number in numbers:
            flow = make_flow(number)
            await store.stores.store.commit(make_step(flow, *make_plan(flow, 3), events=(make_event(number),)))
            sys.stdout.write(f"{number}\n")
            sys.stdout.flush()

    await asyncio.gather(*(commit_for_ever() for _ in range(8)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
