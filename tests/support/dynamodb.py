"""An emulated DynamoDB for tests, spoken to over HTTP: one process for all of them, a table of its own for each.

`FLOWC_TEST_DYNAMODB_URL` names one that is running already. Without it `ministack` is started on 127.0.0.1, from an
environment of its own: what it needs and what the platform needs cannot be installed together.
"""

import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from unittest.mock import patch
from urllib.error import URLError
from urllib.request import urlopen

import botocore.session

from tests.conftest import ROOT

HOW = "make emulators"

START_SECONDS = 180
PYTHON = ROOT / ".venv" / "emulators" / "bin" / "python"

ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "eu-central-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}
"""Nothing of a real account is read, and nobody is asked for one."""


@dataclass(frozen=True)
class Emulator:
    """Where it is."""

    url: str


def available() -> bool:
    """Tell whether there is one to use, or one that can be started."""
    return bool(os.environ.get("FLOWC_TEST_DYNAMODB_URL")) or PYTHON.exists()


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@contextmanager
def serving() -> Iterator[Emulator]:
    """Give the emulator of the tests; one that was started is stopped in the end.

    Meanwhile all clients share what botocore reads about services: to read it takes longer than most tests.
    """
    with patch.object(botocore.session, "create_loader", cache(botocore.session.create_loader)), _serving() as emulator:
        yield emulator


@contextmanager
def _serving() -> Iterator[Emulator]:
    if url := os.environ.get("FLOWC_TEST_DYNAMODB_URL"):
        yield Emulator(url)
        return
    with ministack() as emulator:
        yield emulator


@contextmanager
def ministack() -> Iterator[Emulator]:
    """Run the emulator that has the other services of AWS, too."""
    port = free_port()
    settings = {"BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(port), "MINISTACK_REGION": "eu-central-1"}
    with tempfile.TemporaryDirectory(prefix="flowc-aws-") as folder:
        log = Path(folder) / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [str(PYTHON), "-m", "ministack"],
                cwd=folder,
                env={"PATH": os.environ["PATH"], "HOME": folder, **ENVIRONMENT, **settings},
                stdout=output,
                stderr=output,
            )
        try:
            _wait(f"http://127.0.0.1:{port}/_ministack/health", process, log)
            yield Emulator(f"http://127.0.0.1:{port}")
        finally:
            process.terminate()
            process.wait(START_SECONDS)


def _wait(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            with urlopen(url, timeout=1) as answer:  # noqa: S310 our own address
                if answer.status == 200:
                    return
        except (URLError, OSError):
            pass
        if process.poll() is not None or time.monotonic() > deadline:
            raise AssertionError(f"ministack did not start: {log.read_text()[-2000:]}")
        time.sleep(0.05)
