"""The wheel: what is in it, and that it works where nothing of the project's own tree is."""

import re
import subprocess
import sys
from email import message_from_string
from pathlib import Path
from zipfile import ZipFile

import pytest

from functions._engine.version import __version__
from tests.conftest import ROOT


def run(*command: str, cwd: Path, path: Path | None = None) -> str:
    """Run a command, with modules of `path` before all others; return what it prints."""
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(cwd)} | ({"PYTHONPATH": str(path)} if path else {})
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the wheel, built from the tree by the tool that is installed; no network is needed."""
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder), cwd=ROOT)
    [built] = folder.iterdir()
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder into which the wheel, and nothing else, was installed."""
    folder = tmp_path_factory.mktemp("installed")
    options = ("--quiet", "--no-deps", "--no-index", "--no-compile", "--disable-pip-version-check")
    run(sys.executable, "-m", "pip", "install", *options, "--target", str(folder), str(wheel), cwd=folder)
    return folder


def test_the_wheel_holds_both_packages_with_their_data_and_nothing_else(wheel: Path) -> None:
    found = {name for name in ZipFile(wheel).namelist() if ".dist-info/" not in name}
    ours = {
        path.relative_to(ROOT).as_posix()
        for package in ("flowc", "functions")
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert found == ours
    of_templates = {path for path in found if path.startswith("functions/_executors/forge/templates/")}
    assert {path.rpartition(".")[2] for path in found - of_templates} == {
        "binpb",
        "css",
        "html",
        "js",
        "json",
        "py",
        "rego",
        "sql",
        "svg",
        "typed",
    }
    names = {path.split("/")[4] for path in of_templates if path.endswith("/copier.yml")}
    assert names == {"lambda-function", "python-library", "python-service", "terraform-module"}
    assert {"functions/_cost/prices.json", "functions/_cli/sample_decision.json", "flowc/py.typed"} <= found


def test_the_wheel_says_what_it_is(wheel: Path) -> None:
    archive = ZipFile(wheel)
    [name] = [name for name in archive.namelist() if name.endswith("/METADATA")]
    metadata = message_from_string(archive.read(name).decode())
    assert (metadata["Name"], metadata["Version"]) == ("flowc", __version__)
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert "Typing :: Typed" in metadata.get_all("Classifier", [])
    assert not re.search("^(Home-page|Project-URL|Author)", archive.read(name).decode(), re.MULTILINE)


def test_the_command_the_module_and_the_import_work_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    said = f"flowc {__version__}\n"
    assert run(str(installed / "bin" / "flowc"), "--version", cwd=tmp_path, path=installed) == said
    assert run(sys.executable, "-m", "flowc", "--version", cwd=tmp_path, path=installed) == said
    code = "import flowc, functions; print(flowc.__version__, flowc.__file__, functions.__file__)"
    version, *files = run(sys.executable, "-c", code, cwd=tmp_path, path=installed).split()
    assert version == __version__
    assert [str(installed) in file for file in files] == [True, True]


def test_data_is_found_in_the_wheel(installed: Path, tmp_path: Path) -> None:
    decision = run(sys.executable, "-m", "flowc", "sample", cwd=tmp_path, path=installed)
    (tmp_path / "decision.json").write_text(decision, encoding="utf-8")
    priced = run(sys.executable, "-m", "flowc", "cost", "decision.json", cwd=tmp_path, path=installed)
    assert "prices of" in priced
    opens = (
        "from pathlib import Path\n"
        "from functions._adapters.sql.sqlite.store import SqliteStore\n"
        "print(SqliteStore.open(Path('data')))\n"
    )
    assert "SqliteStore" in run(sys.executable, "-c", opens, cwd=tmp_path, path=installed)


def test_clients_and_workers_are_imported_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    code = "import flowc.client, flowc.worker; print(flowc.client.FlowCOrchestrator, flowc.worker.Worker)"
    assert "flowc.worker.worker.Worker" in run(sys.executable, "-c", code, cwd=tmp_path, path=installed)


def test_a_client_imports_nothing_of_the_platform_and_no_event_loop(installed: Path, tmp_path: Path) -> None:
    """Its own part of an import takes about 45 ms of CPU beyond httpx and pydantic."""
    code = (
        "import sys, httpx, pydantic; before = set(sys.modules); import flowc.client; print(*set(sys.modules) - before)"
    )
    loaded = run(sys.executable, "-c", code, cwd=tmp_path, path=installed).split()
    assert {name for name in loaded if name.startswith("functions")} == {
        "functions",
        "functions._engine",
        "functions._engine.version",
    }
    assert {"asyncio", "msgspec", "structlog", "uvicorn"} & set(loaded) == set()


def test_the_public_package_is_thin(installed: Path, tmp_path: Path) -> None:
    code = "import sys; before = set(sys.modules); import flowc; print(*sorted(set(sys.modules) - before))"
    loaded = run(sys.executable, "-c", code, cwd=tmp_path, path=installed).split()
    assert loaded == ["flowc", "functions", "functions._engine", "functions._engine.version"]
