"""What users and tools rely on changes only on purpose: `surface.json` has the hash of each part of it.

A change that is meant writes the file again with `python -m tests.contract.test_surface`; the changelog says what.
"""

import asyncio
import hashlib
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import typer.main
from typer.core import TyperGroup
from typer.testing import CliRunner

from functions._cli.app import app
from functions._observability.catalogue import CATALOGUE
from tests.support.http_api import running_api

FILE = Path(__file__).with_name("surface.json")
WIDTH = 100


def helps(command: Any, *words: str) -> dict[str, str]:
    """Return the help of a command and of all below it."""
    shown = CliRunner().invoke(app, [*words, "--help"], env={"TERMINAL_WIDTH": str(WIDTH), "COLUMNS": str(WIDTH)})
    found = {" ".join(["flowc", *words]): shown.output}
    if isinstance(command, TyperGroup):
        context = typer.Context(command)
        for name in command.list_commands(context):
            found |= helps(command.get_command(context, name), *words, name)
    return found


async def surface(folder: Path) -> dict[str, str]:
    """Return the hash of the OpenAPI document, of the metrics and of every help text; `events/` is a file each."""
    async with running_api(folder) as api:
        parts = {"openapi.json": json.dumps(api.app.openapi(), sort_keys=True)}
    parts["metrics"] = "\n".join(repr(metric) for metric in CATALOGUE)
    parts |= helps(typer.main.get_command(app))
    return {name: hashlib.sha256(text.encode()).hexdigest() for name, text in parts.items()}


async def test_the_surface_is_as_recorded(tmp_path: Path) -> None:
    assert await surface(tmp_path) == json.loads(FILE.read_text(encoding="utf-8"))


def write() -> None:
    """Write what holds now."""
    with TemporaryDirectory() as folder:
        FILE.write_text(json.dumps(asyncio.run(surface(Path(folder))), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write()
