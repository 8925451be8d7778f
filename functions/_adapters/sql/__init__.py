"""The SQL of every engine, kept as SQL in one folder each: numbered migrations and named queries."""

from collections.abc import Mapping, Sequence
from importlib.resources import files
from importlib.resources.abc import Traversable


def _folder(engine: str) -> Traversable:
    return files(__name__).joinpath(engine)


def queries(engine: str) -> Mapping[str, str]:
    """Return the queries of `engine` by name: what follows a line `-- name: …`, without the comments."""
    named = {}
    for block in _folder(engine).joinpath("queries.sql").read_text("utf-8").split("-- name: ")[1:]:
        name, *lines = block.splitlines()
        text = "\n".join(line for line in lines if not line.startswith("--"))
        named[name] = text.strip().removesuffix(";")
    return named


def migrations(engine: str) -> Sequence[str]:
    """Return the migrations of `engine` in order; the n-th brings a database from version n - 1 to n."""
    scripts = (entry for entry in _folder(engine).iterdir() if entry.name[:4].isdecimal())
    return [script.read_text("utf-8") for script in sorted(scripts, key=lambda script: script.name)]
