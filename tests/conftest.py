"""What every test may use: the rule for missing services, and the folders of real data."""

import gc
import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import structlog
from hypothesis import settings

if TYPE_CHECKING:
    from functions._adapters.aws.client import Client
    from tests.support.aws_emulator import Aws
    from tests.support.dynamodb import Emulator
    from tests.support.postgres import Server

# How long an example takes says what else the machine does; each run draws other examples, so a few are enough in one.
settings.register_profile("busy", deadline=None, max_examples=40)
settings.load_profile("busy")

# Lines of the log as plain text: to colour them takes longer than most of what they tell of, a traceback a hundredfold.
structlog.configure(
    processors=[
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
        structlog.processors.format_exc_info,
        structlog.processors.KeyValueRenderer(key_order=["ts", "level", "event"]),
    ]
)

ROOT = Path(__file__).resolve().parent.parent


def require(condition: bool, command: str) -> None:
    """Go on only if a service is there; `command` is the line that brings it.

    On a laptop the test is skipped. Where CI is set it fails, because there a skipped test would go unseen.
    """
    if condition:
        return
    message = f"a service is missing; bring it with: {command}"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


LONGEST = frozenset({"aws", "cluster"})
"""Folders of the longest tests."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the longest tests begin first, so that in the end no test process waits for another."""
    items.sort(key=lambda item: item.path.parent.name not in LONGEST)


def pytest_collection_finish() -> None:
    """Keep the garbage collector from what stays to the end: nine thousand tests and all modules."""
    gc.freeze()


@pytest.fixture(scope="session")
def shared_folder() -> Callable[[str], Path]:
    """Give `shared_folder(name)`: the path of ../shared/<name>, or a skip that names what is absent."""

    def find(name: str) -> Path:
        folder = ROOT.parent / "shared" / name
        if not folder.is_dir():
            pytest.skip(f"../shared/{name} is not there")
        return folder

    return find


@pytest.fixture(scope="session")
def postgres() -> Iterator["Server"]:
    """Give a real PostgreSQL server."""
    from tests.support import postgres

    require(postgres.available(), postgres.HOW)
    with postgres.serving() as server:
        yield server


@pytest.fixture
async def database_url(postgres: "Server") -> AsyncIterator[str]:
    """Give the URL of a database with the newest schema and nothing in it; leave the schema as it is."""
    name = await postgres.take()
    yield postgres.named(name)
    await postgres.give_back(name)


@pytest.fixture
async def new_database_url(postgres: "Server") -> AsyncIterator[str]:
    """Give the URL of a database without any schema."""
    name = await postgres.create()
    yield postgres.named(name)
    await postgres.drop(name)


@pytest.fixture(scope="session")
def dynamodb() -> Iterator["Emulator"]:
    """Give an emulated DynamoDB."""
    from tests.support import dynamodb

    require(dynamodb.available(), dynamodb.HOW)
    with dynamodb.serving() as emulator:
        yield emulator


@pytest.fixture
def aws_services(dynamodb: "Emulator", monkeypatch: pytest.MonkeyPatch) -> Iterator["Aws"]:
    """Give the emulated services of AWS, which the environment leads to."""
    from tests.support.aws_emulator import aws
    from tests.support.dynamodb import ENVIRONMENT

    for name, value in {**ENVIRONMENT, "AWS_ENDPOINT_URL": dynamodb.url}.items():
        monkeypatch.setenv(name, value)
    with aws() as found:
        yield found


@pytest.fixture
async def dynamodb_client(dynamodb: "Emulator", monkeypatch: pytest.MonkeyPatch) -> AsyncIterator["Client"]:
    """Give a client of the emulator."""
    from functions._adapters.dynamodb.client import connected
    from tests.support.dynamodb import ENVIRONMENT

    for name, value in {**ENVIRONMENT, "AWS_ENDPOINT_URL_DYNAMODB": dynamodb.url}.items():
        monkeypatch.setenv(name, value)
    async with connected(threads=False) as client:
        yield client


@pytest.fixture
async def dynamodb_table(dynamodb_client: "Client") -> AsyncIterator[str]:
    """Give the name of a new, empty table."""
    from uuid import uuid4

    from functions._adapters.dynamodb.schema import create_table

    name = f"flowc-{uuid4()}"
    await dynamodb_client.call("create_table", create_table(name))
    yield name
    await dynamodb_client.call("delete_table", {"TableName": name})
