"""`flowc up` on PostgreSQL: one that is killed and comes back, and two, of which one is lost."""

import asyncio
import os
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import httpx
import pytest

from functions._engine.settings import Settings, SettingsError
from tests.conftest import ROOT
from tests.support.processes import Platform, platform_process, processes, worker_process
from tests.support.world import PATIENCE_S, decision, task, until

KEY = "k" * 32
PLANTED = "planted-where-nothing-may-find-it"
DIAMOND = (task("a"), task("b", "a"), task("c", "a"), task("d", "b", "c"))
FLOWS = 15
"""So many that one platform is killed in the middle of them."""


@asynccontextmanager
async def balanced(platforms: Sequence[Platform]) -> AsyncIterator[str]:
    """Give the URL of a load balancer: each connection goes to the next platform that takes it."""
    turn = 0

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while chunk := await reader.read(65536):
                writer.write(chunk)
                await writer.drain()
        writer.close()

    async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        nonlocal turn
        for _ in platforms:
            turn += 1
            with suppress(OSError):
                return await asyncio.open_connection("127.0.0.1", urlsplit(platforms[turn % len(platforms)].url).port)
        return None

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if (other := await connect()) is not None:
            await asyncio.gather(copy(reader, other[1]), copy(other[0], writer))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


async def asked(url: str, question: str) -> Any:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(question)
    finally:
        await connection.close()


def handled(platform: Platform) -> float:
    """Return how many steps the platform has committed."""
    with urllib.request.urlopen(f"{platform.url}/metrics", timeout=PATIENCE_S) as answer:  # noqa: S310 always http
        lines = answer.read().decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("flowc_events_handled_total"))


async def test_a_platform_that_is_killed_goes_on_where_it_was(tmp_path: Path, database_url: str) -> None:
    with processes() as started:
        # The test's server asks for no password, so any will do.
        platform = platform_process(tmp_path, database_url=database_url.replace("//flowc@", f"//flowc:{PLANTED}@"))
        worker = worker_process(tmp_path, platform.url, "w1", "--capability", "python", "--simulate", "2")
        started += [platform, worker]
        platform.start()
        await platform.ready()
        worker.start()
        flow_ids = [await platform.submit(decision(*DIAMOND)) for _ in range(5)]
        await asyncio.sleep(0.7)  # in the middle of the work
        platform.kill()
        platform.start()
        await platform.ready()
        assert {(await platform.ended(flow_id))["status"] for flow_id in flow_ids} == {"COMPLETED"}
        assert await platform.letters() == []
    assert not (tmp_path / "data" / "flowc.db").exists()
    assert PLANTED not in platform.log.read_text()


async def test_of_claims_at_two_platforms_one_is_carried_out(tmp_path: Path, database_url: str) -> None:
    platforms: list[Platform] = []
    with processes() as started:
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            platforms.append(platform_process(tmp_path / name, database_url=database_url, worker_key=KEY))
        started.extend(platforms)
        for platform in platforms:
            platform.start()
        for platform in platforms:
            await platform.ready()
        async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE_S) as client:
            for number in range(5):
                body = {"plan_id": f"p{number}", "task_type": "BUILD"}
                ticket = (await client.post(f"{platforms[0].url}/api/v1/tickets", json=body)).json()
                path = f"/api/v1/tickets/{ticket['ticket_id']}"
                claims = [{"status": "RUNNING", "worker_id": f"w{n}"} for n in range(6)]
                answers = await asyncio.gather(
                    *(
                        client.patch(f"{platforms[n % 2].url}{path}/status", json=claim)
                        for n, claim in enumerate(claims)
                    )
                )
                assert sorted(answer.status_code for answer in answers) == [200, *[409] * 5]
                (won,) = [answer.json() for answer in answers if answer.status_code == 200]
                shown = [(await client.get(f"{platform.url}{path}")).json() for platform in platforms]
                assert {(one["worker_id"], one["attempt"]) for one in shown} == {(won["worker_id"], 1)}


@pytest.mark.timeout(120)
async def test_two_platforms_share_the_work_and_survive_the_loss_of_one(tmp_path: Path, database_url: str) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    platforms: list[Platform] = []
    with processes() as started:
        async with balanced(platforms) as url:
            for folder in folders:
                folder.mkdir()
                settings = {"database_url": database_url, "worker_key": KEY, "public_url": url, "heartbeat_seconds": 1}
                platforms.append(platform_process(folder, **settings))
            workers = [
                worker_process(tmp_path, url, f"w{n}", "--capability", "python", "--simulate", "3") for n in range(3)
            ]
            started += [*platforms, *workers]
            for platform in platforms:
                platform.start()
            for platform in platforms:
                await platform.ready()
            for worker in workers:
                worker.start()
            one, two = platforms
            flow_ids = [await platforms[n % 2].submit(decision(*DIAMOND)) for n in range(FLOWS)]
            await until(lambda: some_done(two, flow_ids), "the first flows to end")
            shares = [await asyncio.to_thread(handled, platform) for platform in platforms]
            one.kill()
            statuses = [(await two.ended(flow_id))["status"] for flow_id in flow_ids]
            tickets = [ticket for flow_id in flow_ids for ticket in (await two.tickets(flow_id)).values()]
            await until(lambda: empty(database_url), "the queue to empty")
    assert min(shares) > 0, shares
    assert Counter(statuses) == {"COMPLETED": FLOWS}
    assert Counter(ticket["status"] for ticket in tickets) == {"COMPLETED": FLOWS * len(DIAMOND)}
    assert await asked(database_url, "SELECT count(*) FROM dead_letter") == 0


async def some_done(platform: Platform, flow_ids: Sequence[str]) -> bool | None:
    flows = await platform.get("/api/v1/flows", status="COMPLETED", limit=500)
    return True if len(flows["items"]) >= len(flow_ids) // 6 else None


async def empty(url: str) -> bool | None:
    return True if await asked(url, "SELECT count(*) FROM event_queue") == 0 else None


def test_the_driver_is_imported_where_postgresql_is_used_alone() -> None:
    code = "import sys, functions._hosts.one_machine.process; sys.exit('asyncpg' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


@pytest.mark.parametrize(
    "url",
    [
        f"mysql://ada:{PLANTED}@127.0.0.1/flowc",
        f"postgresql://ada:{PLANTED}@127.0.0.1:port/flowc",
        f"postgresql://ada:{PLANTED}@[::1/flowc",
        PLANTED,
    ],
)
def test_a_wrong_url_is_named_and_not_shown(url: str) -> None:
    with pytest.raises(SettingsError, match="FLOWC_DATABASE_URL") as error:
        Settings.from_mapping({"FLOWC_DATABASE_URL": url})
    assert PLANTED not in str(error.value)
    assert PLANTED not in repr(Settings.from_mapping({"FLOWC_DATABASE_URL": f"postgresql://ada:{PLANTED}@host/flowc"}))


def test_migrate_says_what_it_has_done(new_database_url: str) -> None:
    def migrate(**settings: str) -> "subprocess.CompletedProcess[str]":
        environment = {name: value for name, value in os.environ.items() if not name.startswith("FLOWC_")}
        command = [sys.executable, "-m", "functions", "migrate"]
        return subprocess.run(
            command, cwd=ROOT, env={**environment, **settings}, capture_output=True, text=True, check=False
        )

    first, second = (migrate(FLOWC_DATABASE_URL=new_database_url) for _ in range(2))
    assert (first.returncode, first.stdout.splitlines()[0]) == (0, "applied migration 1")
    assert (second.returncode, second.stdout) == (0, "the schema is up to date\n")
    assert migrate().returncode == 2
    wrong = migrate(FLOWC_DATABASE_URL="mysql://ada:s3cr3t@127.0.0.1/flowc")
    away = migrate(FLOWC_DATABASE_URL="postgresql://ada:s3cr3t@127.0.0.1:1/flowc")
    assert (wrong.returncode, away.returncode) == (2, 1)
    assert "s3cr3t" not in wrong.stderr + wrong.stdout + away.stderr + away.stdout
