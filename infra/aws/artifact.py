"""Checks what `sam build` has made, and finishes it. `infra/aws/build` runs this; it needs what SAM brings along.

finish RUNTIME [PYTHON]   all functions have the same, our code and pinned distributions only: keep it once, drop what
                          botocore has for services that nobody calls, and compile the rest with PYTHON
imports                   try every import in our code, as the functions meet it
"""

import ast
import csv
import hashlib
import importlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / ".aws-sam" / "build"
REQUIREMENTS = ROOT / "infra" / "requirements" / "lambda.txt"

SERVICES = frozenset({"dynamodb", "events", "s3", "secretsmanager", "sqs"})
"""What the functions call. botocore describes 430 more services, three quarters of the artifact."""

ELSEWHERE = frozenset(
    {"aiobotocore", "asyncpg", "func_python", "httpx", "opentelemetry.sdk", "rich", "typer", "uvicorn", "uvloop"}
)
"""What our code imports on other platforms only, where it gets there."""


def functions(template: dict[str, Any]) -> dict[str, Path]:
    """Return the folder of each function."""
    return {
        name: BUILD / resource["Properties"]["CodeUri"]
        for name, resource in template["Resources"].items()
        if resource["Type"] == "AWS::Serverless::Function"
    }


def files(folder: Path) -> Iterator[str]:
    """Yield the files in a folder, by their paths in it, in order."""
    yield from sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())


def digest(folder: Path) -> str:
    """Return a hash of a folder: of names and contents, not of times."""
    found = hashlib.sha256()
    for name in files(folder):
        content = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        found.update(f"{content} {name}\n".encode())
    return found.hexdigest()


def distributions(folder: Path) -> tuple[set[str], set[str]]:
    """Return which distributions a folder holds, `name==version`, and the files that are theirs by their records."""
    names: set[str] = set()
    owned: set[str] = set()
    for info in folder.glob("*.dist-info"):
        name, version = info.name.removesuffix(".dist-info").rsplit("-", 1)
        names.add(f"{re.sub('[-_.]+', '-', name).lower()}=={version}")
        with (info / "RECORD").open(encoding="utf-8", newline="") as record:
            owned |= {row[0] for row in csv.reader(record)}
    return names, owned


def problems(folder: Path, source: Path, requirements: str) -> Iterator[str]:
    """Yield what is in an artifact and should not be, and what should be and is not."""
    names, owned = distributions(folder)
    pinned = set(re.findall(r"^([a-z0-9.-]+==[^ \\]+)", requirements, re.MULTILINE))
    yield from (f"{name} is not pinned" for name in sorted(names - pinned))
    yield from (f"{name} is missing" for name in sorted(pinned - names))
    ours = {f"functions/{name}" for name in files(source) if "__pycache__" not in name}
    found = set(files(folder))
    yield from (f"{name} is nobody's" for name in sorted(found - owned - ours))
    yield from (f"{name} is missing" for name in sorted(ours - found))
    for name in sorted(ours & found):
        if (folder / name).read_bytes() != (source / name.removeprefix("functions/")).read_bytes():
            yield f"{name} is not as in functions/"


def strip(folder: Path) -> None:
    """Drop the descriptions of services that are not called, and where these are: a megabyte that each start reads."""
    data = folder / "botocore" / "data"
    for service in data.iterdir():
        if service.is_dir() and service.name not in SERVICES:
            shutil.rmtree(service)
    regions = data / "endpoints.json"
    endpoints = json.loads(regions.read_text(encoding="utf-8"))
    for partition in endpoints["partitions"]:
        partition["services"] = {name: known for name, known in partition["services"].items() if name in SERVICES}
    regions.write_text(json.dumps(endpoints, separators=(",", ":")), encoding="utf-8")


def compiled(folder: Path, python: str) -> None:
    """Compile all modules, whose times nobody need compare: no source changes once it is deployed."""
    options = ["-q", "-j", "0", "--invalidation-mode", "unchecked-hash", "-s", str(folder), "-p", "/var/task"]
    subprocess.run([python, "-m", "compileall", *options, str(folder)], check=True)


def size(folder: Path) -> str:
    """Return what a folder takes as it is and zipped, and what of it is bytecode, as people read it."""
    with tempfile.TemporaryFile() as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in files(folder):
                archive.write(folder / name, name)
        zipped = file.tell()
    sizes = {name: (folder / name).stat().st_size for name in files(folder)}
    bytecode = sum(taken for name, taken in sizes.items() if name.endswith(".pyc"))
    return f"{sum(sizes.values()) / 1e6:.1f} MB ({bytecode / 1e6:.1f} of it bytecode), {zipped / 1e6:.1f} MB zipped"


def finish(runtime: str, python: str | None = None) -> None:
    """Check and finish what was built, and let the template that is deployed say what it was built for."""
    from samcli.yamlhelper import yaml_dump, yaml_parse

    path = BUILD / "template.yaml"
    template = yaml_parse(path.read_text(encoding="utf-8"))
    built = functions(template)
    folder, *others = sorted(set(built.values()))
    if different := [other.name for other in others if digest(other) != digest(folder)]:
        sys.exit(f"sam: {', '.join(different)} differ from {folder.name}")
    if wrong := [*problems(folder, ROOT / "functions", REQUIREMENTS.read_text(encoding="utf-8"))]:
        sys.exit("sam: the artifact is not what it should be:\n  " + "\n  ".join(wrong[:20]))
    strip(folder)
    if python is not None:
        compiled(folder, python)
    for other in others:
        shutil.rmtree(other)
    for name in built:
        template["Resources"][name]["Properties"]["CodeUri"] = folder.name
    template["Parameters"]["Runtime"] |= {"Default": runtime, "AllowedValues": [runtime]}
    template["Mappings"]["Artifact"]["Functions"]["Hash"] = whole = digest(folder)
    path.write_text(yaml_dump(template), encoding="utf-8")
    print(f"sam: {len(built)} functions, identical: .aws-sam/build/{folder.name}, {size(folder)}, sha256 {whole[:16]}")


def asked(module: str) -> Iterator[str]:
    """Yield what a module imports, wherever in it."""
    source = Path(str(sys.modules[module].__file__)).read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def imports() -> None:
    """Import all handlers, and whatever a function that they lead to may import later; exit with what is missing."""
    with tempfile.TemporaryDirectory() as folder:
        # Wheels in the artifact are for another machine: beside our code there, those of this Python are used.
        [built] = BUILD.glob("*/functions")
        (Path(folder) / "functions").symlink_to(built)
        sys.path[:] = [folder, *sys.path[1:]]
        waiting = [f"functions.{handler.parent.name}.handler" for handler in built.glob("*/handler.py")]
        known, missing = set(waiting), set()
        while waiting:
            name = waiting.pop()
            try:
                importlib.import_module(name)
            except ImportError as error:
                if not any(f"{error.name}.".startswith(f"{other}.") for other in ELSEWHERE):
                    missing.add(f"{name}: {error}")
                continue
            found = set(asked(name)) - known if name.partition(".")[0] == "functions" else set()
            known |= found
            waiting += found
    if missing:
        sys.exit("sam: neither in lambda.txt nor in the artifact:\n  " + "\n  ".join(sorted(missing)))
    ours = sum(name.startswith("functions.") for name in known)
    print(f"sam: all imports of {ours} modules found, with Python {sys.version.split()[0]} and lambda.txt only")


COMMANDS: Mapping[str, Callable[..., None]] = {"finish": finish, "imports": imports}

if __name__ == "__main__":
    COMMANDS[sys.argv[1]](*sys.argv[2:])
