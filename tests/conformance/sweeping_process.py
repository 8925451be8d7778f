"""A process that claims what is due until nothing is, and prints the ids."""

import asyncio
import sys

from functions._adapters.sql.postgres import PostgresStore
from tests.support.builders import T0, seconds


async def main(url: str) -> None:
    store = await PostgresStore.open(url, connections=2)
    while claimed := await store.stores.wakeups.claim_due(T0, 7, seconds(60)):
        for due in claimed:
            sys.stdout.write(f"{due.record_id}\n")
    await store.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
