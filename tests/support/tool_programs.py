"""Programs that stand in for tools which are not on every machine, put where executors look for programs."""

import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT


def install(monkeypatch: pytest.MonkeyPatch, folder: Path, tool: str, script: str) -> None:
    """Let a script of `tests/support` be found as a tool, before any other of its name."""
    programs = folder / "programs"
    programs.mkdir(exist_ok=True)
    program = programs / tool
    program.write_text(f"#!/bin/sh\nexec '{sys.executable}' -S '{ROOT / 'tests' / 'support' / script}' \"$@\"\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/local/bin:/usr/bin:/bin")
