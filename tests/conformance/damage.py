"""How a stored record is damaged, in each store."""

import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path

import asyncpg

from functions._adapters.aws.client import Client
from functions._adapters.dynamodb import keys
from functions._adapters.dynamodb.changes import address
from functions._adapters.dynamodb.values import Item, binary, deflate, inflate, text
from functions._core.records.set_aside import RecordKind

Change = Callable[[str], str]

TABLES: Mapping[RecordKind, tuple[str, str]] = {
    RecordKind.FLOW: ("flow", "flow_id"),
    RecordKind.TICKET: ("ticket", "ticket_id"),
    RecordKind.REQUIREMENT: ("ticket", "ticket_id"),
    RecordKind.WORKER: ("worker", "worker_id"),
    RecordKind.DEAD_LETTER: ("dead_letter", "letter_id"),
    RecordKind.QUEUED_EVENT: ("event_queue", "event_id"),
    RecordKind.TELEMETRY: ("telemetry_buffer", "position"),
    RecordKind.HISTORY: ("history", "seq"),
    RecordKind.AUDIT: ("audit", "position"),
}


def in_sqlite(path: Path, kind: RecordKind, record_id: str, change: Change) -> None:
    """Change the document of a row; without an id, of the first."""
    table, column = TABLES[kind]
    connection = sqlite3.connect(path, timeout=30)
    try:
        for (trigger,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {trigger}")  # a disk that fails asks no trigger
        wanted = record_id or connection.execute(f"SELECT min({column}) FROM {table}").fetchone()[0]  # noqa: S608
        text = "requirement" if kind is RecordKind.REQUIREMENT else "doc"
        (doc,) = connection.execute(f"SELECT {text} FROM {table} WHERE {column} = ?", (wanted,)).fetchone()  # noqa: S608
        with connection:
            update = f"UPDATE {table} SET {text} = ? WHERE {column} = ?"  # noqa: S608
            changed = connection.execute(update, (change(doc), wanted))
        assert changed.rowcount == 1
    finally:
        connection.close()


async def in_postgres(url: str, kind: RecordKind, record_id: str, change: Change) -> None:
    """Change the document of a row; without an id, of the first."""
    table, column = TABLES[kind]
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("SET session_replication_role = replica")  # histories are only added to
        wanted = record_id or await connection.fetchval(f"SELECT min({column}) FROM {table}")  # noqa: S608
        text = "required_capabilities" if kind is RecordKind.REQUIREMENT else "doc"
        doc = await connection.fetchval(f"SELECT {text} FROM {table} WHERE {column} = $1", wanted)  # noqa: S608
        await connection.execute(f"UPDATE {table} SET {text} = $1 WHERE {column} = $2", change(doc), wanted)  # noqa: S608
    finally:
        await connection.close()


async def in_dynamodb(client: Client, table: str, kind: RecordKind, record_id: str, change: Change) -> None:
    """Change the document of an item; without an id, of the first."""
    if kind is RecordKind.REQUIREMENT:
        await _requirement(client, table, record_id, change)
        return
    key, path = await _place(client, table, kind, record_id)
    arguments = {"TableName": table, "Key": address(key)}
    value: Item = (await client.call("get_item", arguments))["Item"]
    for name in path:
        value = value[name] if isinstance(name, str) else value["L"][name]
        value = value.get("M", value)
    doc = inflate(bytes(value["B"])).decode()
    expression = "".join(f".{name}" if isinstance(name, str) else f"[{name}]" for name in path)[1:]
    arguments["UpdateExpression"] = f"SET {expression} = :v"
    arguments["ExpressionAttributeValues"] = {":v": binary(deflate(_changed(kind, doc, change)))}
    await client.call("update_item", arguments)


async def _requirement(client: Client, table: str, ticket_id: str, change: Change) -> None:
    """Change what the requirement of a waiting ticket stands for."""
    key, _ = await _place(client, table, RecordKind.TICKET, ticket_id)
    ticket = (await client.call("get_item", {"TableName": table, "Key": address(key)}))["Item"]
    arguments = {
        "TableName": table,
        "Key": address((keys.REQUIREMENTS, ticket["sp"]["S"].removeprefix("WAIT#"))),
        "UpdateExpression": "SET cs = :v",
        "ExpressionAttributeValues": {":v": text(change("[]"))},
    }
    await client.call("update_item", arguments)


def _changed(kind: RecordKind, doc: str, change: Change) -> str:
    """Change a document; history is kept as a list of lines, of which the first is changed."""
    return f"[{change(doc[1:-1])}]" if kind is RecordKind.HISTORY else change(doc)


async def _place(
    client: Client, table: str, kind: RecordKind, record_id: str
) -> tuple[keys.Key, tuple[str | int, ...]]:
    """Return the key of an item, and the path to the document in it."""
    if kind is RecordKind.FLOW:
        return keys.flow_key(record_id), ("d",)
    if kind is RecordKind.WORKER:
        return (keys.WORKERS, record_id), ("d",)
    if kind is RecordKind.DEAD_LETTER:
        return keys.letter_key(record_id), ("d",)
    if kind is RecordKind.QUEUED_EVENT:
        return keys.event_key(record_id), ("ob", 0, "d")
    if kind is RecordKind.TICKET:
        pointer = await client.call("get_item", {"TableName": table, "Key": address(keys.pointer_key(record_id))})
        return keys.ticket_key(pointer["Item"]["fl"]["S"], record_id), ("d",)
    found = (await client.call("scan", {"TableName": table}))["Items"]
    fitting = [item for item in found if _is(kind, item)]
    first = min(fitting, key=lambda item: (item["sk"]["S"] != keys.FLOW, item["sk"]["S"]))
    return (first["pk"]["S"], first["sk"]["S"]), ("h", 0) if kind is RecordKind.HISTORY else ("d",)


def _is(kind: RecordKind, item: Item) -> bool:
    if kind is RecordKind.HISTORY:
        return "h" in item
    if kind is RecordKind.AUDIT:
        return "k" in item
    return bool(item["pk"] == text(keys.TELEMETRY))
