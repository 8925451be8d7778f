"""The syntax of conditions: cel-python's grammar, a flat tree, and the names in it.

The rules for texts are replaced: those of cel-python take exponential time for a text without an end. The tree holds no
chains of single children, so that walks over it stay short.
"""

import re
from collections.abc import Iterator, Sequence
from functools import cache
from pkgutil import get_data

from celpy.celparser import CELParser
from celpy.evaluation import base_functions, celstr
from lark import Lark, Token, Tree
from lark.exceptions import LarkError, UnexpectedInput

from functions._core.decision.cel_limits import (
    BY_TASK,
    MAX_MACROS,
    MAX_NESTING,
    MAX_PARTS,
    VARIABLES,
    InvalidExpression,
)
from functions._core.decision.vocabulary import shown

Syntax = Tree[Token]
"""A node of the syntax tree."""

PARTS = re.compile(r"\w+|[^\w\s]")
"""A word or a sign of a condition."""

TEXT_RULES = 2
"""How many of them there are."""

TEXTS = re.compile(r"^(?:ML)?STRING_LIT\s*:.*\n\s*\|.*\n", re.MULTILINE)
"""The rules of cel-python's grammar for texts."""

LINEAR_TEXTS = r"""
MLSTRING_LIT.2: /[rR]\"\"\"[\s\S]*?\"\"\"/ | /[rR]'''[\s\S]*?'''/
              | /\"\"\"(?:\\[\s\S]|[^\\])*?\"\"\"/ | /'''(?:\\[\s\S]|[^\\])*?'''/
STRING_LIT.1: /[rR]"[^"\r\n]*"/ | /[rR]'[^'\r\n]*'/ | /"(?:\\.|[^"\\\r\n])*"/ | /'(?:\\.|[^'\\\r\n])*'/
"""
"""Rules for the same texts whose alternatives exclude each other: they are read in one pass."""

MACROS = frozenset({"all", "exists", "exists_one", "filter", "map"})
"""Methods with a variable and an expression for each item of a list, or each key of a map."""

CONVERSIONS = frozenset({"bool", "bytes", "double", "duration", "int", "string", "timestamp", "uint"})
"""Functions that make one kind of value of another."""

MOMENT_METHODS = frozenset(name for name in base_functions if name.startswith("get"))
"""Methods of moments and durations, such as `getHours`."""

FUNCTIONS = CONVERSIONS | {"dyn", "has", "size"}
"""Functions that are called by name."""

METHODS = MOMENT_METHODS | {"contains", "endsWith", "matches", "size", "startsWith"}
"""Methods of values."""

CHAINS = frozenset(
    {
        "addition",
        "conditionaland",
        "conditionalor",
        "expr",
        "member",
        "multiplication",
        "paren_expr",
        "relation",
        "unary",
    }
)

"""Nodes that mean their only child."""

PRIMARIES = frozenset({"dot_ident", "dot_ident_arg", "ident", "ident_arg", "list_lit", "map_lit"})
"""Children that the evaluator understands within a `primary` only."""

FOREIGN = {
    "dot_ident": "a name that begins with a point",
    "dot_ident_arg": "a name that begins with a point",
    "member_object": "a message of a protocol",
}
"""Nodes that conditions do not have, each in words."""


def parse(text: str) -> Syntax:
    """Return the syntax tree of a condition; raise `InvalidExpression`."""
    if len(PARTS.findall(text)) > MAX_PARTS:
        raise InvalidExpression(f"has more than {MAX_PARTS} words and signs")
    try:
        tree = _flat(_parser().parse(text))
    except UnexpectedInput as error:
        place = f"at line {error.line} column {error.column}" if (error.line or 0) > 0 else "at its end"
        raise InvalidExpression(f"is no condition in CEL: there is an error {place}") from None
    except LarkError:
        raise InvalidExpression("is no condition in CEL") from None
    level, depth = [tree], 0
    while level:
        level = [child for node in level for child in node.children if isinstance(child, Tree)]
        depth += 1
        if depth > MAX_NESTING:
            raise InvalidExpression(f"is nested more than {MAX_NESTING} levels deep")
    return tree


@cache
def _parser() -> Lark:
    grammar, found = TEXTS.subn("", (get_data("celpy", "cel.lark") or b"").decode())
    if found != TEXT_RULES:
        raise RuntimeError("the grammar of this cel-python is not the one that its pin promises")
    return Lark(
        grammar + LINEAR_TEXTS,
        parser="lalr",
        start="expr",
        g_regex_flags=re.MULTILINE,
        lexer_callbacks={"IDENT": CELParser.ambiguous_literals},
        propagate_positions=True,
        maybe_placeholders=False,
    )


def names_in(tree: Syntax) -> tuple[frozenset[str], frozenset[str]]:
    """Return the variables of a condition and the tasks that it reads.

    Raises `InvalidExpression` for a name, a function or a form that conditions do not have.
    """
    found = [*_Names().of(tree, frozenset(), 0)]
    return frozenset(name for name, _ in found), frozenset(task for _, task in found if task is not None)


class _Names:
    """The names of a syntax tree; recursion is safe, as `MAX_NESTING` limits the tree."""

    def of(self, node: Syntax, bound: frozenset[str], macros: int) -> Iterator[tuple[str, str | None]]:
        """Yield each variable, with the task id where it has one; `bound` are the variables of macros around it."""
        if (task := _task(node)) is not None:
            yield task
            if node.data != "relation":
                return
        children = node.children
        if node.data == "ident":
            yield from self._ident(str(children[0]), bound)
        elif node.data == "member_dot_arg" and children[1] in MACROS:
            yield from self._macro(node, bound, macros + 1)
            return
        else:
            self._check_form(node)
        known = children[:1] if task is not None else children  # `"a" in outputs`: the map is no value of its own
        for child in known:
            if isinstance(child, Tree):
                yield from self.of(child, bound, macros)

    def _ident(self, name: str, bound: frozenset[str]) -> Iterator[tuple[str, str | None]]:
        if name in bound:
            return
        if name in BY_TASK:
            raise InvalidExpression(f"uses '{name}' without the id of a task, as in {name}.build or {name}[\"build\"]")
        if name not in VARIABLES:
            raise InvalidExpression(f"uses {shown(name)}; known are {', '.join(VARIABLES)}")
        yield name, None

    def _check_form(self, node: Syntax) -> None:
        if (foreign := FOREIGN.get(node.data)) is not None:
            raise InvalidExpression(f"has {foreign}, which conditions do not have")
        if node.data == "ident_arg":
            self._check_function(str(node.children[0]), node.children[1:])
        elif node.data == "member_dot_arg" and node.children[1] not in METHODS:
            known = ", ".join(sorted(METHODS | MACROS))
            raise InvalidExpression(f"calls {shown(str(node.children[1]))}; known are {known}")

    def _check_function(self, name: str, given: Sequence[Token | Syntax]) -> None:
        if name not in FUNCTIONS:
            raise InvalidExpression(f"calls {shown(name)}; known are {', '.join(sorted(FUNCTIONS))}")
        arguments = given[0].children if given and isinstance(given[0], Tree) else []
        if len(arguments) != 1:
            raise InvalidExpression(f"calls {name} with {len(arguments)} arguments instead of one")
        if name == "has" and not (isinstance(arguments[0], Tree) and arguments[0].data == "member_dot"):
            raise InvalidExpression("calls has without a field, as in has(outputs.build.url)")

    def _macro(self, node: Syntax, bound: frozenset[str], macros: int) -> Iterator[tuple[str, str | None]]:
        source, name, *given = node.children
        if macros > MAX_MACROS:
            raise InvalidExpression(f"has more than {MAX_MACROS} of {', '.join(sorted(MACROS))} within each other")
        arguments = given[0].children if given and isinstance(given[0], Tree) else []
        variable = name_of(arguments[0]) if arguments else None
        expression = arguments[-1] if len(arguments) == len(("variable", "expression")) else None
        if variable is None or not isinstance(source, Tree) or not isinstance(expression, Tree):
            raise InvalidExpression(f"calls {name} without a variable and an expression, as in {name}(one, one > 0)")
        if variable in VARIABLES:
            raise InvalidExpression(f"uses '{variable}' as the variable of {name}; that name has a meaning")
        yield from self.of(source, bound, macros - 1)
        yield from self.of(expression, bound | {variable}, macros)


def _flat(tree: Syntax) -> Syntax:
    """Return the tree without nodes that mean their only child; it has no recursion, since a text can be all `(`."""
    for node in [*tree.iter_subtrees()]:
        node.children = [_meant(child) for child in node.children]
    return _tree(_meant(tree))


def _meant(child: Token | Syntax) -> Token | Syntax:
    """Return the node that `child`, whose own children are flat already, means."""
    if isinstance(child, Tree) and len(child.children) == 1 and isinstance(child.children[0], Tree):
        below = child.children[0]
        if child.data in CHAINS or (child.data == "primary" and below.data not in PRIMARIES):
            return below
    return child


def _tree(node: Token | Syntax) -> Syntax:
    if not isinstance(node, Tree):
        raise InvalidExpression("is no condition in CEL")
    return node


def name_of(node: object) -> str | None:
    """Return the name that a node consists of."""
    if isinstance(node, Tree) and node.data == "primary" and isinstance(node.children[0], Tree):
        inner = node.children[0]
        return str(inner.children[0]) if inner.data == "ident" else None
    return None


def _text_of(node: object) -> str | None:
    """Return the text that a node, a literal, stands for."""
    if isinstance(node, Tree) and node.data == "literal" and isinstance(token := node.children[0], Token):
        try:
            return str(celstr(token)) if token.type in {"STRING_LIT", "MLSTRING_LIT"} else None
        except (OverflowError, ValueError):
            raise InvalidExpression("names a task by a character that does not exist") from None
    return None


def _task(node: Syntax) -> tuple[str, str] | None:
    """Return variable and task id of `outputs.a`, `outputs["a"]` and `"a" in outputs`."""
    if node.data == "member_dot" and (name := name_of(node.children[0])) in BY_TASK:
        return name, str(node.children[1])
    if node.data == "member_index" and (name := name_of(node.children[0])) in BY_TASK:
        text = _text_of(node.children[1])
    elif node.data == "relation" and (name := name_of(node.children[-1])) in BY_TASK:
        left = node.children[0]
        text = _text_of(left.children[0]) if isinstance(left, Tree) and left.data == "relation_in" else None
    else:
        return None
    return None if text is None or name is None else (name, text)
