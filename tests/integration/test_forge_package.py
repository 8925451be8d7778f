"""The stage package: what projects are built into, the same bytes each time, and what a project cannot do."""

import asyncio
import gzip
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import tracemalloc
import zipfile
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from functions._core.executors.forge import PackageParameters
from functions._executors.forge import archives
from functions._executors.forge.archives import in_tar
from functions._executors.forge.builds import ProjectBuild, functions_in
from functions._executors.port import CallFailed
from functions._executors.scanners.target import MOST_BYTES, TargetFolder, TargetRefused, unpack
from tests.conftest import require
from tests.support.forge_packages import (
    CHART,
    FUNCTION,
    LIBRARY,
    PYPROJECT,
    SAM,
    SERVICE,
    PackageDesk,
    by_kind,
    in_archive,
    read_layout,
)
from tests.support.forge_projects import archive, stored_context

BACKEND = """
import os, socket, pathlib

def _tell(name):
    found = {{"env": sorted(os.environ), "files": []}}
    for path in {paths!r}:
        try:
            found["files"].append(pathlib.Path(path).read_text()[:20])
        except OSError:
            pass
    try:
        socket.create_connection(("127.0.0.1", {port}), 1).close()
        found["network"] = True
    except OSError:
        found["network"] = False
    raise SystemExit("SEEN " + repr(found))

def build_sdist(folder, settings=None):
    {body}

def build_wheel(folder, settings=None, metadata=None):
    {body}
"""
OWN_BACKEND = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
NEEDS = "dependencies: [{name: redis}]\n"
TAMPERING = """
import pathlib, tarfile, zipfile

def build_sdist(folder, settings=None):
    pathlib.Path("chart/values.yaml").write_text("replicas: 666")
    pathlib.Path("PKG-INFO").write_text("Metadata-Version: 2.1\\nName: shop\\nVersion: 1\\n")
    with tarfile.open(f"{folder}/shop-1.tar.gz", "w:gz") as archive:
        archive.add(".", "shop-1")
    return "shop-1.tar.gz"

def build_wheel(folder, settings=None, metadata=None):
    zipfile.ZipFile(f"{folder}/shop-1.whl", "w").close()
    return "shop-1.whl"
"""


@pytest.fixture
def desk(tmp_path: Path) -> PackageDesk:
    return PackageDesk(tmp_path)


def hostile(body: str, paths: list[str] | None = None, port: int = 1) -> dict[str, str]:
    return {"pyproject.toml": OWN_BACKEND, "backend.py": BACKEND.format(body=body, paths=paths or [], port=port)}


def hashes_of(output: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {kind: (one["checksum"], one["file"]["sha256"]) for kind, one in by_kind(output).items()}


async def said_by(argv: list[str], **env: str) -> str:
    run = partial(subprocess.run, argv, env=env or None, capture_output=True, check=True, timeout=60, text=True)
    return str((await asyncio.to_thread(run)).stdout)


class TestWhatIsBuilt:
    async def test_a_library_is_a_wheel_and_a_source_distribution(self, desk: PackageDesk, tmp_path: Path) -> None:
        output = await desk.run(LIBRARY, "library", version="1.2.0")
        made = by_kind(output)
        assert {kind: (one["name"], one["artifact_type"]) for kind, one in made.items()} == {
            "wheel": ("shop-1.2.0-py3-none-any.whl", "CODE"),
            "sdist": ("shop-1.2.0.tar.gz", "CODE"),
        }
        assert all(one["location"] == one["file"]["uri"] for one in made.values())
        assert made["wheel"]["checksum"] == f"sha256:{made['wheel']['file']['sha256']}"
        wheel = tmp_path / made["wheel"]["name"]
        wheel.write_bytes(desk.content(made["wheel"]))
        site = tmp_path / "site"
        pip = [sys.executable, "-m", "pip", "install", "--no-index", "--no-deps", "-q", f"--target={site}", str(wheel)]
        await said_by(pip)
        said = await said_by([str(site / "bin" / "shop")], PYTHONPATH=str(site))
        assert said == "sold\n", "pip checks the wheel, and its command runs"
        assert "shop-1.2.0/src/shop/__init__.py" in in_archive(desk.content(made["sdist"]))
        assert (output["pushed"], desk.left) == ([], [])
        components = json.loads(desk.content({"file": output["sbom"]["cyclonedx"]}))["components"]
        assert [one["name"] for one in components] == ["fastapi"]

    async def test_a_service_is_a_chart_and_an_image_too(self, desk: PackageDesk) -> None:
        made = by_kind(await desk.run(SERVICE, "service", version="1.2.0"))
        assert {kind: one["artifact_type"] for kind, one in made.items()} == {
            "wheel": "CODE",
            "sdist": "CODE",
            "chart": "CHART",
            "image": "CONTAINER",
        }
        files = in_archive(desk.content(made["chart"]))
        assert (made["chart"]["name"], sorted(files)) == (
            "shop-1.2.0.tgz",
            ["shop/Chart.yaml", "shop/templates/service.yaml", "shop/values.yaml"],
        )
        head = {"apiVersion": "v2", "name": "shop", "version": "1.2.0", "appVersion": "1"}
        assert json.loads(files["shop/Chart.yaml"]) == head, "as `helm package --version` does; JSON is YAML"
        manifest, config, layers = read_layout(desk.content(made["image"]))
        assert made["image"]["checksum"].startswith("sha256:")
        assert manifest["mediaType"] == made["image"]["media_type"]
        run = config["config"]
        assert (run.get("Entrypoint"), run["Cmd"]) == (None, ["shop", "--port", "8080"])
        assert (run["User"], run["WorkingDir"], run["ExposedPorts"]) == ("65532:65532", "/app", {"8080/tcp": {}})
        assert {"COLOUR=green", "TASTE=very good", "PYTHONPATH=/app"} <= {*run["Env"]}
        assert layers[0]["app/shop/__init__.py"] == LIBRARY["src/shop/__init__.py"].encode()
        assert layers[0]["app/bin/shop"].startswith(b"#!/usr/bin/env python3\n")
        assert "the image was made without RUN of the Dockerfile" in desk.log
        assert "there is no WORKER_FORGE_BASE_IMAGE" in desk.log

    async def test_a_text_within_a_dockerfile_is_no_instruction(self, desk: PackageDesk) -> None:
        text = "FROM scratch\nUSER 1000\nRUN <<END\nUSER root\nEXPOSE 22\nEND\nEXPOSE 80\n"
        made = by_kind(await desk.run({**LIBRARY, "Dockerfile": text}))
        _, config, _ = read_layout(desk.content(made["image"]))
        assert (config["config"]["User"], config["config"]["ExposedPorts"]) == ("1000", {"80/tcp": {}})

    async def test_the_image_runs_what_its_wheel_brings(self, desk: PackageDesk, tmp_path: Path) -> None:
        made = by_kind(await desk.run({**LIBRARY, "Dockerfile": "FROM scratch\n"}))
        _, config, (layer,) = read_layout(desk.content(made["image"]))
        for name, data in layer.items():
            (tmp_path / "root" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "root" / name).write_bytes(data)
        program = tmp_path / "root" / config["config"]["Entrypoint"][0].lstrip("/")
        said = await said_by([sys.executable, str(program)], PYTHONPATH=str(tmp_path / "root" / "app"))
        assert said == "sold\n"

    async def test_a_function_is_a_zip_of_where_its_template_says_that_its_code_is(self, desk: PackageDesk) -> None:
        made = by_kind(await desk.run(FUNCTION, "function", version="2.0.0"))
        assert [(kind, one["name"]) for kind, one in made.items()] == [("function", "shop-2.0.0.zip")]
        with zipfile.ZipFile(io.BytesIO(desk.content(made["function"]))) as archive:
            assert archive.namelist() == ["shop.py"]

    async def test_several_functions_are_several_zips(self, desk: PackageDesk) -> None:
        more = "  Buyer:\n    Type: AWS::Serverless::Function\n    Properties: {CodeUri: ./buyer}\n"
        files = {**FUNCTION, "template.yaml": SAM + more, "buyer/buy.py": "x = 1\n"}
        assert [*by_kind(await desk.run(files, "function"))] == ["function-seller", "function-buyer"]

    async def test_a_function_without_a_template_is_a_zip_without_its_tests(self, desk: PackageDesk) -> None:
        made = by_kind(await desk.run({"main.py": "x = 1\n", "tests/test_a.py": ""}, "function"))
        with zipfile.ZipFile(io.BytesIO(desk.content(made["function"]))) as archive:
            assert archive.namelist() == ["main.py"]

    async def test_a_module_is_an_archive_of_infrastructure_code(self, desk: PackageDesk) -> None:
        files = {"main.tf": 'resource "terraform_data" "a" {}\n', "pyproject.toml": PYPROJECT}
        made = by_kind(await desk.run(files, "module", version="0.3.0"))
        assert {kind: (one["name"], one["artifact_type"]) for kind, one in made.items()} == {
            "archive": ("shop-0.3.0.tar.gz", "IAC")
        }
        assert sorted(in_archive(desk.content(made["archive"]))) == ["main.tf", "pyproject.toml"]

    async def test_the_same_project_makes_the_same_bytes(self, tmp_path: Path) -> None:
        first = await PackageDesk(tmp_path / "a").run(SERVICE, "service")
        second = await PackageDesk(tmp_path / "b").run(SERVICE, "service", attempt=2, ticket_id="t-2")
        assert hashes_of(first) == hashes_of(second)
        assert len(hashes_of(first)) == 4

    async def test_another_version_of_chart_and_image_is_another_content(self, desk: PackageDesk) -> None:
        first = by_kind(await desk.run({**CHART, "Dockerfile": "FROM scratch\n"}, version="1.0.0"))
        second = by_kind(await desk.run({**CHART, "Dockerfile": "FROM scratch\n"}, version="1.0.1"))
        assert all(first[kind]["checksum"] != second[kind]["checksum"] for kind in ("chart", "image"))

    @pytest.mark.slow
    async def test_a_backend_that_writes_times_makes_the_same_bytes(self, tmp_path: Path) -> None:
        files = {
            "pyproject.toml": PYPROJECT.replace("hatchling.build", "setuptools.build_meta").replace(
                '"hatchling"', '"setuptools"'
            ),
            "src/shop/__init__.py": "def main(): ...\n",
        }
        first = await PackageDesk(tmp_path / "a").run(files, "library")
        second = await PackageDesk(tmp_path / "b").run(files, "library")
        assert hashes_of(first) == hashes_of(second)


class TestRefusals:
    @pytest.mark.parametrize(
        ("files", "kind", "said"),
        [
            ({"pyproject.toml": "[build-system]\nrequires = ['not-here']\n"}, "build_failed", "not-here"),
            ({**CHART, "chart/Chart.yaml": "name: ../shop\nversion: 1.0.0\n"}, "bad_project", "no name or no version"),
            ({**CHART, "chart/Chart.yaml": "a: &a [x]\nb: [" + "*a, " * 9}, "bad_project", "cannot be read"),
            ({"chart/Chart.yaml": CHART["chart/Chart.yaml"] + NEEDS}, "bad_project", "redis"),
            ({**FUNCTION, "template.yaml": SAM.replace("src/", "../../etc")}, "bad_project", "is not in the project"),
            (
                {**FUNCTION, "template.yaml": SAM + SAM[SAM.index("  Seller") :].replace("Seller", "seller")},
                "bad_project",
                "capital",
            ),
            ({**FUNCTION, "template.yaml": "a: &a [b]\nc: *a\n"}, "bad_project", "aliases"),
            ({**FUNCTION, "template.yaml": "a: " + "[" * 250_000}, "bad_project", "too deep"),
            ({"Dockerfile": "FROM scratch\nENV A='b\n"}, "bad_project", "Dockerfile cannot be read"),
        ],
    )
    async def test_a_project_that_cannot_be_packaged_says_why(
        self, desk: PackageDesk, files: dict[str, str], kind: str, said: str
    ) -> None:
        failed = await desk.failure(files)
        assert (failed.kind, failed.retryable) == (kind, False)
        assert said in failed.message
        assert desk.left == []

    async def test_without_a_store_nothing_is_packaged(self, desk: PackageDesk) -> None:
        code = desk.code(LIBRARY)
        desk.settings = desk.settings.model_copy(update={"logs": ""})
        failed = await desk.failure(code=code)
        assert (failed.kind, failed.retryable) == ("not_configured", False)

    async def test_an_artifact_that_can_be_no_repository_is_refused(self, desk: PackageDesk) -> None:
        failed = await desk.failure(LIBRARY, artifact_id="acme//shop")
        assert (failed.kind, failed.message) == ("bad_name", "'acme//shop' is no name of a repository")


class TestStrangers:
    """The backend of a project is a program of strangers."""

    async def test_without_a_sandbox_only_an_owner_who_allows_it_has_projects_built(self, desk: PackageDesk) -> None:
        desk.settings = desk.settings.model_copy(update={"commands": ("python",)})
        failed = await desk.failure(LIBRARY)
        assert (failed.kind, failed.retryable) == ("not_allowed", False)
        assert "WORKER_COMMANDS: build" in failed.message

    async def test_a_backend_gets_no_variable_of_the_worker(
        self, desk: PackageDesk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("WORKER_FORGE_REGISTRY_TOKEN", "secret-of-the-owner")
        failed = await desk.failure(hostile('_tell("x")'))
        assert failed.kind == "build_failed"
        assert "SEEN" in failed.message
        assert "WORKER_FORGE" not in failed.message

    @pytest.mark.slow
    async def test_in_the_sandbox_a_backend_sees_no_file_and_no_network(self, tmp_path: Path) -> None:
        require(shutil.which("bwrap") is not None, "sudo apt-get install bubblewrap")
        secret = tmp_path / "secret"
        secret.write_text("secret-of-the-owner")
        with socket.create_server(("127.0.0.1", 0)) as listening:
            port = listening.getsockname()[1]
            desk = PackageDesk(tmp_path, "on")
            failed = await desk.failure(hostile('_tell("x")', [str(secret)], port))
        assert "'files': []" in failed.message
        assert "'network': False" in failed.message

    @pytest.mark.slow
    async def test_a_service_is_packaged_in_the_sandbox_as_without(self, tmp_path: Path) -> None:
        require(shutil.which("bwrap") is not None, "sudo apt-get install bubblewrap")
        inside = await PackageDesk(tmp_path / "a", "on").run(SERVICE, "service")
        outside = await PackageDesk(tmp_path / "b").run(SERVICE, "service")
        assert hashes_of(inside) == hashes_of(outside)

    async def test_what_a_backend_does_to_its_copy_is_in_nothing_else(self, desk: PackageDesk) -> None:
        output = await desk.run({**CHART, "pyproject.toml": OWN_BACKEND, "backend.py": TAMPERING})
        assert in_archive(desk.content(by_kind(output)["chart"]))["shop/values.yaml"] == b"replicas: 1\n"

    @pytest.mark.parametrize("what", ["link", "hard link", "pipe", "other", "two", "none", "no zip", "many", "twice"])
    def test_what_is_no_package_is_not_taken(self, tmp_path: Path, what: str) -> None:
        folder = tmp_path / "dist"
        folder.mkdir()
        wheel = folder / "shop-1.whl"
        (tmp_path / "other").write_bytes(zip_of({"a.py": b""}))
        match what:
            case "link":
                wheel.symlink_to(tmp_path / "other")
            case "hard link":
                wheel.hardlink_to(tmp_path / "other")
            case "pipe":
                os.mkfifo(wheel)
            case "other":
                (folder / "evil.sh").write_text("rm -r /")
            case "two":
                wheel.write_bytes(zip_of({"a.py": b""}))
                (folder / "shop-2.whl").write_bytes(zip_of({"a.py": b""}))
            case "no zip":
                wheel.write_bytes(b"PK\3\4 no zip")
            case "many":
                wheel.write_bytes(zip_of({f"{number}.py": b"" for number in range(5_001)}))
            case "twice":
                with zipfile.ZipFile(wheel, "w") as written:
                    written.writestr("a.py", "safe")
                    with pytest.warns(UserWarning, match="Duplicate"):
                        written.writestr("a.py", "evil")
        with pytest.raises(CallFailed) as refused:
            build_in(tmp_path).python(folder)
        assert (refused.value.transient, refused.value.kind in {"bad_package", "package_too_large"}) == (False, True)

    @pytest.mark.parametrize("name", ["../a.py", "/a.py", "a/../../b", "a//b", "a\\b", "./a"])
    def test_a_path_that_leads_out_of_a_package_is_refused(self, tmp_path: Path, name: str) -> None:
        (tmp_path / "shop-1.whl").write_bytes(zip_of({name: b""}))
        with pytest.raises(CallFailed, match="leads out"):
            build_in(tmp_path).python(tmp_path)
        with pytest.raises(CallFailed, match="leads out"):
            in_tar(io.BytesIO(archive((name, b""))), "shop-1.tar.gz")

    def test_a_bomb_is_read_up_to_its_bound(self, tmp_path: Path) -> None:
        (tmp_path / "shop-1.whl").write_bytes(zip_of({"a.py": bytes(MOST_BYTES + 1)}))
        with pytest.raises(CallFailed, match="more than"):
            build_in(tmp_path).python(tmp_path)

    @pytest.mark.parametrize("packing", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
    def test_a_bomb_that_unpacks_at_once_is_not_unpacked(self, tmp_path: Path, packing: int) -> None:
        with zipfile.ZipFile(tmp_path / "shop-1.whl", "w", packing) as written:
            written.writestr("a.py", bytes(MOST_BYTES // 2))
        tracemalloc.start()
        try:
            with pytest.raises(CallFailed, match=r"a\.py"):
                build_in(tmp_path).python(tmp_path)
            assert tracemalloc.get_traced_memory()[1] < MOST_BYTES // 8
        finally:
            tracemalloc.stop()

    def test_a_list_of_files_without_end_is_not_read(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        files = {f"{number}.py": b"" for number in range(100)}
        (tmp_path / "shop-1.whl").write_bytes(zip_of(files))
        monkeypatch.setattr(archives, "DIRECTORY_BYTES", 5_000)
        with pytest.raises(CallFailed, match="no archive that can be read"):
            build_in(tmp_path).python(tmp_path)
        monkeypatch.setattr(archives, "DIRECTORY_BYTES", 6_000)
        assert len(archives.in_zip(io.BytesIO(zip_of(files)), "shop-1.whl")) == len(files)

    def test_heads_of_heads_of_a_source_distribution_are_refused(self, tmp_path: Path) -> None:
        head = tarfile.TarInfo("x")
        head.type, head.size = tarfile.XHDTYPE, 12
        heads = (head.tobuf(tarfile.USTAR_FORMAT) + b"12 path=abc\n".ljust(512, b"\0")) * 1_000
        content = gzip.compress(heads + tarfile.TarInfo("a").tobuf() + bytes(1_024))
        with pytest.raises(CallFailed, match="no archive that can be read"):
            in_tar(io.BytesIO(content), "shop-1.tar.gz")
        with pytest.raises(TargetRefused, match="no archive that can be unpacked"):
            unpack(TargetFolder(tmp_path), io.BytesIO(content), "shop-1.tar.gz", strict=True)

    @pytest.mark.parametrize("name", ["a/" * 200 + "a.py", "a" * 1_001])
    def test_a_path_without_end_is_refused(self, tmp_path: Path, name: str) -> None:
        (tmp_path / "shop-1.whl").write_bytes(zip_of({name: b""}))
        with pytest.raises(CallFailed, match="too long or too deep"):
            build_in(tmp_path).python(tmp_path)

    @pytest.mark.parametrize("odd", ['!!int ""', "!!bool x", "!!timestamp x", "1:1" + ":1" * 400 + ".5"])
    def test_odd_words_in_a_template_of_functions_are_text(self, odd: str) -> None:
        text = FUNCTION["template.yaml"] + f"Metadata:\n  Odd: {odd}\n"
        assert [*functions_in(text.encode())] == [*functions_in(FUNCTION["template.yaml"].encode())]

    def test_a_link_in_a_source_distribution_is_refused(self) -> None:
        link = tarfile.TarInfo("shop-1/a")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        with pytest.raises(CallFailed, match="no plain file"):
            in_tar(io.BytesIO(archive(link)), "shop-1.tar.gz")


def zip_of(files: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    return content.getvalue()


def build_in(folder: Path) -> ProjectBuild:
    parameters = PackageParameters.model_validate(
        {"artifact_id": "shop", "code": PackageDesk(folder / "d").code(LIBRARY)}
    )
    return ProjectBuild(stored_context(folder / "s", parameters=parameters), folder, ["pyproject.toml"], folder)
