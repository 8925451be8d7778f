"""Documents: every command is run as shown or says why not, every link leads somewhere, every page can be read."""

import os
import re
import shutil
from pathlib import Path

import pytest
from typer.main import get_command

from functions._cli.app import app
from functions._cli.lazy_group import LazyGroup
from functions._core.decision.reading import check_plan, read_decision
from functions._engine.settings import PREFIX, Settings
from functions._engine.version import __version__
from tests.conftest import ROOT, require
from tests.support import postgres as server
from tests.support.decisions import NOW
from tests.support.documents import (
    NEEDS,
    anchors,
    blocks,
    documents,
    links,
    missing_statuses,
    prepare,
    run_session,
    session,
)
from tests.support.processes import free_port

PAGES = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in documents()}
"""Every document, by its path."""

FOR_PEOPLE = {name: text for name, text in PAGES.items() if name.startswith("docs/") or "/" not in name}
SESSIONS = [name for name, text in FOR_PEOPLE.items() if any(session(list(blocks(text))))]
WITH_POSTGRESQL = [name for name, text in FOR_PEOPLE.items() if "```sh needs=postgresql\n" in text]

WIDEST = 160
README_LINES = 150


@pytest.mark.parametrize("name", SESSIONS)
def test_the_commands_of_a_document_do_as_it_says(name: str, tmp_path: Path) -> None:
    require(shutil.which("curl") is not None, "apt-get install curl")
    page = list(blocks(PAGES[name]))
    printed = run_session(page, tmp_path, prepare(tmp_path, free_port()))
    assert missing_statuses(page, printed) == {}


@pytest.mark.parametrize("name", WITH_POSTGRESQL)
async def test_the_commands_for_postgresql_do_as_the_document_says(
    name: str, tmp_path: Path, database_url: str, new_database_url: str
) -> None:
    programs = server.binaries()
    require(programs is not None and all((programs / tool).exists() for tool in ("psql", "pg_dump")), server.HOW)
    page = list(blocks(PAGES[name]))
    environment = prepare(tmp_path, free_port())
    environment["PATH"] = f"{environment['PATH']}:{programs}{os.pathsep}"
    environment |= {"FLOWC_DATABASE_URL": database_url, "RESTORED_DATABASE_URL": new_database_url}
    only = [block for block in page if block.language != "sh" or block.needs == "postgresql"]
    assert missing_statuses(only, run_session(only, tmp_path, environment, "postgresql"), "postgresql") == {}


def test_a_block_that_is_not_run_says_why() -> None:
    reasons = {
        f"{name}:{block.line}": block.info
        for name, text in FOR_PEOPLE.items()
        for block in blocks(text)
        if block.language in {"sh", "bash", "shell", "console"}
    }
    wrong = {place: info for place, info in reasons.items() if info and info not in {f"needs={need}" for need in NEEDS}}
    assert wrong == {}
    assert len(reasons) > 50
    assert {info.removeprefix("needs=") for info in reasons.values() if info} == NEEDS.keys()


def test_every_block_says_what_it_is() -> None:
    bare = [f"{name}:{block.line}" for name, text in FOR_PEOPLE.items() for block in blocks(text) if not block.language]
    assert bare == []


@pytest.mark.parametrize("name", PAGES)
def test_every_link_within_the_project_leads_somewhere(name: str) -> None:
    lost = []
    for link in links(PAGES[name]):
        path, _, anchor = link.partition("#")
        target = (ROOT / name).parent / path if path else ROOT / name
        if not target.exists() or (anchor and anchor not in anchors(target.read_text(encoding="utf-8"))):
            lost.append(link)
    assert lost == []


def test_no_line_is_wider_than_a_window() -> None:
    wide = [
        f"{name}:{number} has {len(line)} characters"
        for name, text in PAGES.items()
        for number, line in enumerate(text.splitlines(), 1)
        if len(line) > WIDEST
    ]
    assert wide == []


def test_the_readme_is_short() -> None:
    assert len(PAGES["README.md"].splitlines()) <= README_LINES


def test_the_index_names_every_page() -> None:
    pages = {name.removeprefix("docs/") for name in PAGES if name.startswith("docs/")} - {"README.md"}
    runbooks = {f"operate/runbooks/{link}" for link in links(PAGES["docs/operate/runbooks/README.md"])}
    assert pages <= {*links(PAGES["docs/README.md"]), *runbooks}


def test_every_command_is_in_some_document_and_every_one_that_is_named_is_there() -> None:
    group = get_command(app)
    assert isinstance(group, LazyGroup)
    commands = set(group.list_commands(None))
    text = "\n".join(FOR_PEOPLE.values())
    named = set(re.findall(r"(?:`|^|\$\(|&& |\| )flowc ([a-z][a-z-]+)", text, re.MULTILINE))
    assert named - commands == set()
    assert commands - named <= {"version"}


def test_every_setting_that_a_document_names_is_there() -> None:
    known = {PREFIX + name.upper() for name in Settings.model_fields} | {"FLOWC_URL"}
    text = "\n".join(FOR_PEOPLE.values())
    named = set(re.findall(r"\bFLOWC_[A-Z_]+\b", text)) - set(re.findall(r"\bFLOWC_TEST_[A-Z_]+\b", text))
    of_tasks = {f"FLOWC_{name}" for name in ("TASK_ID", "TASK_TYPE", "TICKET_ID", "FLOW_ID", "PLAN_ID", "ATTEMPT")}
    of_tasks |= {"FLOWC_TIMEOUT_MS", "FLOWC_CORRELATION_ID", "FLOWC_SLA_DEADLINE", "FLOWC_KEY", "FLOWC_TRACEPARENT"}
    assert named - known - of_tasks == set()


def test_every_plan_to_try_out_is_named_and_can_be_read() -> None:
    named = set(re.findall(r"tests/troubles/\w+\.json", "\n".join(FOR_PEOPLE.values())))
    assert named == {str(path.relative_to(ROOT)) for path in (ROOT / "tests" / "troubles").glob("*.json")}
    for name in named:
        errors, _ = check_plan(read_decision((ROOT / name).read_bytes()), NOW)
        assert errors == (), name


def test_the_changelog_has_the_version_of_the_code() -> None:
    versions = re.findall(r"^## (.+)$", PAGES["CHANGELOG.md"], re.MULTILINE)
    assert versions[0] == "Unreleased"
    assert versions[1].split(" - ")[0] == __version__
