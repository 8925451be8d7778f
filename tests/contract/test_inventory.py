"""The inventory of capabilities: every row names a test that is there."""

import ast
import re
from functools import cache

from tests.conftest import ROOT

FILE = ROOT / "docs" / "internals" / "inventory.md"
ROW = re.compile(r"^\| ([A-Z]{2,3}-\d{3}) \| (\S+) \| (.*) \|$")


@cache
def names_in(path: str) -> frozenset[str]:
    """Return the tests of a file by their names, those of a class behind its name."""
    found = set()
    for node in ast.parse((ROOT / path).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.ClassDef):
            found |= {f"{node.name}::{part.name}" for part in node.body if hasattr(part, "name")}
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found.add(node.targets[0].id)
    return frozenset(found)


def rows() -> list[tuple[str, str, str]]:
    lines = FILE.read_text(encoding="utf-8").splitlines()
    return [(row[1], row[2], row[3]) for line in lines if (row := ROW.fullmatch(line))]


def test_every_row_names_a_test_that_exists() -> None:
    assert len(rows()) > 100
    lost = []
    for row_id, test, _ in rows():
        path, _, name = test.partition("::")
        if not (ROOT / path).is_file() or name not in names_in(path):
            lost.append(f"{row_id}: {test}")
    assert lost == []


def test_rows_are_in_order_and_come_once() -> None:
    ids = [row_id for row_id, _, _ in rows()]
    assert len(set(ids)) == len(ids)
    families = [row_id[:3] for row_id in ids]
    assert families == sorted(families, key=families.index)
    for family in dict.fromkeys(families):
        of_family = [row_id for row_id in ids if row_id.startswith(family)]
        assert of_family == sorted(of_family)


def test_every_line_of_a_table_is_a_row() -> None:
    lines = FILE.read_text(encoding="utf-8").splitlines()
    tables = [line for line in lines if line.startswith("| ") and not line.startswith(("| row", "| ---"))]
    assert len(tables) == len(rows())
