"""Writes the generated pages of `docs/reference` and `.env.example`; `--check` only compares.

Run as `python -m infra.generate.reference`.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence

from infra.generate.contract.folder import ROOT, save, stale
from infra.generate.pages.cli import cli
from infra.generate.pages.env_example import env_example
from infra.generate.pages.errors import errors
from infra.generate.pages.events import events
from infra.generate.pages.history import history
from infra.generate.pages.http import http
from infra.generate.pages.settings import settings

FOLDER = ROOT / "docs" / "reference"
"""Pages that are written by hand stand there, too."""

TOP = ROOT
"""The sample of a settings file stands where it is looked for."""


PAGES: Mapping[str, Callable[[], str]] = {
    "cli.md": cli,
    "errors.md": errors,
    "events.md": events,
    "history.md": history,
    "http.md": http,
    "settings.md": settings,
}


def pages() -> Mapping[str, str]:
    """Return the text of every generated page by its name."""
    return {name: made() for name, made in PAGES.items()}


def top() -> Mapping[str, str]:
    """Return the text of every generated file at the top by its name."""
    return {".env.example": env_example()}


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the pages, or with `--check` return 1 and name those that differ."""
    parser = argparse.ArgumentParser(prog="generate_reference", description="Write the pages that the code tells.")
    parser.add_argument("--check", action="store_true", help="change nothing; fail when a page differs")
    if not parser.parse_args(arguments).check:
        save(FOLDER, pages())
        save(TOP, top())
        return 0
    drift = [f"docs/reference/{difference}" for difference in stale(FOLDER, pages())]
    drift += stale(TOP, top())
    sys.stderr.writelines(f"{line}; run `make reference`\n" for line in drift)
    return 1 if drift else 0


if __name__ == "__main__":
    sys.exit(main())
