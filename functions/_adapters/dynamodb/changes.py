"""One item's part of a step: what is set, added and removed, and what must hold for it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

from functions._adapters.dynamodb.keys import Key
from functions._adapters.dynamodb.values import Item, integer, listed, text

HISTORY_BYTES = 16_000
"""History in one item beyond which it moves to an item of its own: every write of the item pays for it."""


@dataclass(frozen=True, slots=True)
class ItemChange:
    """A change of the item at `key`; a `version` of None is not looked at, 0 is an item without a record.

    A `planned` one may be without an item so far: the version is then that of the record on its page (see `plans`).
    `keeps` are set where there is nothing yet, `appends` go behind lists, `equal` must be as told, `most` no more.
    """

    key: Key
    version: int | None = None
    planned: bool = False
    sets: Mapping[str, Item] = field(default_factory=dict)
    keeps: Mapping[str, Item] = field(default_factory=dict)
    appends: Mapping[str, Sequence[Item]] = field(default_factory=dict)
    adds: Mapping[str, int] = field(default_factory=dict)
    removes: Sequence[str] = ()
    equal: Mapping[str, Item] = field(default_factory=dict)
    most: Mapping[str, Item] = field(default_factory=dict)
    delete: bool = False

    def but(self, **changes: Any) -> Self:
        """Return a copy with other values."""
        return replace(self, **changes)

    @property
    def address(self) -> Item:
        """The key as attribute values."""
        return address(self.key)


def address(key: Key) -> Item:
    """Return a key as attribute values."""
    return {"pk": text(key[0]), "sk": text(key[1])}


def key_of(item: Item) -> Key:
    """Return the key of an item, or of an index entry."""
    return item["pk"]["S"], item["sk"]["S"]


def request(change: ItemChange, table: str) -> dict[str, Any]:
    """Return a change as the arguments of `UpdateItem` or `DeleteItem`, alone or in a transaction."""
    expression = _Expression()
    expression.holds(change)
    if not change.delete:
        expression.update(change)
    arguments: dict[str, Any] = {
        "TableName": table,
        "Key": change.address,
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        "ConditionExpression": " AND ".join(expression.conditions),
        "ExpressionAttributeNames": expression.names,
    }
    if expression.values:
        arguments["ExpressionAttributeValues"] = expression.values
    if not change.delete:
        arguments["UpdateExpression"] = expression.text
    return arguments


class _Expression:
    """Expressions in the making; every name is an alias, so that none is a reserved word."""

    def __init__(self) -> None:
        self.names: dict[str, str] = {}
        self.values: dict[str, Item] = {}
        self.conditions: list[str] = []
        self.text = ""

    def holds(self, change: ItemChange) -> None:
        self.conditions.append(f"attribute_not_exists({self._name('dr')})")
        if change.version == 0:
            self.conditions.append(f"attribute_not_exists({self._name('v')})")
        elif change.version is not None:
            same = f"{self._name('v')} = {self._value(integer(change.version))}"
            none = f"attribute_not_exists({self._name('v')})"
            self.conditions.append(f"({none} OR {same})" if change.planned else same)
        for name, value in change.equal.items():
            self.conditions.append(f"{self._name(name)} = {self._value(value)}")
        for name, value in change.most.items():
            self.conditions.append(f"{self._name(name)} <= {self._value(value)}")
        if "h" in change.appends and change.version is not None:
            most, length = self._value(integer(HISTORY_BYTES)), self._name("hn")
            self.conditions.append(f"(attribute_not_exists({length}) OR {length} < {most})")

    def update(self, change: ItemChange) -> None:
        sets = [f"{self._name(name)} = {self._value(value)}" for name, value in change.sets.items()]
        for name, value in change.keeps.items():
            alias = self._name(name)
            sets.append(f"{alias} = if_not_exists({alias}, {self._value(value)})")
        for name, values in change.appends.items():
            alias = self._name(name)
            behind = f"list_append(if_not_exists({alias}, {self._value(listed([]))}), {self._value(listed(values))})"
            sets.append(f"{alias} = {behind}")
        for name, count in change.adds.items():
            alias = self._name(name)
            zero, more = self._value(integer(0)), self._value(integer(count))
            sets.append(f"{alias} = if_not_exists({alias}, {zero}) + {more}")
        parts = [f"SET {', '.join(sets)}"] if sets else []
        if change.removes:
            parts.append(f"REMOVE {', '.join(map(self._name, change.removes))}")
        self.text = " ".join(parts)

    def _name(self, name: str) -> str:
        self.names[f"#{name}"] = name
        return f"#{name}"

    def _value(self, value: Item) -> str:
        alias = f":v{len(self.values)}"
        self.values[alias] = value
        return alias


def draft_of(change: ItemChange) -> Item:
    """Return what a change does, without what must hold for it, as a value that an item can carry."""
    return {
        "M": {
            "sets": {"M": dict(change.sets)},
            "keeps": {"M": dict(change.keeps)},
            "appends": {"M": {name: listed(values) for name, values in change.appends.items()}},
            "adds": {"M": {name: integer(count) for name, count in change.adds.items()}},
            "removes": listed([text(name) for name in change.removes]),
            "delete": {"BOOL": change.delete},
        }
    }


def drafted(key: Key, draft: Item) -> ItemChange:
    """Return the change that `draft_of` wrote."""
    parts = draft["M"]
    return ItemChange(
        key,
        sets=parts["sets"]["M"],
        keeps=parts["keeps"]["M"],
        appends={name: values["L"] for name, values in parts["appends"]["M"].items()},
        adds={name: int(count["N"]) for name, count in parts["adds"]["M"].items()},
        removes=[name["S"] for name in parts["removes"]["L"]],
        delete=parts["delete"]["BOOL"],
    )
