"""The sentence under each field of a class, read from its source: schemas and documents say it, programs never load it.

A compiler drops the string literal below a field, so it costs no byte and no time where a function runs.
"""

import ast
import inspect
from collections.abc import Mapping
from functools import cache
from importlib import import_module

OURS = "functions."
"""Only classes of this package have sentences; its files are there to be read."""


def phrase(model: type, field: str) -> str:
    """Return the sentence under a field of `model`, or of the nearest base class that has one.

    Raises `LookupError` when there is none.
    """
    for cls in model.__mro__:
        said = sentences(cls).get(field)
        if said is not None:
            return said
    raise LookupError(f"{model.__module__}.{model.__qualname__}.{field} has no sentence below it")


@cache
def sentences(cls: type) -> Mapping[str, str]:
    """Return the sentences that a class itself has, by field, each on one line."""
    if not cls.__module__.startswith(OURS):
        return {}
    for node in _module(cls.__module__).body:
        if isinstance(node, ast.ClassDef) and node.name == cls.__name__:
            return dict(_documented(node))
    return {}


def _documented(node: ast.ClassDef) -> list[tuple[str, str]]:
    """Return each annotated field of a class that has a string literal below it, with that text."""
    found = []
    for field, below in zip(node.body, node.body[1:], strict=False):
        match field, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                found.append((name, " ".join(text.split())))
    return found


@cache
def _module(name: str) -> ast.Module:
    return ast.parse(inspect.getsource(import_module(name)))
