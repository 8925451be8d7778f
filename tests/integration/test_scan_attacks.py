"""Attacks on scans: by a target, by a plan, by a tool. Each is refused or contained, and none makes a scan pass."""

import io
import json
import os
import tarfile
import zlib
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from functions._core.executors import sarif
from functions._executors.scanners import documents, programs, target
from tests.support.scans import ScanDesk, program

SECRET = "s3cr3t-of-the-worker-9"
BOMB = """
package a
import rego.v1
x := [n | some i in numbers.range(1, 30000); some j in numbers.range(1, 30000); n := i * j]
"""
NAMED = """
package a
import rego.v1
deny contains message if {
    some path, document in input.files
    document.public
    message := sprintf("%s is public", [path])
}
verdict := {"allow": count(deny) == 0, "violations": deny}
"""
BUSY = """
package a
import rego.v1
deny contains "never" if {
    some i in numbers.range(1, 3000)
    some j in numbers.range(1, 3000)
    some k in numbers.range(1, 3000)
    i * j * k == -1
}
"""


@pytest.fixture
def desk(tmp_path: Path) -> ScanDesk:
    return ScanDesk(tmp_path, WORKER_SCAN_FOLDER=str(tmp_path / "owned"), WORKER_TRIVY_CACHE=str(tmp_path))


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A file of the worker, and the owner's folder beside it."""
    (tmp_path / "owned/repo").mkdir(parents=True)
    (tmp_path / "owned/repo/app.py").write_text("x = 1\n")
    path = tmp_path / "outside.py"
    path.write_text(f"password = '{SECRET}'\n")
    return path


def pretends(folder: Path, patch: pytest.MonkeyPatch, text: str) -> None:
    """Let a program in Python stand in for Trivy."""
    patch.setenv("PATH", f"{program(folder / 'bin', 'trivy', text)}:/usr/bin:/bin")


def stored(desk: ScanDesk, name: str, content: bytes) -> dict[str, Any]:
    place = desk.settings.folder / "t-9-1" / name
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content)
    return {"uri": place.resolve().as_uri(), "sha256": sha256(content).hexdigest()}


def tape(*members: tarfile.TarInfo) -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w:gz") as tar:
        for member in members:
            tar.addfile(member, io.BytesIO(b"x" * member.size) if member.isreg() else None)
    return written.getvalue()


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 3) -> tarfile.TarInfo:
    about = tarfile.TarInfo(name)
    about.type, about.linkname, about.size = kind, link, size if kind == tarfile.REGTYPE else 0
    return about


class TestTarget:
    async def test_links_of_a_folder_lead_nowhere(self, desk: ScanDesk, outside: Path) -> None:
        repo = outside.parent / "owned/repo"
        (repo / "link.py").symlink_to(outside)
        (repo / "up").symlink_to(outside.parent)
        os.mkfifo(repo / "pipe.py")
        output = await desk.run({"tools": ["bandit", "detect-secrets"], "target": {"folder": "repo"}})
        assert (output["total"], output["tools"][0]["status"]) == (0, "run")
        for folder in ("repo/up", "repo/up/owned"):
            failed = await desk.failure({"tools": ["bandit"], "target": {"folder": folder}})
            assert (failed.kind, failed.message) == ("bad_target", "the folder is not there, or leads through a link")
        assert SECRET not in desk.log

    @pytest.mark.parametrize("uri", ["file:///etc/passwd", "file:///work/../etc/passwd", "file:///%2e%2e/etc/passwd"])
    async def test_no_file_but_those_of_jobs_is_an_artifact(self, desk: ScanDesk, uri: str) -> None:
        given = {"tools": ["bandit"], "target": {"artifacts": [{"uri": uri, "sha256": "0" * 64}]}}
        assert (await desk.failure(given)).message == "an artifact is no file of a job of this worker"
        below = desk.settings.folder.resolve().as_uri()
        given["target"] = {"artifacts": [{"uri": f"{below}/a/../../outside.py", "sha256": "0" * 64}]}
        assert (await desk.failure(given)).kind == "bad_target"

    async def test_an_artifact_is_read_through_no_link_and_with_no_other_content(
        self, desk: ScanDesk, outside: Path
    ) -> None:
        artifact = stored(desk, "a.py", f"password = '{SECRET}'\n".encode())
        (desk.settings.folder / "t-9-1/a.py").unlink()
        (desk.settings.folder / "t-9-1/a.py").symlink_to(outside)
        given = {"tools": ["bandit"], "target": {"artifacts": [artifact]}}
        assert (await desk.failure(given)).kind == "artifact_missing"
        other = stored(desk, "b.py", b"x = 1\n") | {"sha256": "0" * 64}
        assert (await desk.failure({**given, "target": {"artifacts": [other]}})).kind == "artifact_changed"
        folder = {"uri": desk.settings.folder.resolve().as_uri(), "sha256": "0" * 64}
        assert (await desk.failure({**given, "target": {"artifacts": [folder]}})).message == "an artifact is no file"

    @pytest.mark.parametrize(
        "member",
        [entry("../up.py"), entry("/abs.py"), entry("a/../../up.py"), entry("a\\..\\up.py")],
        ids=lambda one: one.name,
    )
    async def test_no_member_of_an_archive_leads_out(self, desk: ScanDesk, member: tarfile.TarInfo) -> None:
        artifact = stored(desk, "a.tgz", tape(member))
        failed = await desk.failure({"tools": ["bandit"], "target": {"artifacts": [artifact]}})
        assert (failed.kind, failed.retryable) == ("bad_target", False)
        assert desk.left == ["t-9-1"]

    async def test_links_and_devices_of_an_archive_are_left_out(self, desk: ScanDesk, outside: Path) -> None:
        members = [
            entry("link.py", tarfile.SYMTYPE, str(outside)),
            entry("hard.py", tarfile.LNKTYPE, str(outside)),
            entry("null.py", tarfile.CHRTYPE),
            entry("pipe.py", tarfile.FIFOTYPE),
            entry(".git/config"),
            entry("real.txt"),
        ]
        artifact = stored(desk, "a.tgz", tape(*members))
        output = await desk.run({"tools": ["bandit", "detect-secrets"], "target": {"artifacts": [artifact]}})
        assert output["total"] == 0

    async def test_an_archive_that_unpacks_to_very_much_is_refused(
        self, desk: ScanDesk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(target, "MOST_BYTES", 1024 * 1024)
        bombs = {
            "large.tgz": tape(entry("a.py", size=64 * 1024 * 1024)),
            "header.tgz": tape(entry("x" * 8 * 1024 * 1024)),
        }
        for name, content in bombs.items():
            failed = await desk.failure({"tools": ["bandit"], "target": {"artifacts": [stored(desk, name, content)]}})
            assert failed.kind == "target_too_large", name
        monkeypatch.setattr(target, "MOST_FILES", 10)
        many = stored(desk, "many.tgz", tape(*(entry(f"{n}.py") for n in range(20))))
        assert (await desk.failure({"tools": ["bandit"], "target": {"artifacts": [many]}})).kind == "target_too_large"
        torn = stored(desk, "torn.tgz", bombs["large.tgz"][:100])
        assert (await desk.failure({"tools": ["bandit"], "target": {"artifacts": [torn]}})).kind == "bad_target"
        assert desk.left == ["t-9-1"]

    async def test_an_archive_that_is_broken_within_a_file_is_refused(self, desk: ScanDesk) -> None:
        packer = zlib.compressobj(wbits=31)
        begun = packer.compress(entry("a.py", size=300_000).tobuf() + b"x" * 100_000) + packer.flush(zlib.Z_FULL_FLUSH)
        broken = begun + b"\x07" * 100  # a block of a type that there is not
        artifact = stored(desk, "broken.tgz", broken)
        failed = await desk.failure({"tools": ["bandit"], "target": {"artifacts": [artifact]}})
        assert (failed.kind, failed.message) == ("bad_target", "broken.tgz is no archive that can be unpacked")

    async def test_files_that_are_in_each_others_way_are_refused(self, desk: ScanDesk) -> None:
        for files in ({"a": "1", "a/b": "2"}, {"x" * 300: "1"}):
            assert (await desk.failure({"tools": ["bandit"], "target": {"files": files}})).kind == "bad_target"

    async def test_a_target_does_not_say_how_it_is_looked_at(self, desk: ScanDesk) -> None:
        files = {"app.py": "exec('1')\n", ".bandit": "[bandit]\nexclude: /app.py\nskips: B102\n"}
        failed = await desk.failure({"tools": ["bandit"], "target": {"files": files}, "fail_on": "MEDIUM"})
        assert failed.kind == "findings"
        assert "B102 app.py:1" in failed.message

    async def test_the_name_of_a_file_is_no_option_of_a_tool(
        self, desk: ScanDesk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        text = "import sys\nprint('./--lint-fatal: 1:1: ' + ' '.join(sys.argv[1:]))\n"
        monkeypatch.setenv("PATH", f"{program(tmp_path / 'bin', 'promtool', text)}:/usr/bin:/bin")
        given = {"tools": [{"tool": "promtool", "files": ["*"]}], "target": {"files": {"--lint-fatal": ""}}}
        assert "check rules --lint all --lint-fatal ./--lint-fatal" in (await desk.failure(given)).message


class TestTools:
    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("print('no report')", "it wrote no report"),
            ("open('../report.json', 'w').write('{garbage')", "its report is not JSON that can be read"),
            ("open('../report.json', 'w').write('[' * 100000)", "its report is not JSON that can be read"),
            ("open('../report.json', 'w').write('[]')", "its report has another form than it should"),
            ("open('../report.json', 'w').write('7')", "its report has another form than it should"),
            ("open('../report.json', 'w').write('{\"SchemaVersion\": 2, \"Results\": [{}]}')", "another form"),
            ("open('../report.json', 'w').write('{\"SchemaVersion\": 2, \"Results\": 7}')", "another form"),
            ("import os; os.symlink('/etc/passwd', '../report.json')", "it wrote no report"),
            ("import os; os.mkfifo('../report.json')", "its report is no file"),
            ("import os; os.mkdir('../report.json')", "its report is no file"),
            ("import sys; sys.exit('it broke')", "exit status 1: it broke"),
            ("import os; os.kill(os.getpid(), 9)", "exit status -9"),
            ("open('../report.json', 'wb').truncate(20_000_000)", "its report has more than 16777216 bytes"),
        ],
    )
    async def test_a_tool_that_writes_garbage_fails_the_task(
        self, desk: ScanDesk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, said: str
    ) -> None:
        pretends(tmp_path, monkeypatch, text)
        failed = await desk.failure({"tools": ["trivy"], "target": {"files": {"a": "1"}}})
        assert failed.kind == "tool_failed"
        assert said in failed.message
        assert desk.left == []

    async def test_a_tool_that_never_ends_or_never_stops_writing_is_ended(
        self, desk: ScanDesk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pretends(tmp_path, monkeypatch, "import time\ntime.sleep(600)")
        given = {"tools": [{"tool": "trivy", "timeout_seconds": 1}], "target": {"files": {"a": "1"}}}
        failed = await desk.failure(given)
        assert (failed.message, failed.retryable) == ("trivy: it did not end within 1 s", True)
        pretends(tmp_path, monkeypatch, "while True: print('x' * 100000)")
        failed = await desk.failure({**given, "tools": ["trivy"]})
        assert (failed.message, failed.retryable) == ("trivy: it wrote too much", False)
        assert desk.left == []

    async def test_a_tool_gets_nothing_of_the_worker_and_its_words_are_masked(
        self, desk: ScanDesk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        monkeypatch.setenv("WORKER_SNYK_TOKEN", SECRET)
        text = "import os, sys\nsys.exit(str(sorted(os.environ)) + ' token ghp_" + "a1" * 20 + "')"
        pretends(tmp_path, monkeypatch, text)
        failed = await desk.failure({"tools": ["trivy"], "target": {"files": {"a": "1"}}})
        assert "AWS_SECRET_ACCESS_KEY" not in failed.message
        assert "WORKER_SNYK_TOKEN" not in failed.message
        assert "FLOWC_TICKET_ID" in failed.message
        assert "ghp_" not in failed.message

    async def test_secrets_that_tools_find_are_told_nowhere(self, desk: ScanDesk) -> None:
        files = {"app.py": f"password = '{SECRET}'\n", "key.yml": "key: AKIAIOSFODNN7EXAMPLA\n"}
        given = {"tools": ["bandit", "detect-secrets"], "target": {"files": files}, "sarif": "output"}
        output = await desk.run({**given, "fail_on": "CRITICAL"})
        assert {"B105", "Secret Keyword"} <= {one["rule"] for one in output["findings"]}
        failed = await desk.failure({**given, "fail_on": "INFO"})
        for told in (json.dumps(output), desk.log, failed.message):
            assert SECRET not in told
            assert "AKIA" not in told

    @pytest.mark.parametrize("member", ["project", "organization"])
    async def test_a_secret_of_the_plan_is_in_no_address(self, desk: ScanDesk, member: str) -> None:
        tool = {"tool": "snyk", "project": "p", "organization": "o", member: "hunter2-hunter2"}
        failed = await desk.failure({"tools": [tool]}, secrets=[f"/tools/0/{member}"])
        assert (failed.kind, failed.retryable) == ("secret_in_parameters", False)
        assert "hunter2" not in failed.message

    async def test_a_secret_of_the_plan_is_masked_in_findings(self, desk: ScanDesk) -> None:
        given: dict[str, Any] = {"tools": [{"tool": "json_schema", "against": {"type": "integer"}}]}
        given |= {"target": {"files": {"a.yaml": "hunter2"}}, "fail_on": "CRITICAL", "sarif": "artifact"}
        output = await desk.run(given, secrets=["/target/files/a.yaml"])
        assert output["findings"][0]["message"] == "/: '***' is not of type 'integer'"
        assert "hunter2" not in (desk.settings.folder / "t-1-1/findings.sarif").read_text()
        assert "hunter2" not in desk.log


class TestDocuments:
    async def test_a_huge_sarif_is_refused_and_one_with_very_many_findings_is_bounded(
        self, desk: ScanDesk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        one = {"ruleId": "r" * 900, "level": "note", "message": {"text": "\u00e9" * 2_000}}
        many = json.dumps({"runs": [{"tool": {"driver": {"name": "t" * 9_000}}, "results": [one] * 1_000}]})
        given: dict[str, Any] = {"tools": ["sarif"], "target": {"files": {"a.sarif": many}}, "sarif": "output"}
        output = await desk.run(given)
        assert output["total"] == 1_000
        assert 0 < len(output["findings"]) <= 200
        assert len(json.dumps(output)) < 256 * 1024
        assert len(desk.log) <= 64 * 1024
        monkeypatch.setattr(programs, "REPORT_BYTES", 10_000)
        failed = await desk.failure(given)
        assert (failed.message, failed.retryable) == ("sarif: its report has more than 10000 bytes", False)

    async def test_findings_of_many_sarif_files_are_bounded_together(
        self, desk: ScanDesk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sarif, "MOST_READ", 10)
        log = json.dumps({"runs": [{"tool": {"driver": {"name": "t"}}, "results": [{"ruleId": "r"}] * 6}]})
        given: dict[str, Any] = {"tools": ["sarif"], "target": {"files": {"a.sarif": log}}}
        assert (await desk.run(given))["total"] == 6
        given["target"]["files"]["b.sarif"] = log
        failed = await desk.failure(given)
        assert (failed.message, failed.retryable) == ("sarif: b.sarif has more than 4 findings", False)

    @pytest.mark.parametrize("query", ["data.a.deny", "data.a.verdict"])
    @pytest.mark.parametrize(
        "name",
        ['x"],"result":[],"y":["z.yaml', 'x"],"allow":true,"violations":["z.yaml', 'x"]}},{"bindings":{"y":["z.yaml'],
    )
    async def test_the_name_of_a_file_does_not_write_the_answer_of_a_policy(
        self, desk: ScanDesk, query: str, name: str
    ) -> None:
        given = {"policies": [{"name": "a", "rego": NAMED, "query": query}], "target": {"files": {name: "public: yes"}}}
        failed = await desk.failure(given)
        assert (failed.kind, failed.retryable) == ("findings", False)
        assert failed.message.endswith("z.yaml is public")

    async def test_no_member_hides_another_one(self, desk: ScanDesk) -> None:
        files = {'a".json': '{"public": true}', "a\uff02.json": "{}", "b.json": '{"k\\u0001": 1, "public": true}'}
        failed = await desk.failure(
            {"policies": [{"name": "a", "rego": NAMED, "query": "data.a.deny"}], "target": {"files": files}}
        )
        assert "2 findings" in failed.message

    async def test_a_policy_that_runs_for_ever_is_ended(self, desk: ScanDesk) -> None:
        given: dict[str, Any] = {"policies": [{"name": "busy", "rego": BUSY, "query": "data.a.deny"}], "input": {}}
        given["tools"] = [{"tool": "opa", "timeout_seconds": 1}]
        failed = await desk.failure(given)
        assert failed.kind == "tool_failed"
        assert "it did not end within 1 s" in failed.message
        assert desk.left == []

    async def test_a_policy_that_takes_all_memory_is_ended(
        self, desk: ScanDesk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        less = documents.JUDGE.replace("MOST_MEMORY = 1024**3", "MOST_MEMORY = 150 * 1024**2")
        assert less != documents.JUDGE
        monkeypatch.setattr(documents, "JUDGE", less)
        failed = await desk.failure({"policies": [{"name": "bomb", "rego": BOMB, "query": "data.a.x"}], "input": {}})
        assert (failed.kind, failed.retryable) == ("tool_failed", False)
        assert "it takes more than 1 GiB of memory" in failed.message

    async def test_a_policy_learns_nothing_of_the_worker_and_calls_nobody(
        self, desk: ScanDesk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        text = "package a\nimport rego.v1\ndeny contains json.marshal(object.keys(opa.runtime().env)) if true\n"
        failed = await desk.failure({"policies": [{"name": "env", "rego": text, "query": "data.a.deny"}], "input": {}})
        assert failed.kind == "findings"
        assert "FLOWC_TASK_ID" in failed.message
        assert "AWS_SECRET" not in failed.message
        text = 'package a\nimport rego.v1\ndeny contains "x" if http.send({"method": "get", "url": "http://127.0.0.1:9"})\n'
        assert (await desk.run({"policies": [{"name": "a", "rego": text, "query": "data.a.deny"}], "input": {}}))[
            "total"
        ] == 0

    async def test_documents_and_schemas_that_grow_or_never_end_are_contained(self, desk: ScanDesk) -> None:
        laughs = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
            f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join([f'*{chr(97 + n)}'] * 9)}]\n" for n in range(9)
        )
        given: dict[str, Any] = {"target": {"files": {"a.yaml": laughs, "b.json": '"' + "a" * 40 + '!"'}}}
        slow = {"tool": "json_schema", "against": {"pattern": "^(a+)+$"}, "files": ["b.json"], "timeout_seconds": 1}
        failed = await desk.failure({**given, "tools": [slow]})
        assert (failed.kind, "did not end within 1 s" in failed.message) == ("tool_failed", True)
        deep = {"tool": "json_schema", "against": {"$ref": "http://127.0.0.1:9/schema.json"}, "files": ["b.json"]}
        failed = await desk.failure({**given, "tools": [deep]})
        assert (failed.kind, failed.retryable) == ("tool_failed", False)
        policy = {"name": "a", "rego": "package a\ndefault allow = true", "query": "data.a.allow"}
        output = await desk.run({**given, "policies": [policy]})
        assert [(one["rule"], one["file"]) for one in output["findings"]] == [("not-read", "a.yaml")]
        assert desk.left == []
