"""The image of the functions: pinned, one entry for every function. Building it is left to Docker."""

import re
import subprocess

from infra.generate.manifests import SCALES
from tests.conftest import ROOT
from tests.support.dockerfile import stages
from tests.support.kustomize import containers, render

INFRA = ROOT / "infra"
TEXT = (INFRA / "Dockerfile").read_text(encoding="utf-8")
IMAGE = stages(TEXT)["function"]


def test_what_is_installed_is_pinned_by_hash_or_is_ours() -> None:
    installs = [part for run in stages(TEXT)["build"].every("RUN") for part in run.split("&&") if " install " in part]
    assert len(installs) == 3
    for install in installs:
        assert "--no-deps" in install
        assert "--require-hashes" in install or "--no-index" in install
    for name in re.findall(r"requirements/([a-z]+)\.txt", TEXT):
        assert (INFRA / "requirements" / f"{name}.txt").is_file()
    assert set(re.findall(r"requirements/([a-z]+)\.txt", TEXT)) == {"build", "identity", "knative", "otel", "postgres"}
    assert "ARG EXTRAS=\n" in TEXT, "nothing but these unless somebody asks for it"
    [loop] = re.findall(r"\$\((for extra in .*; done)\)", TEXT)
    said = subprocess.run(
        ["sh", "-c", loop], env={"EXTRAS": "learn"}, capture_output=True, text=True, check=True
    ).stdout.split()
    assert said[0] == "-r"
    assert (INFRA / said[1]).is_file()


def test_the_tool_that_makes_the_wheel_is_the_one_of_the_tests() -> None:
    def pins(name: str) -> set[tuple[str, str]]:
        text = (INFRA / "requirements" / f"{name}.txt").read_text(encoding="utf-8")
        return set(re.findall(r"^([a-z0-9-]+)==(\S+)", text, re.MULTILINE))

    assert dict(pins("build")).keys() >= {"hatchling"}
    assert pins("build") <= pins("dev")


def test_the_image_runs_as_the_user_that_the_manifests_name() -> None:
    user = tuple(IMAGE.last("USER").split(":"))
    for container in containers(render(INFRA / "knative" / "base")):
        security = container["securityContext"]
        assert (str(security["runAsUser"]), str(security["runAsGroup"])) == user


def test_the_argument_says_which_function_and_the_variable_says_it_for_func() -> None:
    entry = IMAGE.command("ENTRYPOINT")
    said = [part.replace("exec python -m functions", "exec echo python -m functions") for part in entry]
    for arguments, variable in (["validate"], "api"), ([], "track_workers"), ([], "api"):
        done = subprocess.run(
            [*said, *arguments],
            env={"FUNCTION": variable, "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.split() == ["python", "-m", "functions", (arguments or [variable])[0]]
    assert IMAGE.environment["FUNCTION"] in SCALES
