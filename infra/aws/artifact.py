"""Checks what `sam build` has made, and finishes it. `infra/aws/build` runs this; it needs what SAM brings along.

finish RUNTIME [PYTHON]   all functions have the same, pinned distributions and our modules that a function can reach:
                          keep it once, drop what botocore has for services that nobody calls, compile with PYTHON
imports                   try every import in our code, as the functions meet it
layer                     drop what only tests and compilers need of the layer of `infra/aws/layer`, and check its size
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
    {
        "aiobotocore",
        "asyncpg",
        "cryptography",
        "func_python",
        "httpx",
        "jwt",
        "numpy",
        "opentelemetry.sdk",
        "pyarrow",
        "rich",
        "sklearn",
        "threadpoolctl",
        "typer",
        "uvicorn",
        "uvloop",
    }
)
"""Packages that are absent on Lambda. A module of ours that cannot be imported without one serves other platforms; the
function Learn may have numpy and sklearn, by the layer, and imports them where it trains."""

LAYER = ROOT / ".aws-sam" / "learn-layer" / "python"

LARGEST = 262_144_000
"""Bytes that a function and its layers may have together, unzipped."""

OURS = 76_000_000
"""Bytes of them that are left for the functions, which take 70 MB."""

SPARED = frozenset({"tests", "include", "bin", "doc"})
"""Folders that only tests, compilers and people need; `numpy.testing` wants its own ones, see `thinned`."""


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


def modules(source: Path) -> dict[str, Path]:
    """Return our modules by their names in full, `source` being the package `functions`."""
    named = {path.relative_to(source).with_suffix("").parts: path for path in sorted(source.rglob("*.py"))}
    return {".".join(("functions", *parts)).removesuffix(".__init__"): path for parts, path in named.items()}


def asked(path: Path) -> tuple[set[str], set[str]]:
    """Return the names that a module imports when it is imported itself, and those that it may import, then or later.

    `from a import b` gives `a.b`. Imports for type checkers only are left out.
    """
    at_once: set[str] = set()
    ever: set[str] = set()
    waiting: list[tuple[ast.AST, bool]] = [(ast.parse(path.read_text(encoding="utf-8")), True)]
    while waiting:
        node, now = waiting.pop()
        names: set[str] = set()
        if isinstance(node, ast.Import):
            names = {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names = {f"{node.module}.{alias.name}" for alias in node.names}
        ever |= names
        at_once |= names if now else set()
        checked = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        parts = node.orelse if isinstance(node, ast.If) and checked else ast.iter_child_nodes(node)
        now = now and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        waiting += [(part, now) for part in parts]
    return at_once, ever


def parents(name: str) -> list[str]:
    """Return a dotted name and all that it begins with, the longest first."""
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(len(parts), 0, -1)]


def reachable(source: Path) -> set[str]:
    """Return the names of the modules that a handler can reach by imports, those that need `ELSEWHERE` left out."""
    paths = modules(source)
    imported = {name: asked(path) for name, path in paths.items()}

    def ours(names: set[str]) -> set[str]:
        return {
            next(known for known in parents(name) if known in paths) for name in names if name.startswith("functions.")
        }

    elsewhere = {
        name for name, (at_once, _) in imported.items() if any(ELSEWHERE & {*parents(other)} for other in at_once)
    }
    while more := {name for name, (at_once, _) in imported.items() if ours(at_once) & elsewhere} - elsewhere:
        elsewhere |= more
    found: set[str] = set()
    waiting = {name for name in paths if name.endswith(".handler")}
    while waiting:
        found |= waiting
        waiting = {other for name in waiting for other in ours(imported[name][1])} - elsewhere - found
    return {parent for name in found for parent in parents(name) if parent in paths}


def belonging(source: Path) -> set[str]:
    """Return the files of ours that may be in an artifact: what functions reach, and the data beside such a module.

    A folder without modules is beside those of the folder around it.
    """
    paths = modules(source)
    kept = {paths[name].relative_to(source) for name in reachable(source)}
    rooms = {path.parent for path in kept if path.name != "__init__.py"}
    all_rooms = {path.relative_to(source).parent for path in paths.values()}
    data = {Path(name) for name in files(source) if "__pycache__" not in name and not name.endswith(".py")}
    beside = {path for path in data if next(parent for parent in path.parents if parent in all_rooms) in rooms}
    return {f"functions/{path.as_posix()}" for path in kept | beside}


def trim(folder: Path, source: Path) -> int:
    """Remove from an artifact the files of ours that no function can reach; return how many modules these were."""
    ours = {f"functions/{name}" for name in files(source) if "__pycache__" not in name}
    surplus = sorted(ours - belonging(source))
    for name in surplus:
        (folder / name).unlink(missing_ok=True)
    for room in sorted((folder / "functions").rglob("*/"), reverse=True):
        if room.is_dir() and not any(room.iterdir()):
            room.rmdir()
    return sum(name.endswith(".py") for name in surplus)


def problems(folder: Path, source: Path, requirements: str) -> Iterator[str]:
    """Yield what is in an artifact and may not be, and what should be and is not."""
    names, owned = distributions(folder)
    pinned = set(re.findall(r"^([a-z0-9.-]+==[^ \\]+)", requirements, re.MULTILINE))
    yield from (f"{name} is not pinned" for name in sorted(names - pinned))
    yield from (f"{name} is missing" for name in sorted(pinned - names))
    ours = belonging(source)
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


def thinned(folder: Path) -> int:
    """Drop from a layer what nobody imports; return the bytes that it takes then."""
    # numpy.testing, which scipy imports, has its strings for missing values from the tests of numpy's core.
    kept = folder / "numpy" / "_core" / "tests"
    for room in sorted(folder.rglob("*/"), reverse=True):
        if room.name in SPARED and room != kept and room.is_dir():
            shutil.rmtree(room)
    for path in folder.rglob("*"):
        heavy = path.suffix in {".a", ".c", ".h", ".pxd", ".pyi", ".pyx"}
        of_tests = kept in path.parents and path.name not in {"__init__.py", "_natype.py"}
        if path.is_file() and (heavy or of_tests):
            path.unlink()
    return sum((folder / name).stat().st_size for name in files(folder))


def layer() -> None:
    """Finish the layer; exit where it is too large to stand beside the functions."""
    taken = thinned(LAYER)
    print(f"layer: {taken / 1e6:.1f} MB of {LARGEST / 1e6:.0f}; {OURS / 1e6:.0f} of them are left for the functions")
    if taken > LARGEST - OURS:
        sys.exit("layer: it is too large")


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

    path, source = BUILD / "template.yaml", ROOT / "functions"
    template = yaml_parse(path.read_text(encoding="utf-8"))
    built = functions(template)
    folder, *others = sorted(set(built.values()))
    if different := [other.name for other in others if digest(other) != digest(folder)]:
        sys.exit(f"sam: {', '.join(different)} differ from {folder.name}")
    dropped = trim(folder, source)
    if wrong := [*problems(folder, source, REQUIREMENTS.read_text(encoding="utf-8"))]:
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
    print(
        f"sam: {len(modules(folder / 'functions'))} modules of ours; {dropped} that no function can reach are left out"
    )
    print(f"sam: {len(built)} functions, identical: .aws-sam/build/{folder.name}, {size(folder)}, sha256 {whole[:16]}")


def imports() -> None:
    """Import all of our modules in the artifact, and all that these may import later; exit with what is missing."""
    missing: set[str] = set()
    with tempfile.TemporaryDirectory() as folder:
        # Wheels in the artifact are for another machine: beside our code there, those of this Python are used.
        [built] = BUILD.glob("*/functions")
        (Path(folder) / "functions").symlink_to(built)
        sys.path[:] = [folder, *sys.path[1:]]
        ours = modules(built)
        for name, path in ours.items():
            foreign = {other for other in asked(path)[1] if not other.startswith("functions.")}
            for wanted in (name, *foreign):
                if not importable(wanted) and not ELSEWHERE & {*parents(wanted)}:
                    missing.add(f"{name}: {wanted}")
    if missing:
        sys.exit("sam: neither in lambda.txt nor in the artifact:\n  " + "\n  ".join(sorted(missing)))
    print(f"sam: all imports of {len(ours)} modules found, with Python {sys.version.split()[0]} and lambda.txt only")


def importable(name: str) -> bool:
    """Whether there is a module of this name, or one that has what the last part of it names."""
    module, _, attribute = name.rpartition(".")
    try:
        return not module or hasattr(importlib.import_module(module), attribute) or bool(importlib.import_module(name))
    except ImportError:
        return False


COMMANDS: Mapping[str, Callable[..., None]] = {"finish": finish, "imports": imports, "layer": layer}

if __name__ == "__main__":
    COMMANDS[sys.argv[1]](*sys.argv[2:])
