"""The evaluation of conditions on top of cel-python, with a meter for every step.

Importing this takes half a second of CPU: `expressions` does so with the first condition. Operators and macros are
called without the detours of cel-python, whose errors hold the values at length and whose macros look at every item.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar

from celpy import celtypes
from celpy.evaluation import Activation, CELEvalError, CELSyntaxError, CELUnsupportedError, Evaluator
from lark import Tree

from functions._core.decision.cel_limits import MAX_STEPS, Unanswerable
from functions._core.decision.cel_syntax import MACROS, Syntax, name_of
from functions._core.decision.cel_values import (
    Meter,
    Mismatch,
    Value,
    both,
    either,
    kind_of,
    operators,
    value_of,
)
from functions._core.decision.vocabulary import shown

Node = Any
"""A node of the syntax tree, whose children the grammar promises."""

SIGNS = {
    "addition_add": "_+_",
    "addition_sub": "_-_",
    "multiplication_div": "_/_",
    "multiplication_mod": "_%_",
    "multiplication_mul": "_*_",
    "relation_eq": "_==_",
    "relation_ge": "_>=_",
    "relation_gt": "_>_",
    "relation_in": "_in_",
    "relation_le": "_<=_",
    "relation_lt": "_<_",
    "relation_ne": "_!=_",
    "unary_neg": "-_",
    "unary_not": "!_",
}
"""The operator of each node that has one."""

ENDED = (
    CELEvalError,
    CELSyntaxError,
    CELUnsupportedError,
    ArithmeticError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
)
"""Errors that end an evaluation."""


def evaluate(tree: Syntax, variables: Mapping[str, Any]) -> object:
    """Return the result of a condition for JSON values by name; raise `Unanswerable` with the reason."""
    meter = Meter(MAX_STEPS)
    meter.weigh(*variables.values())
    try:
        scope = {name: value_of(given) for name, given in variables.items()}
        result = _Metered(tree, Activation(functions=operators(meter)), meter, scope).evaluate()
    except RecursionError:
        raise Unanswerable("its values are nested too deep") from None
    except ENDED as error:
        raise Unanswerable(_reason(error)) from None
    return bool(result) if isinstance(result, celtypes.BoolType) else result


def _reason(error: Exception) -> str:
    """Return the reason of an error in words, without the values that it is about."""
    given = error.args or ("",)
    cause = given[-1] if isinstance(given[-1], tuple) else ()  # cel-python keeps the arguments of the first error
    return next((one for one in (*cause[:1], given[0]) if isinstance(one, str) and one), type(error).__name__)


class _Metered(Evaluator):
    """An evaluator that spends a step for each node, and one for each part of a value that it makes."""

    MAKERS: ClassVar = frozenset({"addition", "exprlist", "mapinits", "member_dot_arg"})

    def __init__(self, ast: Syntax, activation: Activation, meter: Meter, scope: Mapping[str, Any]) -> None:
        super().__init__(ast, activation)
        self._meter = meter
        self._scope = scope

    def visit(self, tree: Syntax) -> Value:
        """Return the value of a node, or its error."""
        self._meter.spend(1)
        value = getattr(self, tree.data)(tree)
        if tree.data in self.MAKERS:
            self._meter.weigh(value)
        return value

    def visit_children(self, tree: Syntax) -> list[Any]:
        """Return the values of the children of a node, or their errors; tokens stand for themselves."""
        return [self.visit(child) if isinstance(child, Tree) else child for child in tree.children]

    def expr(self, tree: Node) -> Value:
        """Return one side of `condition ? this : that`."""
        condition, this, that = tree.children
        value = self.visit(condition)
        if isinstance(value, CELEvalError):
            return value
        if not isinstance(value, celtypes.BoolType):
            return CELEvalError(f"{kind_of(value)} is neither true nor false")
        return self.visit(this if value else that)

    def conditionaland(self, tree: Node) -> Value:
        """Return `this && that`, which an error does not end where the other side is false."""
        return both(self.visit(child) for child in tree.children)

    def conditionalor(self, tree: Node) -> Value:
        """Return `this || that`, which an error does not end where the other side is true."""
        return either(self.visit(child) for child in tree.children)

    def relation(self, tree: Node) -> Value:
        """Return the value of an operator between two nodes."""
        left, right = tree.children
        return self._operate(SIGNS[left.data], self.visit(left.children[0]), self.visit(right))

    addition = multiplication = relation

    def unary(self, tree: Node) -> Value:
        """Return the value of an operator before a node."""
        sign, operand = tree.children
        return self._operate(SIGNS[sign.data], self.visit(operand))

    def member_index(self, tree: Node) -> Value:
        """Return an item of a list or a map."""
        return self._operate("_[_]", *self.visit_children(tree))

    def member_dot(self, tree: Node) -> Value:
        """Return a field of a map; the error of cel-python would show the whole value."""
        value, name = self.visit(tree.children[0]), str(tree.children[1])
        if isinstance(value, CELEvalError):
            return value
        if not isinstance(value, celtypes.MapType):
            return CELEvalError(f"{kind_of(value)} has no field {shown(name)}")
        return value[name] if name in value else CELEvalError(f"there is no field {shown(name)}")

    def primary(self, tree: Node) -> Value:
        """Return the value of a variable, a call, a list or a map."""
        child = tree.children[0]
        if child.data == "ident":
            name = str(child.children[0])
            return self._scope[name] if name in self._scope else CELEvalError(f"'{name}' has no value here")
        value = super().primary(tree)
        if child.data == "ident_arg":
            self._meter.weigh(value)
        return value

    def member_dot_arg(self, tree: Node) -> Value:
        """Return the value of a method or of a macro; those of cel-python look at each item in any case."""
        source, name, *given = tree.children
        if name not in MACROS:
            return super().member_dot_arg(tree)
        items = self.visit(source)
        if isinstance(items, CELEvalError):
            return items
        if not isinstance(items, list | dict):
            return CELEvalError(f"'{name}' is not defined for {kind_of(items)}")
        variable, expression = given[0].children
        around, own = self._scope, str(name_of(variable))
        try:
            return self._macro(name, items, self._each(expression, around, own, items))
        finally:
            self._scope = around

    def _each(self, expression: Syntax, around: Mapping[str, Any], own: str, items: Iterable[Value]) -> Iterator[Value]:
        for item in items:
            self._scope = {**around, own: item}
            yield self.visit(expression)

    def _macro(self, name: str, items: Iterable[Value], values: Iterator[Value]) -> Value:
        if name == "all":
            return both(values)
        if name == "exists":
            return either(values)
        found = []
        for value in values:
            if isinstance(value, CELEvalError):
                return value
            if name != "map" and not isinstance(value, celtypes.BoolType):
                return CELEvalError(f"{kind_of(value)} is neither true nor false")
            found.append(value)
        if name == "map":
            return celtypes.ListType(found)
        kept = [item for item, holds in zip(items, found, strict=True) if holds]
        return celtypes.ListType(kept) if name == "filter" else celtypes.BoolType(len(kept) == 1)

    def _operate(self, name: str, *values: Value) -> Value:
        for value in values:
            if isinstance(value, CELEvalError):
                return value
        try:
            return self.activation.functions[name](*values)
        except (ArithmeticError, Mismatch, ValueError) as error:
            return CELEvalError(_reason(error))
