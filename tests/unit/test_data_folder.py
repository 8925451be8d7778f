"""Where the platform keeps its data when nobody says where."""

from pathlib import Path

import pytest

from functions._engine.settings import Settings
from functions._hosts.one_machine.process import next_steps


def folder(**mapping: str) -> Path:
    return Settings.from_mapping(mapping).data


def test_it_is_the_folder_for_data_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert folder(HOME="/home/ada") == Path("/home/ada/.local/share/flowc")
    assert folder(HOME="/home/ada", XDG_DATA_HOME="/data") == Path("/data/flowc")


def test_one_beside_the_work_is_used_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".flowc").mkdir()
    assert folder(HOME="/home/ada", XDG_DATA_HOME="/data") == Path(".flowc")


def test_whoever_names_one_gets_it_and_whoever_has_no_home_has_it_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert folder(HOME="/home/ada", FLOWC_DATA="/srv/flowc") == Path("/srv/flowc")
    assert Settings.from_mapping({"HOME": "/home/ada"}, data=Path("x")).data == Path("x")
    assert folder() == folder(HOME="somewhere") == folder(XDG_DATA_HOME="not/absolute") == Path(".flowc")


def test_a_platform_that_has_started_says_which_commands_come_next() -> None:
    told = next_steps("http://127.0.0.1:21499")
    for command in ("worker", "submit -", "flows"):
        assert f"flowc {command} --url http://127.0.0.1:21499" in told
    assert "--url" not in next_steps("http://127.0.0.1:8080")
