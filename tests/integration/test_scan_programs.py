"""Scans by programs that are large or not everywhere: Semgrep, Checkov, promtool as they are, Trivy as documented."""

import asyncio
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from functions._executors.scan import ScanExecutor
from tests.conftest import ROOT, require
from tests.support.scans import ScanDesk, program

SCANNERS = ROOT / ".venv" / "scanners" / "bin"
MONITORING = ROOT / ".venv" / "monitoring"
RULES = """
rules:
  - id: no-shell
    languages: [python]
    severity: ERROR
    message: a shell runs $X
    pattern: subprocess.call($X, shell=True)
"""
APP = "import subprocess\nsubprocess.call('ls ' + x, shell=True)\n"
BUCKET = 'resource "aws_s3_bucket" "b" {\n  bucket = "b"\n  acl    = "public-read"\n}\n'
GROUP = "groups:\n  - name: g\n    rules:\n"
ALERTS = {
    "good.rules.yml": f"{GROUP}      - alert: A\n        expr: up == 0\n",
    "deep/bad.rules.yml": f"{GROUP}      - alert: A\n        expr: up == (\n",
    "field.rules.yml": f"{GROUP}      - foo: 1\n",
    "twice.rules.yml": GROUP + "      - record: a:b\n        expr: up\n" * 2,
    "notes.yml": "no: rules",
}


REPORT: Any = {
    "SchemaVersion": 2,
    "ArtifactName": ".",
    "ArtifactType": "filesystem",
    "Results": [
        {
            "Target": "requirements.txt",
            "Class": "lang-pkgs",
            "Type": "pip",
            "Vulnerabilities": [
                {
                    "VulnerabilityID": "CVE-2019-14806",
                    "PkgName": "Werkzeug",
                    "InstalledVersion": "0.11",
                    "FixedVersion": "0.15.3",
                    "Title": "insufficient debugger PIN randomness",
                    "Severity": "HIGH",
                },
                {"VulnerabilityID": "CVE-0", "PkgName": "a", "InstalledVersion": "1", "Severity": "UNKNOWN"},
            ],
        },
        {
            "Target": "Dockerfile",
            "Class": "config",
            "Type": "dockerfile",
            "MisconfSummary": {"Successes": 20, "Failures": 1},
            "Misconfigurations": [
                {
                    "Type": "Dockerfile Security Check",
                    "ID": "DS002",
                    "AVDID": "AVD-DS-0002",
                    "Title": "Image user should not be 'root'",
                    "Message": "Specify at least 1 USER command",
                    "Severity": "CRITICAL",
                    "Status": "FAIL",
                    "CauseMetadata": {"StartLine": 3, "EndLine": 3},
                },
                {"ID": "DS001", "Title": "t", "Message": "m", "Severity": "LOW", "Status": "PASS"},
            ],
        },
        {
            "Target": "key.txt",
            "Class": "secret",
            "Secrets": [
                {
                    "RuleID": "aws-access-key-id",
                    "Category": "AWS",
                    "Severity": "LOW",
                    "Title": "AWS Access Key ID",
                    "StartLine": 1,
                    "Match": "key = ********************",
                }
            ],
        },
        {"Target": "clean.lock", "Class": "lang-pkgs", "Type": "npm"},
    ],
}
"""After the examples of Trivy's documentation of its JSON report."""


@pytest.fixture
def brought(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let programs be found where `make scanners` and `make monitoring` have put them."""
    monkeypatch.setenv("PATH", f"{SCANNERS}:{MONITORING}:{os.environ['PATH']}")


def needs(name: str, target: str, sandbox: str = "off") -> None:
    require(shutil.which(name) is not None, f"make {target}")
    require(sandbox == "off" or shutil.which("bwrap") is not None, "sudo apt-get install bubblewrap")


def desk_for(folder: Path, sandbox: str = "off", **environment: str) -> ScanDesk:
    desk = ScanDesk(folder, sandbox, **environment)
    tool = shutil.which("promtool")
    brought = [SCANNERS.parent, MONITORING, *([Path(tool).resolve().parent] if tool else [])]
    shown = [path for path in brought if path.exists()]
    desk.settings = desk.settings.model_copy(update={"readable": tuple(shown)})
    return desk


@pytest.mark.slow
@pytest.mark.usefixtures("brought")
class TestPrograms:
    @pytest.mark.parametrize("sandbox", ["on", "off"])
    async def test_semgrep_runs_rules_of_the_owner(self, tmp_path: Path, sandbox: str) -> None:
        needs("semgrep", "scanners", sandbox)
        (tmp_path / "rules").mkdir()
        (tmp_path / "rules/own.yml").write_text(RULES)
        files = {"tests/app.py": APP, ".semgrepignore": "tests/\n", "bad.py": "def broken(:\n"}
        desk = desk_for(tmp_path, sandbox, WORKER_SEMGREP_RULES=str(tmp_path / "rules"))
        failed = await desk.failure({"tools": ["semgrep"], "target": {"files": files}})
        assert failed.kind == "findings", failed.message
        assert failed.message.endswith("no-shell tests/app.py:2 a shell runs 'ls ' + x")
        (tmp_path / "rules/own.yml").write_text("rules: [{}]")
        assert (await desk.failure({"tools": ["semgrep"], "target": {"files": files}})).kind == "tool_failed"
        without = await desk_for(tmp_path).run({"tools": ["semgrep"], "target": {"files": files}})
        assert "WORKER_SEMGREP_RULES" in without["tools"][0]["reason"]

    @pytest.mark.parametrize("sandbox", ["on", "off"])
    async def test_checkov_findings_are_mapped(self, tmp_path: Path, sandbox: str) -> None:
        needs("checkov", "scanners", sandbox)
        config = "external-checks-dir: [.]\nskip-check: [CKV_AWS_20]\n"
        files = {"infra/main.tf": BUCKET, ".checkov.yaml": config, "evil.py": "open('/tmp/pwned', 'w')\n"}
        desk = desk_for(tmp_path, sandbox)
        output = await desk.run({"tools": ["checkov"], "target": {"files": files}})
        found = {one["rule"]: one for one in output["findings"]}
        assert found["CKV_AWS_20"]["file"] == "infra/main.tf"
        assert (found["CKV_AWS_20"]["line"], found["CKV_AWS_20"]["severity"]) == (1, "MEDIUM")
        assert "aws_s3_bucket.b" in found["CKV_AWS_20"]["message"]
        failed = await desk.failure({"tools": ["checkov"], "target": {"files": files}, "fail_on": "MEDIUM"})
        assert failed.kind == "findings"
        assert (await desk.run({"tools": ["checkov"], "target": {"files": {"a.txt": "x"}}}))["total"] == 0

    @pytest.mark.parametrize("sandbox", ["on", "off"])
    async def test_promtool_names_faults_of_alert_rules(self, tmp_path: Path, sandbox: str) -> None:
        needs("promtool", "monitoring", sandbox)
        desk = desk_for(tmp_path, sandbox)
        await desk.failure({"tools": ["promtool"], "target": {"files": ALERTS}})
        found = sorted(line.split(" ")[1:4] for line in desk.log.splitlines() if line.startswith(("HIGH", "MEDIUM")))
        assert ["promtool", "rules", "deep/bad.rules.yml:5"] in found
        assert ["promtool", "rules", "field.rules.yml:4"] in found
        assert ["promtool", "lint"] in [one[:2] for one in found]
        assert not any("good.rules.yml" in " ".join(one) for one in found)
        good = {"tools": ["promtool"], "target": {"files": {"good.rules.yml": ALERTS["good.rules.yml"]}}}
        assert (await desk.run(good))["total"] == 0
        none = await desk.failure({"tools": ["promtool"], "target": {"files": {"a.yml": "a: 1"}}})
        assert "the target has no files for it" in none.message

    @pytest.mark.parametrize(
        ("argv", "found"),
        [
            (
                (
                    "semgrep",
                    "scan",
                    "--sarif",
                    "--metrics",
                    "off",
                    "--disable-version-check",
                    "--config",
                    "own.yml",
                    ".",
                ),
                "HIGH Semgrep OSS no-shell app.py:2 a shell runs 'ls ' + x",
            ),
            (
                ("checkov", "-d", ".", "-o", "sarif", "--output-file-path", ".", "--soft-fail", "--skip-download"),
                "HIGH Checkov CKV_AWS_20 main.tf:1 S3 Bucket has an ACL defined which allows public READ access.",
            ),
        ],
        ids=["semgrep", "checkov"],
    )
    async def test_sarif_that_they_write_themselves_is_read(
        self, tmp_path: Path, argv: tuple[str, ...], found: str
    ) -> None:
        needs(argv[0], "scanners")
        for name, text in {"app.py": APP, "main.tf": BUCKET, "own.yml": RULES}.items():
            (tmp_path / name).write_text(text)
        quiet = {**os.environ, "SEMGREP_ENABLE_VERSION_CHECK": "0", "HOME": str(tmp_path / "home")}
        done = await asyncio.to_thread(
            subprocess.run, argv, cwd=tmp_path, env=quiet, capture_output=True, text=True, check=True
        )
        written = tmp_path / "results_sarif.sarif"
        text = written.read_text() if written.exists() else done.stdout
        desk = desk_for(tmp_path)
        await desk.failure({"tools": ["sarif"], "target": {"files": {"a.sarif": text}}})
        assert found in desk.log

    async def test_doctor_names_their_versions(self, tmp_path: Path) -> None:
        needs("checkov", "scanners")
        executor = ScanExecutor(desk_for(tmp_path).settings)
        checks = {check.name: check for check in await executor.check()}
        await executor.aclose()
        assert checks["checkov"].detail.startswith("3.")
        assert checks["semgrep"].detail.startswith("1.")

    async def test_bandit_detect_secrets_and_policies_run_in_the_sandbox(self, tmp_path: Path) -> None:
        needs("bwrap", "setup", "on")
        policy = {"name": "a", "rego": 'package a\nallow := input.files["a.yml"].x == 1', "query": "data.a.allow"}
        schema = {"tool": "json_schema", "against": {"type": "string"}}
        files = {"app.py": APP, "a.yml": "x: 1\n", "key.txt": "AKIAIOSFODNN7EXAMPLA\n"}
        given = {"tools": ["bandit", "detect-secrets", schema], "policies": [policy], "target": {"files": files}}
        output = await desk_for(tmp_path, "on").run({**given, "fail_on": "CRITICAL"})
        assert [(one["tool"], one["status"], one["counts"]) for one in output["tools"]] == [
            ("bandit", "run", {"HIGH": 1, "LOW": 1}),
            ("detect-secrets", "run", {"HIGH": 1}),
            ("json_schema", "run", {"HIGH": 1}),
            ("opa", "run", {}),
        ]


class TestTrivy:
    async def test_findings_are_mapped_to_severities(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "report.json").write_text(json.dumps(REPORT))
        text = f"""
import json, os, pathlib, shutil, sys
pathlib.Path({str(tmp_path / "seen.json")!r}).write_text(json.dumps([sys.argv[1:], sorted(os.listdir("."))]))
shutil.copyfile({str(tmp_path / "report.json")!r}, sys.argv[sys.argv.index("--output") + 1])
"""
        monkeypatch.setenv("PATH", f"{program(tmp_path / 'bin', 'trivy', text)}:/usr/bin:/bin")
        (tmp_path / "cache").mkdir()
        desk = desk_for(tmp_path, WORKER_TRIVY_CACHE=str(tmp_path / "cache"))
        files = {"requirements.txt": "Werkzeug==0.11\n", ".trivyignore": "CVE-2019-14806\n"}
        failed = await desk.failure({"tools": ["trivy"], "target": {"files": files}})
        assert failed.message == (
            "2 findings at or above HIGH: CRITICAL trivy DS002 Dockerfile:3 Image user should not be 'root': Specify "
            "at least 1 USER command; HIGH trivy CVE-2019-14806 requirements.txt Werkzeug 0.11, fixed in 0.15.3: "
            "insufficient debugger PIN randomness"
        )
        assert "MEDIUM trivy CVE-0 requirements.txt a 1:" in desk.log
        assert "LOW trivy aws-access-key-id key.txt:1 a secret in a file: AWS Access Key ID" in desk.log
        argv, seen = json.loads((tmp_path / "seen.json").read_text())
        assert seen == ["requirements.txt"]
        assert {"fs", "--offline-scan", "--skip-db-update", "--skip-check-update"} <= {*argv}
        (tmp_path / "report.json").write_text('{"SchemaVersion": 2, "ArtifactName": "."}')
        assert (await desk.run({"tools": ["trivy"], "target": {"files": files}}))["total"] == 0

    async def test_without_a_database_it_is_not_run(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", f"{program(tmp_path / 'bin', 'trivy', '')}:/usr/bin:/bin")
        output = await desk_for(tmp_path).run({"tools": ["trivy"], "target": {"files": {"a": "1"}}})
        assert "WORKER_TRIVY_CACHE" in output["tools"][0]["reason"]
