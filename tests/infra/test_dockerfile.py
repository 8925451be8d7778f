"""The Dockerfile by the rules that linters have for one, and the image of the whole platform by its own words."""

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from functions._engine.settings import Settings
from tests.conftest import ROOT
from tests.support.certificates import Authority
from tests.support.dockerfile import stages
from tests.support.processes import Platform, free_port
from tests.support.world import until

FILE = ROOT / "infra" / "Dockerfile"
STAGES = stages(FILE.read_text(encoding="utf-8"))
IMAGES = ("up", "function")
KNOWN = {"ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "HEALTHCHECK", "RUN", "USER", "VOLUME", "WORKDIR"}
KEY = "k" * 32


def test_there_is_one_dockerfile_and_its_stages_are_known() -> None:
    assert [path for path in (ROOT / "infra").rglob("Dockerfile*") if path.suffix != ".dockerignore"] == [FILE]
    assert list(STAGES) == ["build", "base", *IMAGES], "the last one is what a build without a target makes"


def test_every_base_is_one_image_pinned_by_its_version() -> None:
    bases = {stage.base for stage in STAGES.values()} - STAGES.keys()
    assert len(bases) == 1
    assert re.fullmatch(r"python:3\.1[1-9]-slim(@sha256:[0-9a-f]{64})?", bases.pop())


def test_no_instruction_is_unknown_or_adds_what_it_downloads() -> None:
    assert {word for stage in STAGES.values() for word, _ in stage.own} <= KNOWN
    runs = [rest for stage in STAGES.values() for rest in stage.every("RUN")]
    assert [rest for rest in runs if re.search(r"\b(sudo|curl|wget|ssh|apt-get)\b", rest)] == []
    paths = [rest for stage in STAGES.values() for rest in stage.every("WORKDIR")]
    assert all(path.startswith("/") for path in paths)


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_runs_as_nobody_special_and_starts_without_a_shell_in_between(name: str) -> None:
    stage = STAGES[name]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", stage.last("USER"))
    assert not [rest for word, rest in stage.own[stage.own.index(("USER", stage.last("USER"))) :] if word == "RUN"]
    for word in ("ENTRYPOINT", "CMD", "HEALTHCHECK"):
        if stage.every(word):
            assert all(stage.command(word)), word
    assert stage.every("EXPOSE") == [str(Settings().port)]


def test_every_path_that_is_copied_is_there_and_the_build_may_see_it() -> None:
    ignored = (ROOT / "infra" / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    kept = {line.removeprefix("!").removesuffix("/*.txt") for line in ignored if line.startswith("!")}
    copies = [rest for stage in STAGES.values() for word, rest in stage.own if word == "COPY"]
    own = {name for rest in copies if not rest.startswith("--from=") for name in rest.split()[:-1]}
    assert own == kept
    assert [name for name in own if not (ROOT / name).exists()] == []
    assert {rest.split()[0].removeprefix("--from=") for rest in copies if rest.startswith("--from=")} <= STAGES.keys()


def test_the_data_of_the_platform_is_on_a_volume_that_its_user_owns() -> None:
    stage = STAGES["up"]
    folder = stage.environment["FLOWC_DATA"]
    assert stage.command("VOLUME") == [folder]
    user, group = stage.last("USER").split(":")
    assert f"install --directory --owner {user} --group {group} {folder}" in stage.every("RUN")


def test_without_a_key_the_image_says_what_is_missing(tmp_path: Path) -> None:
    stage = STAGES["up"]
    command = [sys.executable, "-m", *stage.command("ENTRYPOINT"), *stage.command("CMD")]
    environment = {**stage.environment, "FLOWC_DATA": str(tmp_path), "PATH": "/usr/bin:/bin"}
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert "FLOWC_API_KEY" in run.stderr


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
async def test_the_health_check_tells_a_platform_that_is_ready_from_none(tls: bool, tmp_path: Path) -> None:
    stage = STAGES["up"]
    port = free_port()
    _, option, code = stage.command("HEALTHCHECK")
    assert f":{Settings().port}/" in code
    check = [sys.executable, option, code.replace(f":{Settings().port}/", f":{port}/")]
    given = {**stage.environment, "FLOWC_DATA": str(tmp_path), "FLOWC_PORT": str(port), "FLOWC_API_KEY": KEY}
    if tls:
        certificate, key = tmp_path / "tls.crt", tmp_path / "tls.key"
        Authority(tmp_path).issue(certificate, key, "192.0.2.1")
        given |= {"FLOWC_TLS_CERT": str(certificate), "FLOWC_TLS_KEY": str(key)}
    platform = Platform(stage.command("CMD"), tmp_path / "log", given)

    async def healthy() -> bool | None:
        environment = {**os.environ, **given}
        done = await asyncio.to_thread(subprocess.run, check, env=environment, capture_output=True, check=False)
        return done.returncode == 0 or None

    assert await healthy() is None
    platform.start()
    try:
        await until(healthy, "the health check")
    finally:
        platform.stop()
