"""The generated pages of `docs/reference` are as the code makes them, and leave nothing out."""

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from functions._core.events.catalogue import CATALOGUE
from functions._engine.settings import PREFIX, Settings
from infra.generate import reference
from infra.generate.pages import refusals
from infra.generate.pages.markdown import anchor, text
from tests.conftest import ROOT
from tests.contract.test_surface import FILE

LINK = re.compile(r"\]\(([^)#]*)(?:#([^)]*))?\)")
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
WIDEST = 160


@pytest.fixture(scope="module")
def pages() -> Mapping[str, str]:
    return {name: (reference.FOLDER / name).read_text(encoding="utf-8") for name in reference.PAGES}


def test_the_pages_are_what_the_code_makes_whatever_the_order_of_sets() -> None:
    command = [sys.executable, "-m", "infra.generate.reference", "--check"]
    run = subprocess.run(command, cwd=ROOT, env={"PYTHONHASHSEED": "1"}, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, "")


def test_drift_is_named_and_fixed_and_pages_written_by_hand_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(reference, "FOLDER", tmp_path)
    monkeypatch.setattr(reference, "TOP", tmp_path)
    monkeypatch.setattr(reference, "pages", lambda: {"cli.md": "# Commands\n", "http.md": "# Routes\n"})
    (tmp_path / "plan.md").write_text("# By hand\n", encoding="utf-8")
    assert reference.main([]) == 0
    assert reference.main(["--check"]) == 0
    (tmp_path / "http.md").unlink()
    (tmp_path / "cli.md").write_text("# Other\n", encoding="utf-8")
    assert reference.main(["--check"]) == 1
    assert capsys.readouterr().err.splitlines() == [
        "docs/reference/cli.md differs; run `make reference`",
        "docs/reference/http.md is missing; run `make reference`",
    ]
    assert (tmp_path / "plan.md").read_text(encoding="utf-8") == "# By hand\n"


def test_every_command_setting_and_event_has_its_place(pages: Mapping[str, str]) -> None:
    commands = [name for name in json.loads(FILE.read_text(encoding="utf-8")) if name.startswith("flowc ")]
    assert [name for name in commands if f"\n### {name}\n" not in pages["cli.md"]] == []
    assert [name for name in Settings.model_fields if f"`{PREFIX}{name.upper()}`" not in pages["settings.md"]] == []
    assert [entry.event_type for entry in CATALOGUE if f"\n### {entry.event_type}\n" not in pages["events.md"]] == []


def test_the_page_of_errors_has_codes_of_every_origin(pages: Mapping[str, str]) -> None:
    known = {"unknown_flow", "missing_key", "too_large", "conflict", "unavailable", "sla_timeout", "worker_lost"}
    assert {code for code in known if f"- `{code}`" not in pages["errors.md"]} == set()


def test_no_line_is_too_long_and_every_link_leads_somewhere(pages: Mapping[str, str]) -> None:
    anchors = {name: {anchor(title) for title in HEADING.findall(page)} for name, page in pages.items()}
    for name, page in pages.items():
        assert [line for line in page.splitlines() if len(line) > WIDEST] == [], name
        for target, place in LINK.findall(page):
            assert not target or (reference.FOLDER / target).is_file(), f"{name}: {target}"
            if place:
                assert place in anchors[target or name], f"{name}: {target}#{place}"


def test_a_paragraph_is_wrapped_and_a_link_is_not_taken_apart() -> None:
    assert text("a " * 100).count("\n") == 1
    assert text(f"{'a ' * 50}[some](where-{'x' * 40}.md)").splitlines()[1] == f"[some](where-{'x' * 40}.md)"


REFUSES = """
CODE = "of_the_module"

def refuse(code: str = "by_default", name: str = "x") -> None:
    text = "first"
    raise Rejected(text, code=code, status=409)

def other(text: str) -> None:
    text = f"there is no {text!r} here"
    raise Rejected(text, code="one" if text else CODE, status=HTTPStatus.GONE)

def third() -> None:
    raise Rejected(text)
    problem(500, "internal", "broken")
    not_found("dead letter", "1")
"""


def test_refusals_are_read_with_what_names_stand_for_where_they_are_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusals, "FUNCTIONS", tmp_path)
    (tmp_path / "refuses.py").write_text(REFUSES, encoding="utf-8")
    assert {(said.status, said.code, said.words) for said in refusals.refusals()} == {
        (409, "by_default", "first"),
        (410, "one", "there is no … here"),
        (410, "of_the_module", "there is no … here"),
        (400, "rejected", "…"),
        (500, "internal", "broken"),
        (404, "unknown_dead_letter", "there is no dead letter …"),
    }
