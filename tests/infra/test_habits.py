"""What runs before a commit is what `make check` runs, in the same order."""

import re
import subprocess
from typing import Any

import yaml

from tests.conftest import ROOT

HOOKS = ROOT / ".pre-commit-config.yaml"


def checks() -> list[str]:
    """Return the commands of `make check`."""
    recipe = (ROOT / "Makefile").read_text(encoding="utf-8").partition("\ncheck:")[2].partition("\n\n")[0]
    return [line.removeprefix("\t@") for line in recipe.splitlines() if line.startswith("\t")]


def hooks() -> list[dict[str, Any]]:
    """Return the hooks, all of one repository: this one."""
    [repository] = yaml.safe_load(HOOKS.read_text(encoding="utf-8"))["repos"]
    assert repository.keys() == {"repo", "hooks"}
    assert repository["repo"] == "local"
    return list(repository["hooks"])


def test_a_commit_is_checked_as_make_check_does() -> None:
    assert [hook["entry"] for hook in hooks()] == checks()
    assert len(checks()) == 3


def test_hooks_use_the_tools_of_the_project_on_the_whole_of_it() -> None:
    for hook in hooks():
        assert hook["entry"].startswith(".venv/bin/")
        assert (hook["language"], hook["pass_filenames"], hook["always_run"]) == ("system", False, True)
    assert len({hook["id"] for hook in hooks()}) == len(hooks())


def test_types_are_checked_in_everything_that_the_project_names() -> None:
    files = re.findall(r"^files = \[(.*)\]$", (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    assert files == [", ".join(f'"{name}"' for name in checks()[-1].split()[2:])]


def test_what_the_checks_remember_is_kept_and_not_committed() -> None:
    for folder in (".mypy_cache", ".ruff_cache"):
        ignored = subprocess.run(["git", "check-ignore", "--quiet", f"{folder}/"], cwd=ROOT, check=False)
        assert ignored.returncode == 0, folder
        assert not any(folder in command or "--no-" in command for command in checks())


def test_one_command_runs_all_checks_builds_tests_simulations_and_benchmarks() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    commands = re.findall(r"^make (.*) \|\| failed=1", script, re.MULTILINE)
    targets = [word for command in commands for word in command.split() if re.fullmatch(r"[a-z][a-z-]+", word)]
    assert targets == ["check", "sam", "test", "sim", "bench-quick"]
    assert commands[-1] == "bench-quick", "it measures, so it is alone"
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert all(re.search(rf"^{target}: ", makefile, re.MULTILINE) for target in targets)
