"""`.env`: what is read of it, what counts more, and which files are refused."""

import os
import time
from pathlib import Path

import pytest

from functions._engine.env_file import MOST_BYTES, with_env_file
from functions._engine.settings import PREFIX, Settings, SettingsError
from functions._hosts.one_machine import process
from infra.generate.pages.env_example import env_example
from tests.conftest import ROOT

SAMPLE = """\
# a comment

FLOWC_PORT=9000
export FLOWC_HOST = 127.0.0.1   # a comment behind a value
FLOWC_OIDC_ROLES="sre=operator leads=admin"  # quoted
FLOWC_PUBLIC_URL='https://flow.example.com/#x'
FLOWC_BUS=a#b
OTHER_PROGRAM=$(rm -rf /)
FLOWC_LOG_LEVEL=
"""


def written(folder: Path, text: str, mode: int = 0o600) -> Path:
    file = folder / ".env"
    file.write_text(text, encoding="utf-8")
    file.chmod(mode)
    return file


def test_names_of_flow_c_are_read_quotes_and_comments_are_taken_away_and_nothing_is_expanded(tmp_path: Path) -> None:
    assert with_env_file({}, written(tmp_path, SAMPLE)) == {
        "FLOWC_PORT": "9000",
        "FLOWC_HOST": "127.0.0.1",
        "FLOWC_OIDC_ROLES": "sre=operator leads=admin",
        "FLOWC_PUBLIC_URL": "https://flow.example.com/#x",
        "FLOWC_BUS": "a#b",
        "FLOWC_LOG_LEVEL": "",
    }


def test_options_count_more_than_the_environment_and_that_more_than_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path, "FLOWC_PORT=1\nFLOWC_IN_FLIGHT=2\nFLOWC_DELIVERIES=3\nFLOWC_SLA_SECONDS=4\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLOWC_IN_FLIGHT", "20")
    monkeypatch.setenv("FLOWC_PORT", "10")
    monkeypatch.setenv("FLOWC_SLA_SECONDS", "")
    settings = Settings.from_mapping(process.environment(), port=100)
    assert (settings.port, settings.in_flight, settings.deliveries) == (100, 20, 3)
    assert settings.sla_seconds == Settings.model_fields["sla_seconds"].default
    assert "FLOWC_DELIVERIES" not in os.environ


def test_a_name_that_is_no_setting_is_named_as_one_of_the_environment_is(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="FLOWC_COLOUR: not a setting"):
        Settings.from_mapping(with_env_file({}, written(tmp_path, "FLOWC_COLOUR=red\n")))


def test_without_a_file_and_with_a_folder_of_that_name_there_is_the_environment(tmp_path: Path) -> None:
    assert with_env_file({"A": "b"}, tmp_path / ".env") == {"A": "b"}
    assert with_env_file({"A": "b"}, tmp_path) == {"A": "b"}


@pytest.mark.parametrize(
    ("text", "mode", "why"),
    [
        ("FLOWC_PORT=1\n", 0o622, "others may write it"),
        (f"FLOWC_API_KEY={'k' * 32}\n", 0o640, "others may read it"),
        (f"FLOWC_DATABASE_URL=postgresql://a:b@c/{'d'}\n", 0o604, "others may read it"),
        ("FLOWC_PORT\n", 0o600, "line 1 is not NAME=value"),
        ("x=" + "y" * MOST_BYTES, 0o600, "at most"),
    ],
)
def test_a_file_that_cannot_be_trusted_or_read_is_refused_without_showing_it(
    tmp_path: Path, text: str, mode: int, why: str
) -> None:
    with pytest.raises(SettingsError, match=why) as refused:
        with_env_file({}, written(tmp_path, text, mode))
    assert "kkk" not in str(refused.value)


def test_a_file_without_secrets_may_be_read_by_others(tmp_path: Path) -> None:
    assert with_env_file({}, written(tmp_path, "FLOWC_PORT=1\nFLOWC_API_KEY=\n", 0o644))["FLOWC_PORT"] == "1"


@pytest.mark.timeout(10)
def test_a_pipe_keeps_nobody_waiting_and_spaces_are_read_in_no_time(tmp_path: Path) -> None:
    spaces = written(tmp_path, f"FLOWC_BUS=a{' ' * (MOST_BYTES - 100)}b\n")
    begun = time.process_time()
    assert with_env_file({}, spaces)["FLOWC_BUS"].endswith(" b")
    assert time.process_time() - begun < 1
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SettingsError, match="is no file"):
        with_env_file({}, tmp_path / "pipe")


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    file = written(tmp_path, "")
    file.write_bytes(b"FLOWC_PORT=\xff\xfe\n")
    with pytest.raises(SettingsError, match="UTF-8"):
        with_env_file({}, file)


def test_the_sample_lists_every_setting_with_its_default(tmp_path: Path) -> None:
    sample = (ROOT / ".env.example").read_text(encoding="utf-8")
    assert sample == env_example()
    uncommented = "".join(f"{line[2:]}\n" for line in sample.splitlines() if line.startswith(f"# {PREFIX}"))
    found = with_env_file({}, written(tmp_path, uncommented))
    assert found.keys() == {PREFIX + name.upper() for name in Settings.model_fields}
    assert dict(Settings.from_mapping(found)) == dict(Settings.from_mapping({}, data=found["FLOWC_DATA"]))
    for name in Settings.model_fields:
        before = sample.partition(f"# {PREFIX}{name.upper()}=")[0]
        assert before.endswith(".\n"), f"{name} has no meaning"
