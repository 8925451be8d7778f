"""Finds in the code which refusals and reasons there are: every code is a literal where it is used."""

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from infra.generate.contract.folder import ROOT

FUNCTIONS = ROOT / "functions"
GAP = "…"
"""Stands in a sentence for what is known only when it is said."""

DEFAULT_STATUS, DEFAULT_CODE = 400, "rejected"
NAMED = {"Rejected", "Itemised"}
"""Refusals whose code and status are named arguments."""

IN_PLACE = {"problem", "_refuse"}
"""What takes status, code and words in this order."""

NOT_FOUND = {"not_found", "found"}
"""What makes the code `unknown_…` of its first argument."""


@dataclass(frozen=True, slots=True, order=True)
class Said:
    """A code, the status that goes with it (0 without one), the words that it is said with, and where."""

    status: int
    code: str
    words: str
    module: str


Scope = Mapping[str, Sequence[tuple[int, ast.expr]]]
"""What names stand for, with the lines where they are given it."""


@dataclass(frozen=True, slots=True)
class Call:
    """A call: the last part of what is called, its arguments, and what names stand for around it."""

    name: str
    place: Mapping[int, ast.expr]
    named: Mapping[str | None, ast.expr]
    scope: Scope

    def codes(self, node: ast.expr | None) -> list[str]:
        """Return the codes that an expression may stand for, as far as they are written in its module."""
        if isinstance(node, ast.Name):
            return [code for _, value in self.scope.get(node.id, ()) for code in self.codes(value)]
        if isinstance(node, ast.IfExp):
            return [*self.codes(node.body), *self.codes(node.orelse)]
        return [node.value] if isinstance(node, ast.Constant) and isinstance(node.value, str) else []

    def words(self, node: ast.expr | None) -> str:
        """Return a sentence with gaps; of a name the sentence that it was given last before."""
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return node.value
        if isinstance(node, ast.JoinedStr):
            return "".join(self.words(part) if isinstance(part, ast.Constant) else GAP for part in node.values)
        if isinstance(node, ast.Name):
            before = [value for line, value in self.scope.get(node.id, ()) if line <= node.lineno]
            return self.words(before[-1]) if before else GAP
        return GAP

    def status(self, node: ast.expr | None, otherwise: int) -> int:
        """Return a status that is written down; 0 for one that is found out when it happens."""
        if node is None:
            return otherwise
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "HTTPStatus":
            return HTTPStatus[node.attr]
        return node.value if isinstance(node, ast.Constant) and isinstance(node.value, int) else 0


def calls(path: Path) -> Iterator[Call]:
    """Yield every call of a module."""
    module = ast.parse(path.read_text(encoding="utf-8"))
    waiting: list[tuple[ast.AST, Scope]] = [(module, _assigned(module))]
    while waiting:
        node, scope = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            scope = {**scope, **_assigned(node)}
        if isinstance(node, ast.Call):
            named = {argument.arg: argument.value for argument in node.keywords}
            yield Call(ast.unparse(node.func).rpartition(".")[2], dict(enumerate(node.args)), named, scope)
        waiting += [(part, scope) for part in ast.iter_child_nodes(node)]


def _assigned(scope: ast.Module | ast.FunctionDef | ast.AsyncFunctionDef) -> Scope:
    """Return what is assigned in a module or function, not in functions within, and the defaults of parameters."""
    found: dict[str, list[tuple[int, ast.expr]]] = {}
    if not isinstance(scope, ast.Module):
        with_default = scope.args.args[len(scope.args.args) - len(scope.args.defaults) :]
        for parameter, value in zip(with_default, scope.args.defaults, strict=True):
            found[parameter.arg] = [(scope.lineno, value)]
    waiting: list[ast.AST] = [*scope.body]
    while waiting:
        node = waiting.pop(0)
        if isinstance(node, ast.Assign):
            target, value = node.targets[0], node.value
            several = isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple)
            pairs = zip(target.elts, value.elts, strict=True) if several else [(target, value)]  # type: ignore[attr-defined]
            for name, meant in pairs:
                if isinstance(name, ast.Name):
                    found.setdefault(name.id, []).append((node.lineno, meant))
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            waiting += ast.iter_child_nodes(node)
    return {name: sorted(given, key=lambda one: one[0]) for name, given in found.items()}


def sources() -> Iterator[tuple[str, Path]]:
    """Yield the modules that serve requests and events, and those of the worker, by their paths in `functions`."""
    for path in sorted(FUNCTIONS.rglob("*.py")):
        name = path.relative_to(FUNCTIONS).as_posix()
        if not name.startswith(("_cli/", "_simulator/", "_cost/")):
            yield name, path


def refusals() -> Iterator[Said]:
    """Yield what refuses a request or an event for good, or for now."""
    for module, path in sources():
        for call in calls(path):
            status, codes, words = _refusal(call)
            for code in codes if status else ():
                yield Said(status, code, words, module)


def _refusal(call: Call) -> tuple[int, list[str], str]:
    """Return the status, the codes and the words of a call that refuses something; else no code."""
    named, place = call.named, call.place
    if call.name in NAMED or (call.name == "__init__" and "code" in named):
        codes = call.codes(named["code"]) if "code" in named else [DEFAULT_CODE]
        return call.status(named.get("status"), DEFAULT_STATUS), codes, call.words(place.get(0))
    if call.name in IN_PLACE and {0, 1, 2} <= place.keys():
        return call.status(place[0], 0), call.codes(place[1]), call.words(place[2])
    if call.name in NOT_FOUND and (what := call.codes(place.get(0))):
        return HTTPStatus.NOT_FOUND, [f"unknown_{what[0].replace(' ', '_')}"], f"there is no {what[0]} {GAP}"
    return 0, [], ""


def reasons() -> Iterator[Said]:
    """Yield the reasons that are kept with flows, tickets, dead letters and validations."""
    for module, path in sources():
        for call in calls(path):
            if call.name in {"Reason", "_reason"}:
                words = call.words(call.named.get("message") or call.place.get(2))
                for code in call.codes(call.named.get("code") or call.place.get(0)):
                    yield Said(0, code, words, module)
