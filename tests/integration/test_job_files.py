"""Logs and artifacts of jobs that outlive them: in a folder and in a bucket, masked, bounded, while the job runs."""

import asyncio
import json
import os
import threading
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from functions._core.events.reports import LOG_LIMIT
from functions._core.masking import Mask, MaskedStream
from functions._executors import file_store
from functions._executors.command import CommandExecutor
from functions._executors.file_store import FolderStore, store_at
from functions._executors.local_tests import SuiteCommandExecutor
from functions._executors.log_copy import LogCopy
from functions._executors.scan import ScanExecutor
from functions._executors.settings import ExecutorSettings
from functions._executors.stored_files import FileStore, StoreFailed
from functions._worker import runs
from functions._worker.jobs import JobsExecutor
from functions._worker.tasks import TaskFailed
from tests.support.ci import GREEN
from tests.support.jobs import assigned
from tests.support.loopback import until
from tests.support.one_machine import one_machine
from tests.support.stand_in_platform import StandIn, working
from tests.support.world import decision, task
from tests.support.world import until as eventually

if TYPE_CHECKING:
    from tests.support.aws_emulator import Aws

SECRET = "hunter2-hunter2"
Output = dict[str, Any]


def settings_for(base: Path, **changes: Any) -> ExecutorSettings:
    given = {"sandbox": "off", "commands": ("sh", "cat"), "folder": base / "work", "logs": str(base / "kept")}
    return ExecutorSettings.model_validate({**given, **changes})


def jobs_of(settings: ExecutorSettings) -> JobsExecutor:
    return JobsExecutor([CommandExecutor(settings)], pauses=(0.0,), settings=settings)


def read(settings: ExecutorSettings, uri: str) -> bytes:
    store = store_at(settings.logs)
    assert store is not None
    return b"".join(store.read(uri))


async def shell(settings: ExecutorSettings, text: str, assignment: Mapping[str, Any] | None = None, **more: Any) -> Any:
    jobs = jobs_of(settings)
    try:
        return await jobs.run(assigned({"provider": "command", "shell": text, **more}, **(assignment or {})))
    finally:
        await jobs.aclose()


async def done(executor: Any, settings: ExecutorSettings, parameters: Output, task_type: str) -> Output:
    """Return the output of a task of another executor."""
    jobs = JobsExecutor([executor], pauses=(0.0,), settings=settings)
    try:
        output = await jobs.run(assigned(parameters, task_type=task_type))
    finally:
        await jobs.aclose()
    assert isinstance(output, dict)
    return output


async def reported(settings: ExecutorSettings, text: str, **more: Any) -> Output:
    """Return the report of a job that a worker has done."""
    async with StandIn() as platform, working(platform, jobs_of(settings)) as desk:
        assert await desk.assign(parameters={"provider": "command", "shell": text}, **more) == 202
        await until(lambda: {"COMPLETED", "FAILED"} & set(platform.statuses), "the end")
        report: Output = platform.reports[-1].data
        return report


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let parts of an upload be as small as S3 takes them."""
    monkeypatch.setattr(file_store, "PART_BYTES", 5 * 1024 * 1024)


class TestLogs:
    async def test_the_end_of_a_long_log_is_on_the_ticket_and_the_whole_is_kept(self, tmp_path: Path) -> None:
        settings = settings_for(tmp_path)
        report = await reported(settings, "seq 200000; echo last >&2")
        uri = report["output"]["logs_uri"]
        assert uri == (tmp_path / "kept" / "t-1" / "1" / "log.txt").as_uri()
        whole = read(settings, uri)
        assert whole.startswith(b"1\n2\n")
        assert sorted(whole.split()) == sorted([*(str(n).encode() for n in range(1, 200_001)), b"last"])
        assert len(report["log"].encode()) <= LOG_LIMIT
        assert report["log"].endswith(f"the whole log is at {uri}\n")

    async def test_the_log_of_a_job_that_failed_is_kept_and_one_that_wrote_nothing_has_none(
        self, tmp_path: Path
    ) -> None:
        report = await reported(settings_for(tmp_path), "echo why; exit 3")
        assert report["error"]["type"] == "exit_status"
        uri = report["log"].splitlines()[-1].removeprefix("the whole log is at ")
        assert read(settings_for(tmp_path), uri) == b"why\n"
        quiet = await reported(settings_for(tmp_path), "true")
        assert "logs_uri" not in quiet["output"]
        assert "log" not in quiet

    async def test_without_the_setting_nothing_is_kept(self, tmp_path: Path) -> None:
        output = await shell(settings_for(tmp_path, logs=""), "echo 1")
        assert "logs_uri" not in output
        assert not (tmp_path / "kept").exists()

    async def test_it_is_there_while_the_job_runs(self, tmp_path: Path) -> None:
        settings, gate = settings_for(tmp_path), tmp_path / "gate"
        running = asyncio.create_task(shell(settings, f"echo begun; while ! [ -e {gate} ]; do sleep 0.05; done"))
        log = tmp_path / "kept" / "t-1" / "1" / "log.txt"
        await until(lambda: log.exists() and log.read_text() == "begun\n", "the first line")
        gate.touch()
        await running

    async def test_a_secret_is_masked_however_it_is_written(self, tmp_path: Path) -> None:
        settings = settings_for(tmp_path)
        text = 'i=0; while [ $i -lt 300 ]; do printf %s "$T"; i=$((i+1)); done; printf %.7s "$T"; sleep 0.3; '
        text += 'printf %s "${T#???????}"'
        output = await shell(settings, text, {"secrets": ["/env/T"]}, env={"T": SECRET})
        assert read(settings, output["logs_uri"]) == b"***" * 301

    async def test_a_flood_is_cut_and_the_log_says_so(self, tmp_path: Path) -> None:
        settings = settings_for(tmp_path, log_mb=1)
        output = await shell(settings, "head -c 3000000 /dev/zero | tr '\\0' x")
        whole = read(settings, output["logs_uri"])
        assert whole.endswith("\n… 1951424 bytes were left out\n".encode())
        assert len(whole) < 1024 * 1024 + 100

    async def test_a_store_that_fails_costs_the_copy_and_not_the_job(self, tmp_path: Path) -> None:
        (tmp_path / "kept").write_text("no folder")
        report = await reported(settings_for(tmp_path), "echo 1")
        assert report["status"] == "COMPLETED"
        assert "logs_uri" not in report["output"]
        assert "the whole log could not be kept" in report["log"]

    async def test_a_cancelled_job_keeps_what_it_has_written(self, tmp_path: Path) -> None:
        running = asyncio.create_task(shell(settings_for(tmp_path), "echo begun; sleep 60"))
        log = tmp_path / "kept" / "t-1" / "1" / "log.txt"
        await until(log.exists, "the first line")
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert log.read_text() == "begun\n"

    @pytest.mark.usefixtures("parts")
    async def test_a_bucket_gets_a_long_log_in_parts(self, tmp_path: Path, aws_services: "Aws") -> None:
        settings = settings_for(tmp_path, logs=f"s3://{await aws_services.bucket()}/jobs/x")
        output = await shell(settings, "head -c 12000000 /dev/zero | tr '\\0' x; echo end")
        assert output["logs_uri"] == f"s3://{aws_services.name}/jobs/x/t-1/1/log.txt"
        whole = await asyncio.to_thread(read, settings, output["logs_uri"])
        assert (len(whole), whole[-4:]) == (12_000_004, b"end\n")
        about = await aws_services.of("s3").call(
            "head_object", {"Bucket": aws_services.name, "Key": "jobs/x/t-1/1/log.txt"}
        )
        assert about["ETag"].strip('"').endswith("-3"), "three parts"

    async def test_a_bucket_that_is_not_there_costs_the_copy(self, tmp_path: Path, aws_services: "Aws") -> None:
        settings = settings_for(tmp_path, logs=f"s3://{aws_services.name}/jobs")
        report = await reported(settings, "echo 1")
        assert report["log"] == "1\nthe whole log could not be kept: S3 answered NoSuchBucket\n"


class TestArtifacts:
    async def test_a_later_task_on_another_worker_reads_what_an_earlier_one_has_made(
        self, tmp_path: Path, aws_services: "Aws"
    ) -> None:
        await aws_services.bucket()
        for where in (str(tmp_path / "kept"), f"s3://{aws_services.name}/jobs"):
            first = settings_for(tmp_path, folder=tmp_path / "first", logs=where)
            made = await shell(first, "mkdir d; printf wheel > 'd/a b.whl'", artifacts=["d/*.whl"])
            [artifact] = made["artifacts"]
            assert (artifact["size"], artifact["sha256"]) == (5, sha256(b"wheel").hexdigest())
            assert read(first, artifact["uri"]) == b"wheel"
            assert list((tmp_path / "first").iterdir()) == [], "what is kept needs no folder of the job"
            second = settings_for(tmp_path, folder=tmp_path / "second", logs=where)
            output = await shell(second, "cat in/it.whl", {"ticket_id": "t-2"}, files={"in/it.whl": artifact})
            assert output["stdout"] == "wheel"

    async def test_a_scan_looks_at_what_is_kept_and_keeps_what_it_finds(
        self, tmp_path: Path, aws_services: "Aws"
    ) -> None:
        settings = settings_for(tmp_path, logs=f"s3://{await aws_services.bucket()}/jobs")
        made = await shell(settings, "mkdir d; printf '{\"port\": 70000}' > d/a.json", artifacts=["d/*"])
        against = {"tool": "json_schema", "against": {"properties": {"port": {"maximum": 65535}}}}
        given = {"provider": "scan", "tools": [against], "fail_on": "CRITICAL", "sarif": "artifact"}
        jobs = JobsExecutor([ScanExecutor(settings)], pauses=(0.0,), settings=settings)
        target = {"artifacts": made["artifacts"]}
        about = {"ticket_id": "t-2", "task_type": "VALIDATE"}
        output = await jobs.run(assigned({**given, "target": target}, **about))
        assert isinstance(output, dict)
        assert [one["file"] for one in output["findings"]] == ["d/a.json"]
        [report] = output["artifacts"]
        assert report["uri"] == f"s3://{aws_services.name}/jobs/t-2/1/artifacts/findings.sarif"
        kept = await asyncio.to_thread(read, settings, report["uri"])
        assert (len(kept), sha256(kept).hexdigest()) == (report["size"], report["sha256"])
        assert left_in(settings) == []
        other: Output = {"uri": f"s3://{aws_services.name}/x"}
        for changes, kind in ((other, "artifact_missing"), ({"sha256": "0" * 64}, "artifact_changed")):
            target = {"artifacts": [{**made["artifacts"][0], **changes}]}
            with pytest.raises(TaskFailed) as failed:
                await jobs.run(assigned({**given, "target": target}, **about))
            assert failed.value.kind == kind
        await jobs.aclose()

    async def test_a_file_that_is_another_one_or_from_elsewhere_is_not_taken(self, tmp_path: Path) -> None:
        settings = settings_for(tmp_path)
        made = await shell(settings, "printf wheel > a", artifacts=["a"])
        (tmp_path / "treasure").write_text("gold")
        gold = {"size": 4, "sha256": sha256(b"gold").hexdigest()}
        for changes, kind in (
            ({"sha256": "0" * 64}, "files_refused"),
            ({"size": 4}, "files_refused"),
            ({"size": 6}, "files_refused"),
            ({"uri": (tmp_path / "treasure").as_uri(), **gold}, "no_files"),
            ({"uri": f"{(tmp_path / 'kept').as_uri()}/../treasure", **gold}, "no_files"),
            ({"uri": f"{(tmp_path / 'kept').as_uri()}/%2e%2e/treasure", **gold}, "no_files"),
            ({"uri": "s3://bucket/kept/treasure", **gold}, "no_files"),
        ):
            file = {**made["artifacts"][0], **changes}
            with pytest.raises(TaskFailed) as failed:
                await shell(settings, "cat a", files={"a": file})
            assert failed.value.kind == kind
            assert "gold" not in str(failed.value)

    async def test_without_a_store_no_file_can_be_asked_for(self, tmp_path: Path) -> None:
        file = {"size": 1, "sha256": "0" * 64, "uri": "file:///etc/passwd"}
        with pytest.raises(TaskFailed, match="WORKER_LOGS"):
            await shell(settings_for(tmp_path, logs=""), "cat a", files={"a": file})

    async def test_artifacts_that_cannot_be_kept_fail_the_job(self, tmp_path: Path, aws_services: "Aws") -> None:
        settings = settings_for(tmp_path, logs=f"s3://{aws_services.name}/jobs")
        with pytest.raises(TaskFailed) as failed:
            await shell(settings, "printf 1 > a", artifacts=["a"])
        assert (failed.value.kind, failed.value.retryable) == ("artifacts_not_kept", True)


def left_in(settings: ExecutorSettings) -> list[Path]:
    return list(settings.folder.iterdir())


def names(create: Callable[[str], Any]) -> list[str]:
    refused = []
    for name in ("../x", "/x", "a/../../x", "", "a//b", "./a", "a\0b", "a\udcffb"):
        with pytest.raises(StoreFailed):
            create(name)
        refused.append(name)
    return refused


def test_no_name_leads_out_of_a_store_and_no_link_is_followed(tmp_path: Path) -> None:
    store = store_at(str(tmp_path / "kept"))
    assert store is not None
    assert len(names(store.create)) == 8
    (tmp_path / "far").mkdir()
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "t").symlink_to(tmp_path / "far")
    with pytest.raises(StoreFailed, match="link"):
        store.create("t/log.txt")
    (tmp_path / "kept" / "log.txt").symlink_to(tmp_path / "far" / "x")
    file = store.create("log.txt")
    file.write(b"1")
    file.close()
    assert list((tmp_path / "far").iterdir()) == []
    refuses_to_read(store, tmp_path)


def refuses_to_read(store: FileStore, folder: Path) -> None:
    (folder / "far" / "gold").write_text("gold")
    (folder / "kept" / "link").symlink_to(folder / "far" / "gold")
    os.mkfifo(folder / "kept" / "pipe")
    for name in ("link", "pipe", "t/gold", "none"):
        with pytest.raises(StoreFailed):
            list(store.read((folder / "kept" / name).as_uri()))


class TestOtherExecutors:
    async def test_files_that_a_test_has_made_are_kept(self, tmp_path: Path) -> None:
        settings = settings_for(tmp_path)
        text = f"echo '{GREEN}' > report.xml; echo made > made.txt"
        given = {"argv": ["sh", "-c", text], "reports": ["report.xml"], "artifacts": ["made.txt"]}
        output = await done(SuiteCommandExecutor(settings), settings, {"provider": "test_command", **given}, "TEST")
        [artifact] = output["artifacts"]
        assert read(settings, artifact["uri"]) == b"made\n"
        assert [*settings.folder.iterdir()] == []
        (tmp_path / "kept").rename(tmp_path / "away")
        (tmp_path / "kept").write_text("no folder")
        with pytest.raises(TaskFailed) as failed:
            await done(SuiteCommandExecutor(settings), settings, {"provider": "test_command", **given}, "TEST")
        assert failed.value.kind == "artifacts_not_kept"

    async def test_a_scan_reads_files_that_are_kept_and_keeps_its_own(self, tmp_path: Path) -> None:
        settings = settings_for(tmp_path)
        log = json.dumps({"runs": [{"tool": {"driver": {"name": "t"}}, "results": [{"ruleId": "r"}]}]})
        made = await shell(settings, f"echo '{log}' > a.sarif", artifacts=["a.sarif"])
        [artifact] = made["artifacts"]
        given = {"provider": "scan", "tools": ["sarif"], "target": {"artifacts": [artifact]}, "sarif": "artifact"}
        output = await done(ScanExecutor(settings), settings, given, "VALIDATE")
        assert output["total"] == 1
        [findings] = output["artifacts"]
        assert sha256(read(settings, findings["uri"])).hexdigest() == findings["sha256"]
        assert [*settings.folder.iterdir()] == []
        for uri, kind in (("file:///etc/passwd", "artifact_missing"), (artifact["uri"] + "x", "artifact_missing")):
            given["target"] = {"artifacts": [artifact | {"uri": uri}]}
            with pytest.raises(TaskFailed) as failed:
                await done(ScanExecutor(settings), settings, given, "VALIDATE")
            assert failed.value.kind == kind


@pytest.mark.parametrize("where", ["ftp://x/y", "s3://", "s3://b/../c", "s3://u@b/c", "s3://b/c?x", "https://b/c"])
def test_a_store_that_is_none_is_refused_at_the_start(where: str) -> None:
    with pytest.raises(ValueError, match="WORKER_LOGS"):
        JobsExecutor([], settings=ExecutorSettings(logs=where))


def test_without_the_sdk_a_bucket_is_refused_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_store, "find_spec", lambda _name: None)
    with pytest.raises(ValueError, match="boto3"):
        store_at("s3://bucket/jobs")


async def test_a_store_that_hangs_holds_no_job_and_its_file_is_let_go_of() -> None:
    gate, let_go = threading.Event(), threading.Event()

    class Hanging(FolderStore):
        def create(self, name: str) -> Any:
            gate.wait()
            return SimpleNamespace(write=lambda _data: gate.wait(), discard=let_go.set, uri=name)

    copy = LogCopy(Hanging(Path("unused")), "log.txt", Mask(()), 1)
    copy.begin()
    copy.add(b"1")
    assert await copy.end(0.01) == ""
    assert copy.result == "lost"
    assert not let_go.is_set()
    gate.set()
    await until(let_go.is_set, "the file to be let go of")


def test_a_stream_is_masked_wherever_it_is_cut() -> None:
    text, mask = f"a{SECRET}b{SECRET}{SECRET[:5]}", Mask([SECRET, SECRET[:9]])
    for size in range(1, 20):
        stream = MaskedStream(mask)
        pieces = [text[at : at + size].encode() for at in range(0, len(text), size)]
        assert b"".join([*map(stream.add, pieces), stream.end()]) == b"a***b***hunte"
    stream = MaskedStream(mask)
    assert [stream.add(b"said hunter"), stream.add(b" once\n"), stream.end()] == [b"said ", b"hunter once\n", b""]


async def test_the_log_of_a_ticket_shows_what_is_written_while_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "LIVE_SECONDS", 0.05)
    gate = tmp_path / "gate"
    text = f"echo '::progress 40 half way'; echo begun; while ! [ -e {gate} ]; do sleep 0.05; done; echo done"
    plan = decision(task("a", parameters={"provider": "command", "shell": text}, required_capabilities=[]))
    jobs = jobs_of(settings_for(tmp_path))
    async with one_machine(tmp_path / "data") as world, world.worker("w", jobs, *jobs.capabilities):
        flow_id = await world.submit(plan)
        ticket = await world.ticket(flow_id, lambda one: one["progress"] == 40.0, "is half way")
        path = f"/api/v1/tickets/{ticket['ticket_id']}/logs"

        async def log() -> str:
            return str((await world.get(path))["text"])

        async def begun() -> bool | None:
            return "begun" in await log() or None

        await eventually(begun, "the first lines of the log")
        assert "done" not in await log()
        assert (await world.tickets(flow_id))["a"]["status"] == "RUNNING"
        gate.touch()
        assert (await world.ended(flow_id))["status"] == "COMPLETED"
        uri = (tmp_path / "kept" / ticket["ticket_id"] / "1" / "log.txt").as_uri()
        assert (await log()).splitlines()[-2:] == ["done", f"the whole log is at {uri}"]
    await jobs.aclose()
