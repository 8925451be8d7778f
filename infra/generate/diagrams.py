"""Draws the diagrams of the architecture page again: `python -m infra.generate.diagrams`; `--check` only compares.

A diagram stands between the markers `<!-- diagram: NAME -->` and `<!-- /diagram -->`; all other text stays as it is.
"""

import argparse
import re
import sys
from collections.abc import Sequence

from infra.generate.contract.diagrams import DIAGRAMS
from infra.generate.contract.folder import ROOT

PAGE = ROOT / "docs" / "internals" / "architecture.md"
EMPTY = "# Architecture\n" + "".join(f"\n<!-- diagram: {name} -->\n<!-- /diagram -->\n" for name in DIAGRAMS)
MARKED = re.compile(r"(?<=<!-- diagram: )(\w+)( -->\n).*?(?=<!-- /diagram -->)", re.DOTALL)


def redrawn(text: str) -> str:
    """Return `text` with every diagram drawn again; raise `LookupError` for a name that is missing or unknown."""
    names = [match[1] for match in MARKED.finditer(text)]
    if sorted(names) != sorted(DIAGRAMS):
        raise LookupError(f"the text has the diagrams {names}, it should have {list(DIAGRAMS)}, each once")
    return MARKED.sub(lambda match: f"{match[1]}{match[2]}{DIAGRAMS[match[1]]()}\n", text)


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw the diagrams, or with `--check` return 1 when they differ."""
    parser = argparse.ArgumentParser(
        prog="generate_diagrams", description="Draw the diagrams of the architecture page again."
    )
    parser.add_argument("--check", action="store_true", help="change nothing; fail when a diagram differs")
    check = parser.parse_args(arguments).check
    before = PAGE.read_text(encoding="utf-8") if PAGE.exists() else EMPTY
    try:
        after = redrawn(before)
    except LookupError as fault:
        sys.stderr.write(f"{PAGE.name}: {fault}\n")
        return 1
    if not check:
        PAGE.write_text(after, encoding="utf-8")
        return 0
    if before != after:
        sys.stderr.write(f"{PAGE.name} has old diagrams; run `make diagrams`\n")
    return int(before != after)


if __name__ == "__main__":
    sys.exit(main())
