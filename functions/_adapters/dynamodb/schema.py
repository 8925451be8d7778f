"""The table as `CreateTable` takes it: the one description of it."""

from collections.abc import Mapping
from typing import Any

GLOBAL_INDEXES = {
    "due": ("wp", "ws", ()),
    "standing": ("sp", "ss", ("fu", "eo", "ms", "p")),
    "listing": ("gp", "gs", ()),
    "outbox": ("op", "os", ("ol",)),
}
"""Hash key, range key, and what is copied beside the keys."""


def _keys(hash_key: str, range_key: str) -> list[dict[str, str]]:
    return [
        {"AttributeName": hash_key, "KeyType": "HASH"},
        {"AttributeName": range_key, "KeyType": "RANGE"},
    ]


def _projection(copied: tuple[str, ...]) -> dict[str, Any]:
    if copied:
        return {"ProjectionType": "INCLUDE", "NonKeyAttributes": list(copied)}
    return {"ProjectionType": "KEYS_ONLY"}


def create_table(name: str) -> Mapping[str, Any]:
    """Return the arguments of `CreateTable`."""
    keys = ["pk", "sk", *(key for one, two, _ in GLOBAL_INDEXES.values() for key in (one, two))]
    return {
        "TableName": name,
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [{"AttributeName": key, "AttributeType": "S"} for key in keys],
        "KeySchema": _keys("pk", "sk"),
        "GlobalSecondaryIndexes": [
            {"IndexName": index, "KeySchema": _keys(one, two), "Projection": _projection(copied)}
            for index, (one, two, copied) in GLOBAL_INDEXES.items()
        ],
    }
