"""The rules of the house: who may import whom, what stays out of the pure part, how large things may grow."""

import ast
import importlib
import re
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tests.conftest import ROOT

FUNCTIONS = ROOT / "functions"
PACKAGES = (FUNCTIONS, ROOT / "flowc")
MODULES = {path.relative_to(ROOT).as_posix(): path for package in PACKAGES for path in sorted(package.rglob("*.py"))}
DEPLOYABLE = sorted({path.parent for path in FUNCTIONS.glob("*/*.py") if not path.parent.name.startswith("_")})

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 50
MIN_FILE_LINES = 30
SMALL_FILES = {
    "functions/_adapters/aws/secrets.py": "only AWS needs it, and only where a secret is named",
    "functions/_adapters/memory/sink.py": "tests and the simulator take it without the store",
    "functions/_core/machine/advance.py": "the one entry to the machines, beside what they are made of",
    "functions/_core/machine/context.py": "every function takes it, without the machines",
    "functions/_core/records/hedge.py": "the record of a ticket has it, `attempts` looks at both",
    "functions/_core/records/statistics.py": "every store returns it",
    "functions/_core/placement/weights.py": "settings read weights without what turns import",
    "functions/_engine/cluster_freezes.py": "only where a cluster is named does a process import its client",
    "functions/_engine/clock.py": "the one reader of time and chance",
    "functions/_engine/executor_settings.py": "`settings.py` is at its bound",
    "functions/_engine/healing_settings.py": "`settings.py` is at its bound",
    "functions/_engine/queue_heartbeat.py": "only a process that is its own broker runs it",
    "functions/_engine/version.py": "the build reads it without importing anything",
    "functions/_engine/wiring_healing.py": "only a process that heals imports its function",
    "functions/_engine/wiring_slo.py": "only a process that has to do with SLOs imports their functions",
    "functions/_engine/wiring_webhooks.py": "only a process that calls webhooks imports their function",
    "functions/_hosts/wiring_api.py": "its web framework is imported where the api is served, and nowhere else",
    "functions/_observability/query_metrics.py": "only the api counts queries",
    "functions/_simulator/clock.py": "only the simulator has a clock that jumps",
    "functions/api/waiting.py": "two routes wait, each in its own file",
}
"""Files of fewer than `MIN_FILE_LINES` lines, and why each is one."""

# "functions/<path>.py" or "functions/<path>.py::<function>" -> why it may be longer.
SIZE_EXEMPTIONS: dict[str, str] = {}

SHELL = (
    "_engine",
    "_observability",
    "_hosts",
    "_executors",
    "_learning",
    "_worker",
    "_cli",
    "_simulator",
    "_cost",
    "client",
    "worker",
    "plan.py",
)
"""The rooms that may read clocks, chance and the environment."""

# The first pattern that fits a module's path says which of our packages it may import: those below it, never upward.
CORE, ADAPTERS, OBSERVABILITY, ENGINE, HOSTS, EXECUTORS, WORKER = (
    f"functions._{room}" for room in ("core", "adapters", "observability", "engine", "hosts", "executors", "worker")
)
MAY_IMPORT = {
    r"flowc/__init__\.py": (f"{ENGINE}.version",),
    r"flowc/__main__\.py": ("functions._cli",),
    r"flowc/plan\.py": (),
    r"flowc/executor\.py": (CORE, EXECUTORS),
    r"flowc/client/.*": ("flowc.client", f"{CORE}.events", f"{CORE}.records", f"{ENGINE}.version"),
    r"flowc/worker/.*": ("flowc", CORE, ADAPTERS, OBSERVABILITY, WORKER),
    r"__main__\.py": (HOSTS, "functions._cli"),
    r"_core/.*": (CORE,),
    r"_adapters/.*": (CORE, ADAPTERS),
    r"_observability/.*": (CORE, OBSERVABILITY),
    r"_(?:engine|hosts)/wiring.*": ("functions",),
    r"_engine/.*": (CORE, ADAPTERS, OBSERVABILITY, ENGINE),
    r"_hosts/.*": (CORE, ADAPTERS, OBSERVABILITY, ENGINE, HOSTS),
    r"_executors/.*": (CORE, f"{ADAPTERS}.http", OBSERVABILITY, EXECUTORS),
    r"_worker/.*": (CORE, ADAPTERS, OBSERVABILITY, ENGINE, HOSTS, EXECUTORS, WORKER),
    r"_(?:cli|simulator|cost)/.*": ("functions",),
    r"(\w+)/handler\.py": (HOSTS, r"functions.\1"),
    r"_learning/.*": (CORE, "functions._learning"),
    r"(learn|analyze)/function\.py": (CORE, r"functions.\1"),
    r"run_executor/function\.py": (CORE, EXECUTORS),
    r"(\w+)/function\.py": (CORE,),
    r"(\w+)/.*": (CORE, r"functions.\1"),
}

IMPURE = {
    "asyncio",
    "http.client",
    "io",
    "logging",
    "os",
    "pathlib",
    "socket",
    "sqlite3",
    "subprocess",
    "sys",
}
CLOCKS_AND_CHANCE = {"os.environ", "os.getenv", "random", "secrets", "time", "uuid.uuid1", "uuid.uuid4"}
CLOCK_CALLS = {f"{kind}.{call}" for kind in ("datetime", "date") for call in ("now", "utcnow", "today")}

# Written so that this file does not contain what it looks for.
FORBIDDEN_TEXT = re.compile(
    r"pypi[.]org|pythonhosted[.]org|npmjs[.]org|(?i:index[-_]url)|\bTO[D]O\b|\bFIX[M]E\b"
    + (rf"|{re.escape(str(ROOT))}\b" if len(ROOT.parts) > 2 else "")  # "/app" is also a path in images
)


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imports(path: Path) -> Iterator[str]:
    """Yield every imported thing as a dotted name; `from a import b` gives `a.b`."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{'.' * node.level}{node.module or ''}.{alias.name}" for alias in node.names)


def within(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def allowed(module: str) -> list[str]:
    """Return which of our packages `module`, a path such as `functions/_core/planning/graph.py`, may import."""
    for pattern, packages in MAY_IMPORT.items():
        if match := re.fullmatch(pattern, module.removeprefix("functions/")):
            return [match.expand(package) for package in packages]
    return []


def test_every_module_imports_only_the_rooms_it_may() -> None:
    offences = [
        f"{module} imports {name}"
        for module, path in MODULES.items()
        for name in imports(path)
        if within(name, "flowc", "functions", "tests", "events", "infra") or name.startswith(".")
        if not within(name, *allowed(module))
    ]
    assert offences == []


def test_no_files_import_each_other_in_a_circle() -> None:
    names = {module.removesuffix(".py").removesuffix("/__init__").replace("/", "."): module for module in MODULES}

    def module_of(name: str) -> str:
        while name not in names and "." in name:
            name = name.rpartition(".")[0]
        return name

    graph = {
        name: {module_of(found) for found in imports(MODULES[module])} & names.keys() - {name}
        for name, module in names.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as circle:
        pytest.fail(" <- ".join(circle.args[1]))


def test_no_room_is_a_quarter_of_the_code() -> None:
    lines: Counter[str] = Counter()
    for module, path in MODULES.items():
        _, room, *below = module.split("/")
        lines["/".join([room, *below[:1]] if room in {"_core", "_adapters"} else [room])] += len(
            path.read_text(encoding="utf-8").splitlines()
        )
    assert [room for room, size in lines.items() if size >= lines.total() / 4] == []


DECLARED = ("functions", "cronsim", "msgspec", "pydantic", "pydantic_core", "celpy", "lark", "re2", "yaml")
"""Packages of the core beside the standard library: its own, those that declare data, and pure ones without a clock."""


def test_the_core_imports_declarations_of_data_and_pure_standard_library_only() -> None:
    offences = [
        f"{module} imports {name}"
        for module, path in MODULES.items()
        if module.startswith("functions/_core/")
        for name in imports(path)
        if within(name, *IMPURE) or name.partition(".")[0] not in {*sys.stdlib_module_names, *DECLARED}
    ]
    assert offences == []


def attributes(path: Path) -> Iterator[tuple[int, str]]:
    """Yield every attribute that is read, `a.b.c`, with its line."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Attribute):
            yield node.lineno, ast.unparse(node)


def test_clocks_randomness_and_environment_are_read_in_the_shell_only() -> None:
    offences = []
    for module, path in MODULES.items():
        if module.split("/")[1] in SHELL:
            continue
        offences += [f"{module} imports {name}" for name in imports(path) if within(name, *CLOCKS_AND_CHANCE)]
        offences += [
            f"{module}:{line} reads {name}"
            for line, name in attributes(path)
            if name in CLOCKS_AND_CHANCE or ".".join(name.split(".")[-2:]) in CLOCK_CALLS
        ]
    assert offences == []


IMPORT_ALL = """
import importlib, sys

def refuse(event, arguments):
    if event.startswith("socket.") or event == "subprocess.Popen":
        raise RuntimeError(f"{event} at import")

sys.addaudithook(refuse)
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except BaseException as error:
        sys.exit(f"{name}: {error!r}")
"""


def test_every_module_imports_with_an_empty_environment_and_no_network() -> None:
    names = [module.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for module in MODULES]
    run = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL, *names],
        cwd=ROOT,
        env={},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, run.stderr) == (0, "")


def sizes() -> Iterator[tuple[str, int, int]]:
    """Yield what is measured, its lines and its limit."""
    for module, path in MODULES.items():
        yield module, len(path.read_text(encoding="utf-8").splitlines()), MAX_FILE_LINES
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
                yield f"{module}::{node.name}", node.end_lineno - node.lineno + 1, MAX_FUNCTION_LINES


def test_no_file_and_no_function_outgrows_its_limit_without_a_reason() -> None:
    too_long = {name: f"{name}: {lines} of {limit} lines" for name, lines, limit in sizes() if lines > limit}
    assert [text for name, text in too_long.items() if not SIZE_EXEMPTIONS.get(name)] == []
    assert SIZE_EXEMPTIONS.keys() - too_long.keys() == set(), "exemptions that are no longer needed"


def test_every_file_is_worth_a_file_or_has_a_reason() -> None:
    named = {"__init__.py", "__main__.py", "handler.py", "function.py"}
    lines = {module: len(path.read_text(encoding="utf-8").splitlines()) for module, path in MODULES.items()}
    small = {module for module, size in lines.items() if size < MIN_FILE_LINES and Path(module).name not in named}
    assert small - SMALL_FILES.keys() == set()
    assert SMALL_FILES.keys() - small == set(), "reasons that are no longer needed"


def test_no_class_name_is_defined_twice_in_a_package() -> None:
    # What users import has the names that they know, whatever the platform calls its own.
    found: dict[tuple[str, str], list[str]] = {}
    for module, path in MODULES.items():
        for node in tree(path).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found.setdefault((module.partition("/")[0], node.name), []).append(module)
    assert {name: modules for name, modules in found.items() if len(modules) > 1} == {}


def test_every_event_function_says_what_it_consumes_and_emits_and_when_it_gives_up() -> None:
    offences = []
    for folder in DEPLOYABLE:
        if folder.name == "api":
            continue
        function = folder / "function.py"
        docstring = (ast.get_docstring(tree(function)) or "") if function.exists() else ""
        offences += [
            f"{folder.name}/function.py does not say {word!r}"
            for word in ("Consumes", "Emits", "Gives up")
            if word not in docstring
        ]
    assert offences == []


def test_every_deployable_function_can_be_served_and_exposes_what_its_folder_says() -> None:
    from functions._hosts.entry import NAMES

    assert sorted(NAMES) == [folder.name for folder in DEPLOYABLE]
    for name in set(NAMES) - {"api"}:
        handler = importlib.import_module(f"functions.{name}.handler")
        assert (handler.new.__name__, handler.new().name) == ("new", name)


def test_every_module_is_named_for_what_it_is() -> None:
    assert [module for module in MODULES if re.search(r"/(utils?|common|helpers?|misc)\.py$", module)] == []


def test_nobody_else_installs_a_package_named_like_ours() -> None:
    providers = packages_distributions()
    ours = ["flowc", "functions", *(folder.name for folder in DEPLOYABLE)]
    assert {name: providers[name] for name in ours if set(providers.get(name, ())) - {"flowc"}} == {}


def committed_files() -> list[Path]:
    git = ["git", "-c", "safe.directory=*", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    try:
        listing = subprocess.run(git, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    except (FileNotFoundError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout, so nobody can say which files are ours")
    return [path for name in listing.split("\0") if name and (path := ROOT / name).is_file()]


def test_no_file_names_a_registry_or_this_machine_or_leaves_work_behind() -> None:
    offences = []
    for path in committed_files():
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="ignore").splitlines(), 1):
            if found := FORBIDDEN_TEXT.search(line):
                offences.append(f"{path.relative_to(ROOT)}:{number} has {found[0]}")
    assert offences == []


def pins(name: str) -> dict[str, str]:
    text = (ROOT / "infra" / "requirements" / f"{name}.txt").read_text(encoding="utf-8")
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", text, re.MULTILINE))


def test_the_requirement_files_pin_what_the_project_asks_for_and_agree() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras: dict[str, list[str]] = project["optional-dependencies"]
    everything = pins("dev")
    for name, asked in {"base": [], **extras}.items():
        wanted = {re.split(r"[<>=~! \[;]", line)[0] for line in [*project["dependencies"], *asked]}
        assert wanted - pins(name).keys() == set(), f"missing from {name}.txt; run `make requirements`"
        assert pins(name).items() <= everything.items(), f"{name}.txt disagrees with dev.txt"
