"""The documents that people read: their code blocks, links and anchors, and the shell sessions that they describe."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from functions._core.records.values import FlowStatus, TicketStatus
from tests.conftest import ROOT

NEEDS: Mapping[str, str] = {
    "account": "an account at a service of somebody else",
    "assignment": "the values of an assignment; tests/integration/test_examples.py runs these blocks",
    "aws": "an account of AWS",
    "cluster": "a Kubernetes cluster with Knative",
    "docker": "a Docker daemon",
    "minutes": "more time than a test should take",
    "network": "packages from a registry",
    "postgresql": "a PostgreSQL server; run where the tests have one",
    "terraform": "Terraform; tests/integration/test_terraform_executor.py runs these blocks where it is installed",
}
"""Why a block of shell commands is not run with its document: the word after ```` ```sh needs= ````."""

FENCE = re.compile(r"^```(?P<language>\w*)(?P<info>[^\n]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
STATUSES = frozenset((*FlowStatus, *TicketStatus))
BORROWED = ("Makefile", "docs", "events", "examples", "flowc", "functions", "infra", "tests")
"""Files and folders of the project that a session finds in its own folder."""

SESSION_SECONDS = 280
"""Against a session that hangs; the longest one takes a tenth of that on an idle machine."""

UNTIL_READY = 'until curl -sfo ready.json "$FLOWC_URL/ready"; do kill -0 $! && sleep 0.2; done'
IN_TOTO = "-c 'from in_toto.in_toto_verify import main; main()'"
AT_THE_END = "trap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT"


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block; `info` is the rest of the line that opens it."""

    language: str
    info: str
    text: str
    line: int

    @property
    def needs(self) -> str | None:
        """Why it is not run, or None."""
        return self.info.removeprefix("needs=") or None

    @property
    def file(self) -> str | None:
        """The name of the file that it is, or None."""
        name = self.info.removeprefix("file=")
        return name if name != self.info and Path(name).name == name else None


def documents() -> list[Path]:
    """Return every document of the project."""
    folders = (path for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith("."))
    return sorted((*ROOT.glob("*.md"), *(page for folder in folders for page in folder.rglob("*.md"))))


def blocks(text: str) -> Iterator[Block]:
    """Yield the fenced blocks of a document, in order."""
    for match in FENCE.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        yield Block(match["language"], match["info"].strip(), match["text"], line)


def links(text: str) -> list[str]:
    """Return the targets of all links of a document that lead to a file or an anchor of the project."""
    return [link for link in LINK.findall(FENCE.sub("", text)) if not re.match(r"[a-z]+:", link)]


def anchors(text: str) -> set[str]:
    """Return the names by which the headings of a document can be linked to, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def session(page: Collection[Block], also: str | None = None) -> Iterator[list[Block]]:
    """Yield each block of commands that is run, followed by the blocks of output that are shown for it.

    `also` names a need that is met.
    """
    group: list[Block] = []
    for block in page:
        if block.language == "sh":
            if group:
                yield group
            group = [block] if block.needs in {None, also} else []
        elif block.language == "text" and group:
            group.append(block)
    if group:
        yield group


def run_session(page: Collection[Block], folder: Path, environment: Mapping[str, str], also: str | None = None) -> str:
    """Run the commands of a document as one shell session in `folder`, and return all that was printed.

    A command that fails ends the session. What the session has left running is stopped with it. Blocks that name a file
    are there as files.
    """
    for block in page:
        if block.file:
            (folder / block.file).write_text(block.text, encoding="utf-8")
    steps = [AT_THE_END]
    for number, (block, *_) in enumerate(session(page, also)):
        starts = "flowc up" in block.text and "&\n" in block.text
        steps += [f"echo '@@ {number}: line {block.line}'", block.text, UNTIL_READY if starts else ""]
    script, log = folder / "session.sh", folder / "session.log"
    script.write_text("\n".join((*steps, "echo '@@ done'", "")), encoding="utf-8")
    with log.open("wb") as out:
        shell = subprocess.Popen(
            ["bash", "-eu", str(script)],
            cwd=folder,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
        try:
            shell.wait(SESSION_SECONDS)
        finally:
            if shell.poll() is None:
                os.killpg(shell.pid, signal.SIGKILL)
                shell.wait()
    printed = log.read_text(encoding="utf-8", errors="replace")
    assert shell.returncode == 0, f"the session failed after:\n{printed[-5000:]}"
    return printed


def prepare(folder: Path, port: int) -> dict[str, str]:
    """Fill the folder of a session, and return the environment that it runs in."""
    for name in BORROWED:
        (folder / name).symlink_to(ROOT / name)
    programs = folder / "programs"
    programs.mkdir()
    given = {"flowc": "-m functions", "python": "", "python3": "", "in-toto-verify": IN_TOTO}
    for name, arguments in given.items():
        program = programs / name
        program.write_text(f"#!/bin/sh\nexec '{sys.executable}' {arguments} \"$@\"\n", encoding="utf-8")
        program.chmod(0o755)
    return {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "FLOWC_PORT": str(port),
        "FLOWC_URL": f"http://127.0.0.1:{port}",
        "XDG_DATA_HOME": str(folder / "share"),
    }


def missing_statuses(page: Collection[Block], printed: str, also: str | None = None) -> dict[int, frozenset[str]]:
    """Return the statuses that a document shows as output and that were not printed, by the line of the block.

    Nothing else is compared: times, ids and names of machines are never the same.
    """
    parts = dict(re.findall(r"^@@ (\d+): [^\n]*\n(.*?)(?=^@@ )", printed, re.MULTILINE | re.DOTALL))
    absent = {
        shown.line: _statuses(shown.text) - _statuses(parts[str(number)])
        for number, (_, *outputs) in enumerate(session(page, also))
        for shown in outputs
    }
    return {line: statuses for line, statuses in absent.items() if statuses}


def _statuses(text: str) -> frozenset[str]:
    return STATUSES & set(re.findall(r"\b[A-Z_]+\b", text))
