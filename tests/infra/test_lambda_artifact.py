"""The artifact holds pinned distributions and the modules of ours that a function can reach, and nothing else."""

import importlib.util
import json
import re
import shutil
import subprocess
from itertools import product
from pathlib import Path
from types import ModuleType

import botocore
import pytest
from botocore.loaders import Loader
from botocore.session import Session

from tests.conftest import ROOT
from tests.support.cloudformation import Stack, document, listed

SCRIPT = ROOT / "infra" / "aws" / "artifact.py"
PINS = re.compile(r"^([a-z0-9.-]+)==(\S+)(.*)$", re.MULTILINE)


@pytest.fixture(scope="module")
def artifact() -> ModuleType:
    """Give the script as a module."""
    spec = importlib.util.spec_from_file_location("artifact", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def kept(artifact: ModuleType) -> set[str]:
    """Give the files of ours that are in the artifact; all of our code is read for that."""
    found: set[str] = artifact.belonging(ROOT / "functions")
    return found


@pytest.fixture
def source(tmp_path: Path) -> Path:
    texts = {"validate/handler.py": "from functions._core import x", "_core/__pycache__/x.pyc": "", "_core/x.py": "2"}
    return written(tmp_path / "source", texts)


@pytest.fixture
def built(tmp_path: Path) -> Path:
    return written(
        tmp_path / "built",
        {
            "functions/validate/handler.py": "from functions._core import x",
            "functions/_core/x.py": "2",
            "some_thing/__init__.py": "",
            "some_thing-1.0.dist-info/RECORD": "some_thing/__init__.py,,\nsome_thing-1.0.dist-info/RECORD,,\n",
        },
    )


def written(folder: Path, texts: dict[str, str]) -> Path:
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def pins(name: str) -> dict[str, str]:
    text = (ROOT / "infra" / "requirements" / f"{name}.txt").read_text(encoding="utf-8")
    return {found[1]: found[2] for found in PINS.finditer(text)}


def test_an_artifact_of_our_code_and_its_pins_is_right(artifact: ModuleType, built: Path, source: Path) -> None:
    assert [*artifact.problems(built, source, "some-thing==1.0 \\\n    --hash=sha256:0a\n")] == []


MISTAKES = {
    "functions/validate/test_it.py is nobody's": {"functions/validate/test_it.py": ""},
    "functions/_cli/app.py is nobody's": {"functions/_cli/app.py": ""},
    "notes.txt is nobody's": {"notes.txt": ""},
    "some_thing/more.py is nobody's": {"some_thing/more.py": ""},
    "functions/_core/x.py is not as in functions/": {"functions/_core/x.py": "3"},
    "other==2 is not pinned": {"other-2.dist-info/RECORD": "other-2.dist-info/RECORD,,\n"},
}


@pytest.mark.parametrize("problem", MISTAKES)
def test_what_does_not_belong_there_is_found(artifact: ModuleType, built: Path, source: Path, problem: str) -> None:
    written(built, MISTAKES[problem])
    assert [*artifact.problems(built, source, "some-thing==1.0 \\\n")] == [problem]


def test_what_is_missing_is_found(artifact: ModuleType, built: Path, source: Path) -> None:
    (built / "functions" / "_core" / "x.py").unlink()
    found = [*artifact.problems(built, source, "some-thing==1.1 \\\n")]
    assert found == ["some-thing==1.0 is not pinned", "some-thing==1.1 is missing", "functions/_core/x.py is missing"]


REACHED = {
    "api/handler.py": "from functions._hosts import entry",
    "_hosts/entry.py": "def new():\n    from functions._hosts import cluster\n    from functions._core import sums",
    "_hosts/cluster.py": "import functions._hosts.server, functions._core.cluster_only",
    "_hosts/server.py": "from uvicorn import Server",
    "_core/__init__.py": "",
    "_core/sums.py": "if TYPE_CHECKING:\n    import functions._core.types\nelse:\n    import functions._core.later",
    "_core/later.py": "def trace():\n    import opentelemetry.sdk.trace",
    "_core/data.sql": "",
    "_core/pages/more/page.js": "",
    "_core/types.py": "",
    "_core/cluster_only.py": "",
    "_cli/data.json": "",
    "_cli/app.py": "import functions._core.sums",
    "__main__.py": "import functions._hosts.entry",
}


def test_a_module_belongs_to_the_artifact_if_a_handler_reaches_it_without_one_that_cannot_be_imported(
    artifact: ModuleType, tmp_path: Path
) -> None:
    source = written(tmp_path / "functions", REACHED)
    modules = ["_core/__init__.py", "_core/later.py", "_core/sums.py", "_hosts/entry.py", "api/handler.py"]
    data = ["_core/data.sql", "_core/pages/more/page.js"]
    assert sorted(artifact.belonging(source)) == [f"functions/{name}" for name in sorted([*modules, *data])]
    folder = tmp_path / "built"
    shutil.copytree(source, folder / "functions")
    assert artifact.trim(folder, source) == 6
    assert {*artifact.files(folder)} == artifact.belonging(source)
    assert not (folder / "functions" / "_cli").exists()


def test_rooms_of_other_platforms_stay_out_of_the_artifact(kept: set[str]) -> None:
    elsewhere = ("_cli/", "_simulator/", "_cost/", "_worker/", "_hosts/knative/", "_hosts/one_machine/", "__main__.py")
    others = ("_adapters/sql/postgres/", "_adapters/memory/")
    prefixes = tuple(f"functions/{room}" for room in (*elsewhere, *others))
    assert [name for name in kept if name.startswith(prefixes)] == []
    assert all(any((ROOT / "functions").glob(f"{room.rstrip('/')}*")) for room in (*elsewhere, *others))


def test_templates_of_the_forge_stay_out_although_modules_beside_them_do_not(
    artifact: ModuleType, kept: set[str], tmp_path: Path
) -> None:
    room = "functions/_executors/forge/templates/"
    assert {name for name in kept if name.startswith(room)} <= {f"{room}__init__.py"}
    texts = {
        "run/handler.py": "import functions._executors.forge.choose, functions._executors.forge.templates",
        "_executors/forge/choose.py": "",
        "_executors/forge/templates/__init__.py": "",
        "_executors/forge/templates/library/copier.yml": "",
    }
    reached = artifact.belonging(written(tmp_path / "functions", texts))
    assert {f"{room}__init__.py", "functions/_executors/forge/choose.py"} <= reached
    assert f"{room}library/copier.yml" not in reached


def test_two_folders_have_one_hash_if_they_have_the_same_files(
    artifact: ModuleType, built: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    built.rename(other)
    one = artifact.digest(other)
    assert re.fullmatch(r"[0-9a-f]{64}", one)
    written(other, {"functions/_core/x.py": "3"})
    assert artifact.digest(other) != one
    written(other, {"functions/_core/x.py": "2"})
    assert artifact.digest(other) == one
    (other / "functions" / "_core" / "x.py").rename(other / "functions" / "_core" / "y.py")
    assert artifact.digest(other) != one


def test_the_sdk_keeps_what_it_knows_of_the_services_that_roles_allow_to_call(
    artifact: ModuleType, tmp_path: Path
) -> None:
    called = {
        action.partition(":")[0]
        for role in Stack().of("AWS::IAM::Role").values()
        for statement in role["Policies"][0]["PolicyDocument"]["Statement"]
        for action in listed(statement["Action"])
    }
    assert called - {"logs"} == artifact.SERVICES, "logs are written by Lambda itself"
    names = {f"botocore/data/{name}/1/service-2.json": "" for name in (*artifact.SERVICES, "acm")}
    endpoints = json.dumps({"partitions": [{"services": {"acm": {}, "sqs": {}}}]})
    folder = written(tmp_path / "built", {**names, "botocore/data/endpoints.json": endpoints})
    artifact.strip(folder)
    assert {path.name for path in (folder / "botocore" / "data").iterdir()} == {*artifact.SERVICES, "endpoints.json"}


def test_the_sdk_finds_the_same_addresses_with_what_is_left_of_it(artifact: ModuleType, tmp_path: Path) -> None:
    data = Path(botocore.__file__).parent / "data"
    kept = tmp_path / "botocore" / "data"
    kept.mkdir(parents=True)
    for name in artifact.SERVICES:
        shutil.copytree(data / name, kept / name)
    for file in data.glob("*.json"):
        shutil.copy(file, kept)
    artifact.strip(tmp_path)
    regions = ("eu-central-1", "us-east-1", "cn-north-1", "us-gov-west-1", "af-south-9")
    addresses: list[list[str]] = []
    for folder in (data, kept):
        session = Session()
        loader = Loader(extra_search_paths=[str(folder)], include_default_search_paths=False)
        session.register_component("data_loader", loader)
        found = []
        for name, region in product(artifact.SERVICES, regions):
            client = session.create_client(name, region, aws_access_key_id="x", aws_secret_access_key="x")
            found.append(client.meta.endpoint_url)
            client.close()
        addresses.append(found)
    assert addresses[0] == addresses[1]


def test_what_functions_import_on_lambda_is_pinned_as_it_is_tested_and_the_same_for_every_python() -> None:
    assert pins("lambda").items() <= pins("dev").items()
    text = (ROOT / "infra" / "requirements" / "lambda.txt").read_text(encoding="utf-8")
    for found in PINS.finditer(text):
        assert found[3] == " \\", f"{found[1]} depends on the Python or platform: {found[3]}"
    assert not pins("lambda").keys() & {"pytest", "mypy", "ruff", "uvicorn", "typer", "rich", "asyncpg", "aiobotocore"}
    assert {"aws-sam-cli", "cfn-lint"} <= pins("sam").keys()


def test_what_trains_models_is_in_a_layer_of_its_own_and_in_no_function(artifact: ModuleType, kept: set[str]) -> None:
    assert pins("layer").items() <= pins("dev").items()
    assert pins("layer").keys() & pins("lambda").keys() == set()
    assert {"numpy", "scikit-learn", "scipy"} <= pins("layer").keys()
    assert "pyarrow" not in pins("layer"), "it would not fit"
    asked = {name for path in kept if path.endswith(".py") for name in artifact.asked(ROOT / path)[0]}
    assert not {name for name in asked if {"numpy", "scipy", "sklearn"} & {*artifact.parents(name)}}


def test_a_layer_loses_what_nobody_imports_and_its_size_is_told(artifact: ModuleType, tmp_path: Path) -> None:
    folder = written(
        tmp_path,
        {
            "sklearn/tree.py": "1",
            "sklearn/tests/test_tree.py": "22",
            "sklearn/_tree.pyx": "333",
            "numpy/include/a.h": "4444",
            "numpy/_core/tests/_natype.py": "55555",
            "numpy/_core/tests/test_it.py": "666666",
        },
    )
    assert artifact.thinned(folder) == 6
    assert [*artifact.files(folder)] == ["numpy/_core/tests/_natype.py", "sklearn/tree.py"]
    assert artifact.OURS < artifact.LARGEST == 250 * 1024 * 1024


def test_the_build_takes_the_runtime_of_the_template_and_wheels_for_its_architecture() -> None:
    template = document()
    script = (ROOT / "infra" / "aws" / "build").read_text(encoding="utf-8")
    [line] = re.findall(r"^default=.*$", script, re.MULTILINE)
    said = subprocess.run(
        ["bash", "-c", f"{line}; echo $default"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert said.strip() == template["Parameters"]["Runtime"]["Default"]
    assert template["Globals"]["Function"]["Architectures"] == ["arm64"]
    assert set(re.findall(r"manylinux\w*_(aarch64|x86_64)", script)) == {"aarch64"}
    assert "--require-hashes" in script
