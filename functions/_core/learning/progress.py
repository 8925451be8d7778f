"""What the function `learn` knows between its rounds, as one small record, so that it changes as a whole.

The profile is within it, packed: cursor and profile never disagree, and of two rounds at once one stores nothing.
"""

import zlib
from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from collections.abc import Mapping
from datetime import datetime, timedelta

from msgspec import DecodeError

from functions._core.learning.drift import Sampled
from functions._core.learning.features import Profile
from functions._core.ports import Entry, KeyValues
from functions._core.records.record import Record, decode, encode
from functions._core.records.values import Timestamp
from functions._core.small_records import changed_entry

LEARNING = "learning"
"""The space of cursors and of the profile."""

PROGRESS, ASKED, TRAINING = "progress", "asked", "training"
"""The keys of the progress, of what people have asked for, and of a training that is under way."""

PROFILE_BYTES = 256 * 1024
"""How large a profile may be when it is unpacked; four times what one has at most."""


class LearningProgress(Record):
    """How far history was taken in, and what it has shown."""

    cursor: str | None = None
    """Where the next increment begins; None: with the oldest flow that is looked at."""
    since: Timestamp | None = None
    """When the first flow ended that was taken in."""
    rows: int = 0
    """Tickets that were taken in, ever."""
    days: Mapping[str, int] = {}
    """Tickets that ended on a day, UTC, that tell how long work takes: of the last 60 days with any."""
    sample: tuple[Sampled, ...] = ()
    """A sample of the tickets of the last seven days, with the errors of the model that served then."""
    sample_of: int = 0
    """The number of the model whose errors those are."""
    packed: str = ""
    """The profile, packed."""
    at: Timestamp | None = None
    """When something was taken in last."""
    trained_week: str = ""
    """The last Sunday for which the weekly training was begun, as a date."""

    @property
    def profile(self) -> Profile:
        """The profile; an empty one where none is there, or it cannot be read."""
        try:
            unpack = zlib.decompressobj()
            text = unpack.decompress(b64decode(self.packed, validate=True), PROFILE_BYTES)
            return decode(Profile, text) if unpack.eof else Profile()
        except (NotBase64, zlib.error, DecodeError, ValueError):
            return Profile()

    def with_profile(self, profile: Profile) -> "LearningProgress":
        """Return it with another profile."""
        return self.but(packed=b64encode(zlib.compress(encode(profile), 6)).decode())


ASKED_FOR = timedelta(days=1)
"""How long a request for a training stands: one that nothing has come of by then is forgotten."""


class Asked(Record):
    """A training that somebody has asked for."""

    by: str
    """Who."""
    at: Timestamp
    """When."""


def asked_of(entry: Entry) -> Asked | None:
    """Return a request as it is stored; None for what cannot be read."""
    try:
        return decode(Asked, entry.value)
    except DecodeError:
        return None


async def asked_for(entries: KeyValues) -> Asked | None:
    """Return the training that somebody has asked for, None where nobody has."""
    entry = await entries.get(LEARNING, ASKED)
    return asked_of(entry) if entry is not None else None


async def training_waits(entries: KeyValues) -> bool:
    """Tell whether somebody has asked for a training, and no process is at one."""
    return await asked_for(entries) is not None and await entries.get(LEARNING, TRAINING) is None


async def ask(entries: KeyValues, by: str, now: datetime) -> Asked:
    """Ask for a training, which `learn` does within a minute; one that was asked for already stands. Return it."""

    def change(entry: Entry | None) -> tuple[bytes, Asked]:
        request = (asked_of(entry) if entry is not None else None) or Asked(by=by, at=now)
        return encode(request), request

    request, _ = await changed_entry(entries, LEARNING, ASKED, change, expires_at=now + ASKED_FOR)
    return request


def progress_of(entry: Entry | None) -> LearningProgress:
    """Return the progress that is stored; that of a beginning where there is none, or it cannot be read."""
    if entry is None:
        return LearningProgress()
    try:
        return decode(LearningProgress, entry.value)
    except DecodeError:
        return LearningProgress()
