"""Scans by real tools: what they find has one form, and one verdict comes of it, also where tools are missing."""

import asyncio
import io
import json
import os
import tarfile
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from functions._executors.scan import ScanExecutor
from functions._executors.settings import ExecutorSettings
from tests.support.loopback import until
from tests.support.processes import running_platform, worker_process
from tests.support.scans import ScanDesk, program
from tests.support.world import decision, task

SHELL = "import subprocess\nsubprocess.call('ls ' + x, shell=True)\n"
KEY = "AKIAIOSFODNN7EXAMPLA"
DENY = """
package deploy
import rego.v1

deny contains message if {
    some path, document in input.files
    document.acl == "public-read"
    message := sprintf("%s lets everybody read", [path])
}
"""


@pytest.fixture
def desk(tmp_path: Path) -> ScanDesk:
    return ScanDesk(tmp_path)


def scan(*tools: Any, files: dict[str, str] | None = None, **more: Any) -> dict[str, Any]:
    target = {"target": {"files": files}} if files else {}
    return {"tools": [*tools], **target, **more}


def policy(text: str = DENY, query: str = "data.deploy.deny", name: str = "buckets") -> dict[str, Any]:
    return {"name": name, "rego": text, "query": query}


class TestVerdict:
    async def test_tools_run_side_by_side_and_their_findings_have_one_form(self, desk: ScanDesk) -> None:
        given = scan("bandit", "detect-secrets", files={"src/app.py": SHELL, "conf.yml": f"key: {KEY}\n"})
        output = await desk.run({**given, "fail_on": "CRITICAL"})
        assert [
            (one["tool"], one["rule"], one["severity"], one["file"], one.get("line")) for one in output["findings"]
        ] == [
            ("detect-secrets", "AWS Access Key", "HIGH", "conf.yml", 1),
            ("bandit", "B602", "HIGH", "src/app.py", 2),
            ("bandit", "B404", "LOW", "src/app.py", 1),
        ]
        assert (output["counts"], output["total"], output["not_run"]) == ({"HIGH": 2, "LOW": 1}, 3, [])
        assert [(one["tool"], one["status"], one["counts"], one["score"]) for one in output["tools"]] == [
            ("bandit", "run", {"HIGH": 1, "LOW": 1}, 0.84),
            ("detect-secrets", "run", {"HIGH": 1}, 0.85),
        ]
        assert output["score"] == 0.84
        assert output["job"]["executor"] == "scan"
        assert desk.left == []

    async def test_assert_is_a_finding_in_a_program_and_none_in_a_test(self, desk: ScanDesk) -> None:
        names = ("tests/test_app.py", "app_test.py", "conftest.py", "attest.py", "src/test_data/app.py")
        output = await desk.run(scan("bandit", files=dict.fromkeys(names, "assert 1\nexec('1')\n")))
        found = [(one["rule"], one["file"]) for one in output["findings"]]
        assert sorted(found) == sorted(
            [*(("B102", name) for name in names), ("B101", "attest.py"), ("B101", "src/test_data/app.py")]
        )

    async def test_a_finding_at_the_bound_fails_the_task_for_good_and_is_in_message_and_log(
        self, desk: ScanDesk
    ) -> None:
        failed = await desk.failure(scan("bandit", files={"app.py": SHELL}))
        assert (failed.kind, failed.retryable) == ("findings", False)
        assert failed.message.startswith("1 finding at or above HIGH: HIGH bandit B602 app.py:2 subprocess call")
        assert "bandit: 1 HIGH, 1 LOW, " in desk.log
        assert "LOW bandit B404 app.py:1" in desk.log
        assert desk.left == []

    async def test_what_cannot_be_read_is_a_finding_too(self, desk: ScanDesk) -> None:
        output = await desk.run(scan("bandit", files={"app.py": "def broken(:\n"}))
        assert [(one["rule"], one["severity"], one["file"]) for one in output["findings"]] == [
            ("not-read", "INFO", "app.py")
        ]

    async def test_ruff_finds_what_cannot_run_and_matters_of_taste_are_none(self, desk: ScanDesk) -> None:
        files = {
            "src/app.py": "import os\nx = undefined\n",
            "bad.py": "def broken(:\n",
            "taste.py": 'a="b"',
            "build/b.py": "def f(a=[]): pass\n",
            "pyproject.toml": "[tool.ruff]\nexclude = ['*']\n",
            "quiet.py": "import os  # noqa\n",
        }
        output = await desk.run(scan("ruff", files=files, fail_on="CRITICAL"))
        found = {(one["severity"], one["rule"], one["file"], one["line"]) for one in output["findings"]}
        assert found == {
            ("HIGH", "invalid-syntax", "bad.py", 1),
            ("HIGH", "invalid-syntax", "bad.py", 2),
            ("MEDIUM", "F821", "src/app.py", 2),
            ("LOW", "F401", "src/app.py", 1),
            ("LOW", "B006", "build/b.py", 1),
        }
        assert (await desk.run(scan("ruff", files={"a.txt": "x"})))["total"] == 0

    async def test_a_tool_that_is_missing_matters_only_where_it_is_required(self, desk: ScanDesk) -> None:
        output = await desk.run(scan("trivy", "bandit", files={"app.py": "x = 1\n"}))
        assert (output["not_run"], output["score"]) == (["trivy"], 1.0)
        assert output["tools"][0]["reason"] == "it is not installed"
        failed = await desk.failure(scan({"tool": "trivy", "required": True}, files={"app.py": "x = 1\n"}))
        assert (failed.kind, failed.message, failed.retryable) == ("tool_missing", "trivy: it is not installed", True)

    async def test_a_program_that_the_owner_does_not_allow_is_not_run(self, desk: ScanDesk) -> None:
        desk.settings = desk.settings.model_copy(update={"commands": ("checkov",)})
        output = await desk.run(scan("bandit", files={"app.py": SHELL}))
        assert (output["not_run"], output.get("score")) == (["bandit"], None)
        assert "WORKER_COMMANDS" in output["tools"][0]["reason"]

    async def test_sarif_is_an_output_or_a_file_that_stays_also_after_a_failure(self, desk: ScanDesk) -> None:
        given = scan("bandit", files={"app.py": SHELL}, fail_on="CRITICAL")
        output = await desk.run({**given, "sarif": "output"})
        [run] = output["sarif"]["runs"]
        assert run["results"][0]["locations"][0]["physicalLocation"]["region"] == {"startLine": 2}
        [artifact] = (await desk.run({**given, "sarif": "artifact"}, attempt=2))["artifacts"]
        content = content_of(artifact)
        assert (len(content), sha256(content).hexdigest()) == (artifact["size"], artifact["sha256"])
        assert json.loads(content)["runs"] == output["sarif"]["runs"]
        assert (await desk.failure({**given, "sarif": "artifact", "fail_on": "HIGH"}, attempt=3)).kind == "findings"
        assert "all findings: file://" in desk.log
        assert desk.left == ["t-1-2", "t-1-3"]


class TestTarget:
    async def test_a_folder_of_the_owner_and_files_of_the_plan_lie_beside_each_other(self, tmp_path: Path) -> None:
        (tmp_path / "checkouts/shop/.git").mkdir(parents=True)
        (tmp_path / "checkouts/shop/app.py").write_text(SHELL)
        (tmp_path / "checkouts/shop/.git/hook.py").write_text(SHELL)
        desk = ScanDesk(tmp_path, WORKER_SCAN_FOLDER=str(tmp_path / "checkouts"))
        given = {"tools": ["bandit"], "target": {"folder": "shop", "files": {"more.py": SHELL}}, "fail_on": "CRITICAL"}
        output = await desk.run(given)
        assert {one["file"] for one in output["findings"]} == {"app.py", "more.py"}
        missing = await desk.failure({"tools": ["bandit"], "target": {"folder": "none"}})
        assert (missing.kind, missing.retryable) == ("bad_target", False)
        assert desk.left == []

    async def test_what_an_earlier_task_has_made_is_looked_at_and_an_archive_of_it_unpacked(
        self, desk: ScanDesk
    ) -> None:
        artifact = made(desk, "src.tgz", archive({"shop/app.py": SHELL}))
        output = await desk.run({"tools": ["bandit"], "target": {"artifacts": [artifact]}, "fail_on": "CRITICAL"})
        assert {one["file"] for one in output["findings"]} == {"shop/app.py"}
        plain = made(desk, "app.py", SHELL.encode(), name="other/name.py")
        output = await desk.run({"tools": ["bandit"], "target": {"artifacts": [plain]}, "fail_on": "CRITICAL"})
        assert {one["file"] for one in output["findings"]} == {"other/name.py"}

    async def test_an_artifact_that_is_gone_may_be_with_another_worker(self, desk: ScanDesk) -> None:
        artifact = {**made(desk, "a.py", b""), "uri": (desk.settings.folder / "t-9-1/none").resolve().as_uri()}
        failed = await desk.failure({"tools": ["bandit"], "target": {"artifacts": [artifact]}})
        assert (failed.kind, failed.retryable) == ("artifact_missing", True)


class TestDocuments:
    async def test_files_that_do_not_fit_a_schema_are_findings(self, desk: ScanDesk) -> None:
        against = {
            "type": "object",
            "required": ["name"],
            "properties": {"port": {"type": "integer", "maximum": 65535}},
        }
        files = {
            "a.json": '{"name": "a", "port": 70000}',
            "b/c.yaml": "port: x\n---\nname: b\n",
            "d.json": "{",
            "e.txt": "",
        }
        failed = await desk.failure(scan({"tool": "json_schema", "against": against}, files=files))
        assert failed.kind == "findings"
        for line in (
            "HIGH json_schema maximum a.json /port: 70000 is greater than the maximum of 65535",
            "HIGH json_schema required b/c.yaml /: 'name' is a required property",
            "HIGH json_schema type b/c.yaml /port: 'x' is not of type 'integer'",
            "HIGH json_schema not-read d.json /: it is neither JSON nor YAML",
        ):
            assert line in desk.log
        one = scan(
            {"tool": "json_schema", "against": against, "files": ["b/*.yaml"]}, files={**files, "b/c.yaml": "name: b"}
        )
        assert (await desk.run(one))["total"] == 0

    async def test_a_schema_that_is_none_and_files_that_are_not_there_fail_the_task(self, desk: ScanDesk) -> None:
        failed = await desk.failure(scan({"tool": "json_schema", "against": {"type": 7}}, files={"a.json": "1"}))
        assert (failed.kind, failed.retryable) == ("tool_failed", False)
        assert "the schema is none" in failed.message
        failed = await desk.failure(scan({"tool": "json_schema", "against": {}}, files={"a.txt": "1"}))
        assert "the target has no files for it" in failed.message

    async def test_findings_of_any_other_tool_come_as_sarif(self, desk: ScanDesk) -> None:
        found = {"ruleId": "R1", "level": "error", "message": {"text": "said"}}
        log = {"version": "2.1.0", "runs": [{"tool": {"driver": {"name": "eslint"}}, "results": [found]}]}
        failed = await desk.failure(scan("sarif", files={"out/eslint.sarif": json.dumps(log)}))
        assert failed.message == "1 finding at or above HIGH: HIGH eslint R1 said"
        failed = await desk.failure(scan("sarif", files={"a.sarif": '{"runs": 7}'}))
        assert failed.message == "sarif: a.sarif is no SARIF: it has no list of runs"


class TestPolicies:
    async def test_a_policy_that_denies_fails_the_task_with_its_reasons(self, desk: ScanDesk) -> None:
        files = {"buckets/a.yaml": "acl: public-read\n", "b.json": '{"acl": "private"}'}
        failed = await desk.failure(scan(files=files, policies=[policy()], fail_on="CRITICAL"))
        assert (failed.kind, failed.retryable) == ("findings", False)
        assert failed.message == "denied by opa: HIGH opa buckets buckets/a.yaml lets everybody read"
        files.pop("buckets/a.yaml")
        output = await desk.run(scan(files=files, policies=[policy()]))
        assert (output["total"], output["tools"][0]["tool"]) == (0, "opa")

    async def test_a_policy_is_asked_about_any_document(self, desk: ScanDesk) -> None:
        text = (
            'package a\nimport rego.v1\ndeny contains sprintf("%s %s", [k, v]) if some k, v in input.files["a.yaml"]\n'
        )
        document = "at: 2026-01-01T00:00:00Z\nday: 2026-01-01\n7: .nan\nset: !!set {x}\nbytes: !!binary aGk=\n"
        document += 'big: 1000000000000000000000000000000\nsaid: "a \\"word\\", a \\\\ and \\a"\n'
        failed = await desk.failure(scan(files={"a.yaml": document}, policies=[policy(text, "data.a.deny", "any")]))
        assert (failed.kind, "7 findings" in failed.message) == ("findings", True), failed.message
        assert "said a \uff02word\uff02, a \uff3c and \ufffd" in failed.message
        assert "at 2026-01-01 00:00:00+00:00" in failed.message
        assert "big 1000000000000000000000000000000" in failed.message

    async def test_a_policy_decides_about_what_the_plan_gives_it(self, desk: ScanDesk) -> None:
        text = "package a\nimport rego.v1\ndefault allow := false\nallow if input.risk < 3\n"
        given = scan(policies=[policy(text, "data.a.allow", "risk")], input={"risk": 2})
        assert (await desk.run(given))["tools"][0]["denied"] is False
        failed = await desk.failure({**given, "input": {"risk": 5}})
        assert (
            failed.message
            == "1 finding at or above HIGH, denied by opa: HIGH opa risk the policy at risk does not allow it"
        )

    @pytest.mark.parametrize(
        ("text", "query", "said"),
        [
            (DENY, "data.deploy.dney", "gives no result: is its query right?"),
            ("package a\nthis is no rego", "data.a", "is no Rego that can be asked: Invalid literal"),
            ("package a\nx := 7", "data.a.x", "gives no verdict: its result is no verdict"),
        ],
    )
    async def test_nothing_passes_because_of_a_policy_that_cannot_be_asked(
        self, desk: ScanDesk, text: str, query: str, said: str
    ) -> None:
        failed = await desk.failure(scan(policies=[policy(text, query)], input={}))
        assert (failed.kind, failed.retryable) == ("tool_failed", False)
        assert said in failed.message


class TestEnds:
    async def test_a_cancelled_scan_leaves_no_process_and_no_file(
        self, desk: ScanDesk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        text = (
            "import os, time\nopen(os.environ['HOME'] + '/../../began', 'w').write(str(os.getpid()))\ntime.sleep(600)\n"
        )
        monkeypatch.setenv("PATH", f"{program(tmp_path / 'bin', 'trivy', text)}:/usr/bin:/bin")
        desk.settings = desk.settings.model_copy(update={"environment": {"WORKER_TRIVY_CACHE": str(tmp_path)}})
        running = asyncio.create_task(desk.run(scan("trivy", files={"a": "1"})))
        await until(lambda: (tmp_path / "began").exists() and (tmp_path / "began").read_text(), "the program")
        running.cancel()
        await asyncio.wait({running})
        pid = (tmp_path / "began").read_text()
        await until(lambda: not Path(f"/proc/{pid}").exists(), "the end of the program")
        assert desk.left == []


async def test_doctor_names_each_tool_with_its_version(tmp_path: Path) -> None:
    environment = {"WORKER_SEMGREP_RULES": str(tmp_path / "none")}
    settings = ExecutorSettings.model_validate({"sandbox": "off", "commands": ["bandit"], "environment": environment})
    executor = ScanExecutor(settings)
    checks = {check.name: check for check in await executor.check()}
    await executor.aclose()
    assert checks["tools"].ok
    assert checks["bandit"].detail.startswith("bandit 1.")
    assert (checks["detect-secrets"].ok, checks["detect-secrets"].required) == (False, False)
    assert checks["opa"].detail.startswith("regopy ")
    assert checks["json_schema"].detail.startswith("jsonschema 4.")
    assert (checks["WORKER_SEMGREP_RULES"].ok, checks["WORKER_SEMGREP_RULES"].required) == (False, True)


def content_of(artifact: dict[str, Any]) -> bytes:
    return Path(artifact["uri"].removeprefix("file://")).read_bytes()


def archive(files: dict[str, str]) -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w:gz") as tar:
        for name, text in files.items():
            about = tarfile.TarInfo(name)
            about.size = len(text)
            tar.addfile(about, io.BytesIO(text.encode()))
    return written.getvalue()


def made(desk: ScanDesk, path: str, content: bytes, **more: str) -> dict[str, Any]:
    """Return a file as an earlier task of the same worker has made it."""
    place = desk.settings.folder / "t-9-1" / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content)
    return {"uri": place.resolve().as_uri(), "sha256": sha256(content).hexdigest(), **more}


class TestKill:
    async def test_the_scan_of_a_worker_that_is_killed_ends_with_it_and_is_begun_again(self, tmp_path: Path) -> None:
        text = f"""
import os, time
with open({str(tmp_path / "began")!r}, "a") as began:
    began.write(str(os.getpid()) + "\\n")
while not os.path.exists({str(tmp_path / "go")!r}):
    time.sleep(0.05)
open("../report.json", "w").write('{{"SchemaVersion": 2}}')
"""
        programs = program(tmp_path / "bin", "trivy", text)
        given = {"provider": "scan", **scan("trivy", files={"a.txt": "1"})}
        check = task("a", task_type="VALIDATE", parameters=given, required_capabilities=[])
        async with running_platform(tmp_path, heartbeat_seconds=0.5) as platform:
            for name in ("doomed", "other"):
                worker = worker_process(tmp_path, platform.url, name, "--executor", "scan")
                worker.environment = {
                    "PATH": f"{programs}:{os.environ['PATH']}",
                    "WORKER_SANDBOX": "off",
                    "WORKER_COMMANDS": "trivy",
                    "WORKER_TRIVY_CACHE": str(tmp_path),
                    "WORKER_FOLDER": str(tmp_path / "work"),
                }
                platform.hired.append(worker)
            platform.hired[0].start()
            flow_id = await platform.submit(decision(check))
            await until(lambda: len(pids(tmp_path)) == 1, "the first program")
            platform.hired[0].kill()
            platform.hired[1].start()
            await until(lambda: len(pids(tmp_path)) == 2, "the program of another worker")
            await until(lambda: not Path(f"/proc/{pids(tmp_path)[0]}").exists(), "the end of the first program")
            (tmp_path / "go").write_text("")
            flow = await platform.ended(flow_id)
            tickets = await platform.tickets(flow_id)
        assert flow["status"] == "COMPLETED", flow["reasons"]
        assert (tickets["a"]["worker_id"], tickets["a"]["retry_count"]) == ("other", 0)
        assert tickets["a"]["output"]["tools"][0]["status"] == "run"


def pids(folder: Path) -> list[str]:
    began = folder / "began"
    return began.read_text().split() if began.exists() else []
