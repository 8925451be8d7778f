"""A real Prometheus and a real Alertmanager as processes of a test, reachable on 127.0.0.1 alone.

`make monitoring` brings them; the ones on PATH will do, too.
"""

import contextlib
import json
import shutil
import subprocess
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import httpx

from tests.conftest import ROOT, require
from tests.support.processes import free_port
from tests.support.world import PATIENCE_S, until

BROUGHT = ROOT / ".venv" / "monitoring"


def program(name: str) -> str:
    """Return the path of `prometheus`, `promtool` or `alertmanager`; a test without it is skipped, or fails in CI."""
    brought = BROUGHT / name
    found = str(brought) if brought.exists() else shutil.which(name)
    require(found is not None, "make monitoring")
    return str(found)


def promtool(folder: Path, *arguments: str) -> str:
    """Run `promtool` in a folder and return what it writes; it has to find nothing wrong."""
    done = subprocess.run(
        [program("promtool"), *arguments], cwd=folder, capture_output=True, text=True, check=False, timeout=PATIENCE_S
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@contextlib.asynccontextmanager
async def running(name: str, folder: Path, config: dict[str, Any], *arguments: str) -> AsyncIterator[str]:
    """Run a server with a configuration, which is YAML as all JSON is, until the context is left; give its URL."""
    url, log = f"http://127.0.0.1:{free_port()}", folder / "log"
    process = _start(name, folder, config, f"--web.listen-address={url.removeprefix('http://')}", *arguments)
    try:
        await until(lambda: _ready(url, process), f"{name} at {url} (see {log})")
        yield url
    finally:
        process.kill()
        process.wait(PATIENCE_S)


def _start(name: str, folder: Path, config: dict[str, Any], *arguments: str) -> subprocess.Popen[bytes]:
    path = program(name)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(json.dumps(config))
    if not (folder / "templates").exists():
        (folder / "templates").symlink_to(BROUGHT / "templates")  # see infra/monitoring; another program has its own
    with (folder / "log").open("ab") as log:
        command = [path, "--config.file=config.yaml", *arguments]
        return subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)


@contextlib.asynccontextmanager
async def prometheus(
    folder: Path, *targets: str, rules: Sequence[str] = (), alertmanager: str | None = None
) -> AsyncIterator[str]:
    """Run a Prometheus that scrapes targets, `host:port`, each second; give its URL."""
    config: dict[str, Any] = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "scrape_configs": [{"job_name": "flowc", "static_configs": [{"targets": targets}]}] if targets else [],
        "rule_files": list(rules),
    }
    if alertmanager is not None:
        config["alerting"] = {"alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}]}
    async with running("prometheus", folder, config, "--storage.tsdb.path=tsdb") as url:
        yield url


@contextlib.asynccontextmanager
async def alertmanager(folder: Path, config: dict[str, Any]) -> AsyncIterator[str]:
    """Run an Alertmanager that is alone; give its URL."""
    async with running("alertmanager", folder, config, "--storage.path=data", "--cluster.listen-address=") as url:
        yield url


async def _ready(url: str, process: subprocess.Popen[bytes]) -> bool | None:
    assert process.poll() is None, "it has ended"
    with contextlib.suppress(httpx.TransportError):
        async with httpx.AsyncClient() as client:
            return (await client.get(f"{url}/-/ready")).status_code == 200 or None
    return None
