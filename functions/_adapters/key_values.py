"""What every store checks alike of small records."""

from datetime import datetime

from functions._core.errors import Rejected
from functions._core.ports import KEY_BYTES, VALUE_BYTES, Entry
from functions._core.records.values import milliseconds

EPOCH = datetime.fromisoformat("1970-01-01T00:00:00Z")


def fits(key: str) -> bool:
    """Return whether every store can keep the key; no entry has one that does not fit."""
    try:
        return 0 < len(key.encode()) <= KEY_BYTES and "\0" not in key
    except UnicodeEncodeError:  # half of a surrogate pair
        return False


def successor(key: str, value: bytes, version: int, expires_at: datetime | None, now: datetime) -> Entry:
    """Return the entry that takes the place of `version`; raise `Rejected` when it cannot be kept.

    The first version is the time, so that a key that is new once more has no version of its former entry.
    """
    if not fits(key):
        raise Rejected(f"A key has 1 to {KEY_BYTES} bytes and no NUL.", code="not_storable")
    if len(value) > VALUE_BYTES:
        raise Rejected(f"A value has at most {VALUE_BYTES} bytes.", code="not_storable")
    following = version + 1 if version else milliseconds(now - EPOCH)
    return Entry(key, value, following, expires_at)


def is_there(entry: Entry, now: datetime) -> bool:
    """Return whether the entry has not expired."""
    return entry.expires_at is None or entry.expires_at > now
