"""Backups of a data folder: made while a platform works, restored elsewhere, and gone on with."""

import asyncio
import os
import re
import sqlite3
import subprocess
from pathlib import Path

import pytest

from functions._adapters.sql import migrations
from functions._adapters.sql.sqlite import DataFolderInUse, DataFolderTooNew, SqliteStore
from functions._adapters.sql.sqlite.backup import KIND, BackupFailed, back_up, restore
from tests.support.command_line import flowc
from tests.support.processes import Platform, Process, processes, running_platform
from tests.support.world import decision, task, until

FLOWS = 24
WORK = ("--capability", "python", "--shell", "sleep 0.3; echo 1")


def data_of(platform: Platform) -> str:
    return platform.arguments[platform.arguments.index("--data") + 1]


async def begun(folder: Path, process: subprocess.Popen[bytes]) -> bool | None:
    drafts = await asyncio.to_thread(lambda: [*folder.glob(".killed.*")])
    return bool(drafts) or process.poll() is not None or None


async def submitted(platform: Platform, backups: Path) -> tuple[list[str], list[str], Path]:
    """Submit flows, a backup in the middle of them; return those acknowledged before it, those after, and the file."""
    submit = [platform.submit(decision(task("a"), task("b", "a"), task("c", "b"))) for _ in range(FLOWS)]
    before = list(await asyncio.gather(*submit[: FLOWS // 2]))
    file = backups / "flows.backup"
    backup = asyncio.create_task(asyncio.to_thread(flowc, "backup", str(file), "--data", data_of(platform)))
    after = list(await asyncio.gather(*submit[FLOWS // 2 :]))
    made = await backup
    assert made.exit_code == 0, made.output
    assert re.fullmatch(
        r".*flows\.backup: schema \d+, \d+ flows, the key of the workers' tokens, .* MiB\n", made.stdout
    )
    return before, after, file


@pytest.mark.timeout(180)
async def test_a_backup_made_under_load_is_restored_elsewhere_and_every_flow_goes_on(tmp_path: Path) -> None:
    async with running_platform(tmp_path, heartbeat_seconds=1) as platform:
        platform.hire("w1", *WORK, slots=8)
        before, after, file = await submitted(platform, tmp_path)
        flows = [await platform.ended(flow_id) for flow_id in (*before, *after)]
        assert {flow["status"] for flow in flows} == {"COMPLETED"}, "the backup has disturbed the platform"
    assert file.stat().st_mode & 0o777 == 0o600

    elsewhere = tmp_path / "elsewhere"
    done = await asyncio.to_thread(flowc, "restore", str(file), "--data", str(elsewhere / "data"))
    assert done.exit_code == 0, done.output
    key = (elsewhere / "data" / "worker.key").read_bytes()
    assert key == (tmp_path / "data" / "worker.key").read_bytes()
    assert {path.name for path in (elsewhere / "data").iterdir()} == {"flowc.db", "lock", "worker.key"}
    async with running_platform(elsewhere, heartbeat_seconds=1) as second:
        unfinished = (await second.get("/api/v1/flows?status=EXECUTING"))["items"]
        second.hire("w2", *WORK, slots=8)
        flows = [await second.ended(flow_id) for flow_id in before]
        everything = (await second.get("/api/v1/flows?limit=200"))["items"]
        ended = [await second.ended(flow["flow_id"]) for flow in everything]
        letters = await second.letters()
    assert unfinished, "the backup came too late to show anything"
    assert {flow["status"] for flow in (*flows, *ended)} == {"COMPLETED"}
    assert letters == []


def test_a_folder_in_use_and_one_that_is_not_empty_are_refused(tmp_path: Path) -> None:
    file = a_backup(tmp_path)
    with pytest.raises(BackupFailed, match="there already"):
        back_up(tmp_path / "data", file)
    with pytest.raises(BackupFailed, match="not empty"):
        restore(file, tmp_path / "data")

    async def in_use() -> None:
        store = SqliteStore.open(tmp_path / "used")
        try:
            with pytest.raises(DataFolderInUse):
                restore(file, tmp_path / "used")
        finally:
            await store.close()

    asyncio.run(in_use())


def test_a_backup_of_a_newer_version_is_refused_and_one_of_an_older_is_migrated(tmp_path: Path) -> None:
    newer, newest = a_backup(tmp_path), len(migrations("sqlite"))
    with sqlite3.connect(newer) as connection:
        connection.execute(f"PRAGMA user_version = {newest + 1}")
    with pytest.raises(DataFolderTooNew):
        restore(newer, tmp_path / "new")
    assert not (tmp_path / "new" / "flowc.db").exists()

    older = tmp_path / "older"
    older.mkdir()
    with sqlite3.connect(older / "flowc.db") as connection:
        for script in migrations("sqlite")[:9]:
            connection.executescript(script)
        connection.execute("PRAGMA user_version = 9")
    made = back_up(older, tmp_path / "older.backup")
    assert (made.schema, made.has_key) == (9, False)
    restore(tmp_path / "older.backup", tmp_path / "migrated")
    with sqlite3.connect(tmp_path / "migrated" / "flowc.db") as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (newest,)
        assert connection.execute("PRAGMA application_id").fetchone() == (0,)
        assert connection.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'backup_key'").fetchone() == (0,)


def test_what_is_damaged_or_is_no_backup_is_refused_and_leaves_no_database(tmp_path: Path) -> None:
    file = a_backup(tmp_path)
    for name, content, why in (
        ("text", b"not a database" * 100, "not a database"),
        ("empty", b"", "not a backup"),
        ("folder", (tmp_path / "data" / "flowc.db").read_bytes(), "not a backup"),
        ("short", file.read_bytes()[:-4096], "malformed|damaged"),
        ("torn", file.read_bytes()[:8192] + bytes(len(file.read_bytes()) - 8192), "malformed|damaged"),
    ):
        wrong = tmp_path / name
        wrong.write_bytes(content)
        with pytest.raises(BackupFailed, match=why):
            restore(wrong, tmp_path / f"from-{name}")
        assert [path.name for path in (tmp_path / f"from-{name}").iterdir()] == ["lock"]
    with pytest.raises(BackupFailed, match="no backup"):
        restore(tmp_path / "nothing", tmp_path / "from-nothing")


def test_a_backup_of_a_stranger_writes_no_other_file_and_runs_no_trigger(tmp_path: Path) -> None:
    file = a_backup(tmp_path)
    with sqlite3.connect(file) as connection:
        connection.execute("INSERT INTO backup_key VALUES ('../outside', 'x')")
    restore(file, tmp_path / "restored" / "data")
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TRIGGER evil AFTER INSERT ON flow BEGIN DELETE FROM flow; END")
    with pytest.raises(BackupFailed, match="trigger 'evil'"):
        restore(file, tmp_path / "evil")
    assert {path.name for path in (tmp_path / "restored").rglob("*")} == {"data", "flowc.db", "lock", "worker.key"}


EVIL = {
    "a view without an end": """DROP TABLE flow; CREATE VIEW flow AS
        WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x FROM n""",
    "a table without a column": "ALTER TABLE ticket RENAME COLUMN turn TO turned",
    "no table": "DROP TABLE worker",
    "an index that lets one flow in": "CREATE UNIQUE INDEX evil ON flow ((1))",
    "an index that costs": "CREATE INDEX evil ON flow (length(printf('%900000000d', 1)))",
    "a virtual table": "CREATE VIRTUAL TABLE evil USING fts5(x)",
    "a trigger named as the database names": """
        CREATE TRIGGER evil AFTER INSERT ON flow BEGIN DELETE FROM flow; END;
        PRAGMA writable_schema = ON; UPDATE sqlite_schema SET name = 'sqlite_stat1' WHERE name = 'evil'""",
    "a key that is text": "UPDATE backup_key SET content = 'text'",
    "a key of megabytes": "UPDATE backup_key SET content = zeroblob(10000000)",
    "a schema below none": "PRAGMA user_version = -5",
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", EVIL)
def test_a_hostile_backup_is_refused_before_any_of_it_runs(tmp_path: Path, name: str) -> None:
    file = a_backup(tmp_path)
    with sqlite3.connect(file, isolation_level=None) as connection:
        connection.executescript(EVIL[name])
    with pytest.raises(BackupFailed):
        restore(file, tmp_path / "evil")
    assert [path.name for path in (tmp_path / "evil").iterdir()] == ["lock"]


def test_a_table_and_statistics_of_the_owner_are_no_harm(tmp_path: Path) -> None:
    file = a_backup(tmp_path)
    with sqlite3.connect(file, isolation_level=None) as connection:
        connection.executescript("CREATE TABLE notes (text TEXT); ANALYZE")
    assert restore(file, tmp_path / "restored").has_key


def test_no_link_is_followed_where_files_are_written(tmp_path: Path) -> None:
    file, outside = a_backup(tmp_path), tmp_path / "outside"
    (tmp_path / "linked").symlink_to(outside)
    with pytest.raises(BackupFailed, match="there already"):
        back_up(tmp_path / "data", tmp_path / "linked")
    for name in ("worker.key", "flowc.db"):
        folder = tmp_path / f"with-{name}"
        folder.mkdir()
        (folder / name).symlink_to(outside)
        with pytest.raises(BackupFailed, match="not empty"):
            restore(file, folder)
    assert not outside.exists()
    assert restore(file, tmp_path / "new").has_key
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "new").iterdir() if path.name != "lock"} == {0o600}


def test_the_command_says_in_one_line_what_is_wrong(tmp_path: Path) -> None:
    no_folder = flowc("backup", str(tmp_path / "x"), "--data", str(tmp_path / "none"))
    assert (no_folder.exit_code, no_folder.stderr.count("\n")) == (1, 1)
    assert "is no data folder" in no_folder.stderr
    no_place = flowc("backup", str(tmp_path / "none" / "x"), "--data", str(a_backup(tmp_path).parent / "data"))
    assert (no_place.exit_code, no_place.stderr.count("\n")) == (1, 1)
    database = flowc("backup", str(tmp_path / "x"), FLOWC_DATABASE_URL="postgresql://a@b/c")
    assert (database.exit_code, "pg_dump" in database.stderr) == (2, True)


@pytest.mark.timeout(120)
async def test_a_backup_that_is_killed_leaves_nothing_that_looks_like_one(tmp_path: Path) -> None:
    await asyncio.to_thread(a_backup, tmp_path)
    with sqlite3.connect(tmp_path / "data" / "flowc.db") as connection:
        connection.execute("CREATE TABLE large (content BLOB)")
        connection.executemany("INSERT INTO large VALUES (?)", ((os.urandom(2**20),) for _ in range(64)))
    with processes() as started:
        file = tmp_path / "killed"
        killed = Process(["backup", str(file), "--data", str(tmp_path / "data")], tmp_path / "log")
        started.append(killed)
        killed.start()
        process = killed.running
        assert process is not None
        await until(lambda: begun(tmp_path, process), "the backup to begin")
        killed.kill()
    assert not file.exists() or process.returncode == 0
    assert back_up(tmp_path / "data", tmp_path / "again").has_key


def a_backup(folder: Path) -> Path:
    """Return a backup of a new, empty data folder."""

    async def opened() -> None:
        await SqliteStore.open(folder / "data").close()

    if not (folder / "data").exists():
        asyncio.run(opened())
    (folder / "data" / "worker.key").write_bytes(bytes(32))
    file = folder / f"{len([*folder.iterdir()])}.backup"
    back_up(folder / "data", file)
    with sqlite3.connect(file) as connection:
        assert connection.execute("PRAGMA application_id").fetchone() == (KIND,)
    return file
