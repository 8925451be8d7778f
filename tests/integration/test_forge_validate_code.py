"""Validation of projects by real tools: one quality of all that they find, policies, and tools that lack or break."""

import json
from pathlib import Path
from typing import Any

import pytest

from functions._executors.file_store import FolderStore
from functions._executors.forge.validate_code import ValidateCodeExecutor
from functions._executors.settings import ExecutorSettings
from tests.support.forge_desk import SHOP, ForgeDesk, hostile
from tests.support.scans import program

KEY = "AKIAIOSFODNN7EXAMPLA"
BAD = "import subprocess\nsubprocess.call('ls ' + x, shell=True)\n"
DENY = 'package acme.names\nimport rego.v1\ndeny contains "a secret name" if "%s" in input.paths\n'
DOCKERFILE = "FROM python:3.12-slim AS build\nRUN pip install .\nFROM build\nUSER 65532\n"
POD = "kind: Pod\nspec:\n  containers:\n    - securityContext:\n        privileged: true\n"
ROOT = "makes an image that runs as root"
WRONG = [
    ("Dockerfile", "FROM python:3.12\n", ROOT),
    ("Dockerfile", "FROM python:3.12\nUSER +0\n", ROOT),
    ("Dockerfile", "FROM python:3.12\nENV U=root\nUSER ${U}\n", ROOT),
    ("Dockerfile", "FROM python:3.12\nUSER $NOBODY_KNOWS\n", ROOT),
    ("Dockerfile", "FROM python:3.12\nRUN <<EOF\nUSER app\nEOF\n", ROOT),
    ("Dockerfile", "FROM python:3.12\nRUN echo \\\nUSER app\n", ROOT),
    ("Dockerfile", "FROM python:3.12\nRUN echo \u2028USER app\n", ROOT),
    ("deep/a.Dockerfile", "FROM python:3.12 AS a\nUSER app\nFROM python:3.12\n", ROOT),
    ("Dockerfile", "FROM python:3.12 AS a\nUSER app\nFROM python:3.12 AS a\nFROM a\n", ROOT),
    ("Dockerfile", "FROM python\nUSER app\n", "takes the image python, whose version nobody knows"),
    ("Dockerfile", "ARG V=latest\nFROM acme:5000/app:$V\nUSER app\n", "takes the image acme:5000/app:latest, whose"),
    ("Dockerfile", "FROM acme:5000/app\nUSER app\n", "takes the image acme:5000/app, whose version"),
    ("Dockerfile", "FROM $BASE\nUSER app\n", "takes the image $BASE, whose version"),
    ("Containerfile", "USER app\n", "has no FROM"),
    ("Dockerfile.x", f"FROM python:3.12\nUSER app\n{'#' * 70_000}", "is too long"),
    ("deploy/pod.yaml", POD, "asks for privileged"),
    ("pod.json", '[{"spec": {"hostNetwork": true}}]', "asks for hostNetwork"),
    ("templates/pod.yaml", "{{ if .x }}\n  - hostPID: true\n{{ end }}", "asks for hostPID"),
    ("templates/pod.yaml", '{{ .x }}\nsecurityContext: {"privileged": true}\n', "asks for privileged"),
    ("templates/pod.yaml", "{{ if .x }}\nhostIPC: true\n" + "#" * 70_000, "is too long"),
]
"""Files that no project may have, and why."""


@pytest.fixture
def desk(tmp_path: Path) -> ForgeDesk:
    return ForgeDesk(tmp_path)


def results(output: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {one["tool_name"]: one for one in output["validation_results"]}


def report(desk: ForgeDesk, output: dict[str, Any]) -> Any:
    return json.loads(b"".join(FolderStore(desk.folder / "store").read(output["report"]["uri"])))


class TestQuality:
    async def test_scores_of_tools_are_one_quality(self, desk: ForgeDesk) -> None:
        files = {**SHOP, "src/shop/shell.py": BAD, "src/shop/keys.yml": f"key: {KEY}\n"}
        output = await desk.validate(desk.project(files))
        of = results(output)
        # Bandit: HIGH and LOW; detect-secrets: HIGH; Ruff: one name that nobody has defined.
        assert {name: of[name]["score"] for name in ("bandit", "detect-secrets", "ruff", "opa")} == {
            "bandit": 0.84,
            "detect-secrets": 0.85,
            "ruff": 0.95,
            "opa": 1,
        }
        assert output["quality"] == pytest.approx(0.3 * 0.84 + 0.3 * 0.85 + 0.2 * 0.95 + 0.2)
        assert (of["bandit"]["status"], of["ruff"]["status"], of["opa"]["status"]) == ("FAILED", "WARNING", "PASSED")
        assert of["bandit"]["issues"] == {"critical": 0, "high": 1, "medium": 0, "low": 1, "info": 0}
        assert of["bandit"]["started_at"] < of["detect-secrets"]["completed_at"], "they run at the same time"
        assert of["detect-secrets"]["started_at"] < of["bandit"]["completed_at"]
        assert of["ruff"]["tool_version"].count(".") == 2
        assert of["trivy"]["status"] == of["sonarqube"]["status"] == "SKIPPED"
        found = [run["tool"]["driver"]["name"] for run in report(desk, output)["runs"]]
        assert sorted(found) == ["bandit", "detect-secrets", "ruff"]
        assert KEY not in json.dumps(report(desk, output))
        assert "HIGH bandit B602 src/shop/shell.py:2" in desk.log
        assert desk.left == []

    async def test_a_good_project_has_the_best_quality_and_the_same_one_again(self, desk: ForgeDesk) -> None:
        code = desk.project(SHOP)
        first, again = await desk.validate(code), await desk.validate(code)
        assert (first["quality"], first["capped_by"]) == (1, "")
        assert first["report"] == again["report"]

    async def test_a_kind_that_nothing_has_looked_at_counts_as_nothing(self, desk: ForgeDesk) -> None:
        desk.settings = desk.settings.model_copy(update={"commands": ("bandit",)})
        output = await desk.validate(desk.project(SHOP))
        assert output["quality"] == 0.5  # SAST and policies
        assert results(output)["ruff"]["status"] == "SKIPPED"
        assert "ruff: not run: the worker's owner does not allow it" in desk.log

    async def test_tools_for_python_do_not_praise_a_project_without_any(self, desk: ForgeDesk) -> None:
        output = await desk.validate(desk.project({"LICENSE": "x", "main.tf": "locals {}\n"}, "hcl"))
        of = results(output)
        assert (of["bandit"]["status"], of["ruff"]["status"]) == ("SKIPPED", "SKIPPED")
        assert output["quality"] == 0.5  # security and policies

    async def test_a_critical_finding_caps_the_quality(
        self, desk: ForgeDesk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        found = {"RuleID": "r", "Severity": "CRITICAL", "Title": "t"}
        said = {"SchemaVersion": 2, "Results": [{"Target": "a", "Secrets": [found]}]}
        brought = program(tmp_path / "bin", "trivy", f"open('../report.json', 'w').write({json.dumps(said)!r})")
        monkeypatch.setenv("PATH", f"{brought}:/usr/bin:/bin")
        desk.settings = desk.settings.model_copy(update={"environment": {"WORKER_TRIVY_CACHE": str(tmp_path)}})
        output = await desk.validate(desk.project(SHOP))
        assert results(output)["trivy"]["score"] == 0.49
        assert (output["quality"], output["capped_by"]) == (0.49, "a critical finding of trivy")

    async def test_a_tool_that_breaks_fails_the_stage_which_may_end_better(
        self, desk: ForgeDesk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        brought = program(tmp_path / "bin", "trivy", "raise SystemExit('no database')")
        monkeypatch.setenv("PATH", f"{brought}:/usr/bin:/bin")
        desk.settings = desk.settings.model_copy(update={"environment": {"WORKER_TRIVY_CACHE": str(tmp_path)}})
        failed = await desk.failure("forge_validate_code", {"code": desk.project(SHOP)})
        assert (failed.kind, failed.retryable) == ("tool_failed", True)
        assert failed.message == "trivy: exit status 1: no database"
        assert desk.left == []

    async def test_a_project_does_not_say_how_it_is_looked_at(self, desk: ForgeDesk) -> None:
        lint = "[tool.ruff.lint]\nselect = []\n[tool.bandit]\nskips = ['B602']\n"
        files = {**SHOP, "pyproject.toml": lint, "ruff.toml": "exclude = ['src']\n", ".bandit": "[bandit]\nskips: B602"}
        output = await desk.validate(desk.project({**files, "build/shell.py": BAD}))
        assert (results(output)["bandit"]["status"], results(output)["ruff"]["status"]) == ("FAILED", "WARNING")

    async def test_a_hostile_archive_is_refused_before_any_tool_sees_it(self, desk: ForgeDesk) -> None:
        for members in ([("../../out.py", b"x")], [(".git/config", b"x")], []):
            failed = await desk.failure("forge_validate_code", {"code": hostile(desk, *members)})
            assert (failed.kind, failed.retryable) == ("bad_project", False)
        assert desk.left == []
        assert not [*desk.folder.rglob("out.py")]


class TestPolicies:
    async def test_what_no_project_may_have(self, desk: ForgeDesk) -> None:
        desk.settings = desk.settings.model_copy(update={"commands": ()})
        named = {f"{number}/{path}": text for number, (path, text, _) in enumerate(WRONG)}
        output = await desk.validate(desk.project({**named, "LICENSES/MIT.txt": "MIT\n"}))
        assert output["capped_by"] == "denied by opa"
        said = desk.log.splitlines()
        denials = [f"{number}/{path} {why}" for number, (path, _, why) in enumerate(WRONG)]
        for denial in denials:
            assert any(line.startswith(f"HIGH opa flowc {denial}") for line in said), denial
        assert results(output)["opa"]["issues"]["high"] == len(WRONG), "each is denied for its one fault"
        output = await desk.validate(desk.project({"docs/LICENSE": "MIT\n"}))
        assert output["capped_by"] == "denied by opa"
        assert "HIGH opa flowc the project has no licence" in desk.log

    async def test_what_a_project_may_have(self, desk: ForgeDesk) -> None:
        files = {
            "Dockerfile": DOCKERFILE,
            "a.Dockerfile": "# escape=`\nFROM gcr.io/distroless/static:nonroot\nCOPY a `\n  b\n",
            "b/Dockerfile": f"FROM python@sha256:{'0' * 64}\nUSER app\n",
            "Dockerfile.c": "ARG V=3.12\nFROM --platform=linux/amd64 python:${V}-slim\nUSER 1000:1000\n",
            "scratch/Containerfile": "FROM scratch\nCOPY app /\nUSER 65532\n",
            "pod.yaml": "spec: {hostNetwork: false, privileged: no}\n",
            "chart/templates/pod.yaml": "{{ .x }}: 1\n# not privileged: true\nunprivileged: true\n",
            "func.yaml": "created: 2026-01-01T00:00:00Z\nsaid: 'a \"word\" and \\ a \x85'\n.nan: .inf\n",
        }
        desk.settings = desk.settings.model_copy(update={"commands": ()})
        output = await desk.validate(desk.project({**SHOP, **files}))
        assert (output["quality"], output["capped_by"]) == (0.2, ""), desk.log

    async def test_a_dockerfile_that_grows_as_it_is_read_takes_no_memory(self, desk: ForgeDesk) -> None:
        grows = "FROM a:1\nENV A=xx\n" + "ENV A=$A$A\n" * 5_000 + "USER app\n"
        desk.settings = desk.settings.model_copy(update={"commands": ()})
        assert (await desk.validate(desk.project({**SHOP, "Dockerfile": grows})))["capped_by"] == ""

    async def test_policies_of_the_plan_and_of_the_owner_deny(self, desk: ForgeDesk, tmp_path: Path) -> None:
        (tmp_path / "policies").mkdir()
        (tmp_path / "policies" / "names.rego").write_text(DENY % "owner.txt")
        where = {"WORKER_FORGE_POLICIES": str(tmp_path / "policies")}
        desk.settings = desk.settings.model_copy(update={"commands": (), "environment": where})
        given = [{"name": "mine", "rego": DENY % "plan.txt", "query": "data.acme.names.deny"}]
        for name, who in (("plan.txt", "plan: mine"), ("owner.txt", "owner: names"), ("other.txt", "")):
            output = await desk.validate(desk.project({**SHOP, name: "x"}), policies=given)
            assert (output["capped_by"], f"opa {who} a secret name" in desk.log) == (
                ("denied by opa", True) if who else ("", False)
            )

    @pytest.mark.parametrize("text", ["deny := true", "package a\ndeny := {", "package a\nother := 1"])
    async def test_a_policy_of_the_owner_that_cannot_be_asked_fails_the_stage(
        self, desk: ForgeDesk, tmp_path: Path, text: str
    ) -> None:
        (tmp_path / "policies").mkdir()
        (tmp_path / "policies" / "a.rego").write_text(text)
        where = {"WORKER_FORGE_POLICIES": str(tmp_path / "policies")}
        desk.settings = desk.settings.model_copy(update={"environment": where})
        failed = await desk.failure("forge_validate_code", {"code": desk.project(SHOP)})
        assert (failed.kind in {"bad_policies", "tool_failed"}, failed.retryable) == (True, False), failed.message

    async def test_policies_that_are_not_there_are_no_reason_to_pass(self, desk: ForgeDesk, tmp_path: Path) -> None:
        where = {"WORKER_FORGE_POLICIES": str(tmp_path / "none")}
        desk.settings = desk.settings.model_copy(update={"environment": where})
        failed = await desk.failure("forge_validate_code", {"code": desk.project(SHOP)})
        assert (failed.kind, failed.retryable) == ("bad_policies", False)
        desk.settings = desk.settings.model_copy(update={"environment": {}})
        served = {"code": desk.project(SHOP), "policies": [{"name": "served", "path": "acme/deny"}]}
        failed = await desk.failure("forge_validate_code", served)
        assert (failed.kind, failed.retryable) == ("tool_missing", True)
        assert "WORKER_OPA_URL" in failed.message


async def test_doctor_names_the_kinds_that_nothing_looks_at() -> None:
    given = {"sandbox": "off", "commands": ("bandit",)}
    executor = ValidateCodeExecutor(ExecutorSettings.model_validate(given))
    checks = {check.name: check for check in await executor.check()}
    await executor.aclose()
    assert checks["tools"].detail == "nothing for LINT, SECURITY, which counts as 0"
    assert (checks["bandit"].ok, checks["ruff"].ok, checks["opa"].ok) == (True, False, True)
