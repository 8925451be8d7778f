"""Expressions of DynamoDB, as far as the adapter writes them: conditions, filters and updates."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

Item = dict[str, Any]
Value = dict[str, Any]

WORD = re.compile(r"[#:][\w]+(?:\.#\w+)*|\w+|<=|>=|[=<>(),+]")


class Expression:
    """One expression with its names and values; it is evaluated on an item as it is read."""

    def __init__(self, text: str, arguments: Mapping[str, Any], item: Mapping[str, Any]) -> None:
        self._words = WORD.findall(text)
        self._at = 0
        self._names = arguments.get("ExpressionAttributeNames", {})
        self._values = arguments.get("ExpressionAttributeValues", {})
        self._item = item

    def holds(self) -> bool:
        """Return whether a condition holds."""
        return not self._words or self._any()

    def updated(self) -> Item:
        """Return the item as an update leaves it."""
        result, values = dict(self._item), dict[str, Any]()
        clause = ""
        while self._at < len(self._words):
            word = self._next()
            if word in {"SET", "REMOVE"}:
                clause = word
            elif word != ",":
                name = self._names[word]
                if clause == "SET":
                    self._expect("=")
                    values[name] = self._sum()
                else:
                    result.pop(name, None)
        return result | values

    def _any(self) -> bool:
        holds = self._all()
        while self._peek() == "OR":
            self._next()
            holds = self._all() or holds
        return holds

    def _all(self) -> bool:
        holds = self._one()
        while self._peek() == "AND":
            self._next()
            holds = self._one() and holds
        return holds

    def _one(self) -> bool:
        word = self._next()
        if word == "(":
            holds = self._any()
            self._expect(")")
            return holds
        if self._peek() == "(":
            found = self._arguments()
            if word == "begins_with":
                return str(found[0]["S"]).startswith(str(found[1]["S"]))
            return bool(found[0]) is (word == "attribute_exists")
        left, sign = self._value(word), self._next()
        if sign == "BETWEEN":
            low = self._value(self._next())
            self._expect("AND")
            return bool(_plain(low) <= _plain(left) <= _plain(self._value(self._next())))
        right = self._value(self._next())
        if not left or sign == "=":
            return left == right
        one, other = _plain(left), _plain(right)
        return bool({"<": one < other, "<=": one <= other, ">": one > other, ">=": one >= other}[sign])

    def _sum(self) -> Value:
        total = self._operand()
        while self._peek() == "+":
            self._next()
            total = {"N": str(int(total["N"]) + int(self._operand()["N"]))}
        return total

    def _operand(self) -> Value:
        word = self._next()
        if self._peek() != "(":
            return self._value(word)
        found = self._arguments()
        if word == "if_not_exists":
            return found[0] or found[1]
        return {"L": [*found[0]["L"], *found[1]["L"]]}

    def _arguments(self) -> Sequence[Value]:
        self._expect("(")
        found = [self._operand()]
        while self._peek() == ",":
            self._next()
            found.append(self._operand())
        self._expect(")")
        return found

    def _value(self, word: str) -> Value:
        if word.startswith(":"):
            value: Value = self._values[word]
            return value
        first, *inner = word.split(".")
        found: Value = self._item.get(self._names[first], {})
        for name in inner:
            found = found.get("M", {}).get(self._names[name], {})
        return found

    def _peek(self) -> str:
        return self._words[self._at] if self._at < len(self._words) else ""

    def _next(self) -> str:
        self._at += 1
        return str(self._words[self._at - 1])

    def _expect(self, word: str) -> None:
        found = self._next()
        if found != word:
            raise ValueError(f"{word} expected, not {found}")


def _plain(value: Mapping[str, Any]) -> tuple[str, Any]:
    ((kind, plain),) = value.items()
    return kind, int(plain) if kind == "N" else plain
