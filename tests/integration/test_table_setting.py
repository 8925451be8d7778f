"""A platform whose setting names a table of DynamoDB."""

import os
from pathlib import Path

import pytest

from functions._core.errors import Unavailable
from functions._engine.settings import Settings, SettingsError
from functions._hosts.open_store import open_store
from tests.support.builders import make_flow, make_step
from tests.support.dynamodb import ENVIRONMENT, Emulator


@pytest.fixture(autouse=True)
def emulated(dynamodb: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**ENVIRONMENT, "AWS_ENDPOINT_URL_DYNAMODB": dynamodb.url}.items():
        monkeypatch.setenv(name, value)


async def test_everything_is_kept_in_the_table_and_nothing_in_the_data_folder(
    dynamodb_table: str, tmp_path: Path
) -> None:
    settings = Settings.from_mapping({"FLOWC_TABLE": dynamodb_table}, data=tmp_path)
    flow = make_flow()
    first = await open_store(settings, owner="one")
    await first.stores.store.commit(make_step(flow))
    await first.close()
    second = await open_store(settings, owner="two")
    assert await second.stores.store.flow(flow.flow_id) == flow
    await second.close()
    assert os.listdir(tmp_path) == []  # noqa: PTH208 of an empty folder it blocks nobody


async def test_a_table_that_is_not_there_is_named_as_such() -> None:
    with pytest.raises(Unavailable, match="no such table"):
        await open_store(Settings.from_mapping({"FLOWC_TABLE": "none-such"}), owner="one")


def test_two_stores_are_one_too_many() -> None:
    with pytest.raises(SettingsError, match=r"FLOWC_TABLE.*set one of the two"):
        Settings.from_mapping({"FLOWC_TABLE": "table", "FLOWC_DATABASE_URL": "postgresql://localhost/flowc"})
