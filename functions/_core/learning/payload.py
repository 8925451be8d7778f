"""The payload of a model: all that it needs to predict, as JSON, packed into parts that a small record can hold."""

import zlib
from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from collections.abc import Sequence
from hashlib import sha256
from json import dumps
from typing import Literal

from msgspec import DecodeError

from functions._core.learning.drift import Sampled
from functions._core.learning.duration_table import DurationTable, TableNumbers, faults_of
from functions._core.learning.features import FEATURES, Profile
from functions._core.learning.predictions import Predictor
from functions._core.learning.trees import BoostedTable, TreeModel, faults_of_trees
from functions._core.records.record import Record, decode, encode

MODEL_BYTES = 1024 * 1024
"""How large a payload may be as JSON: a table of 512 KiB at most, trees, and a sample of what it was trained on."""

TABLE_BYTES = 512 * 1024
"""How large its table may be."""

PART = 60_000
"""Characters of a part: with its quotes below the 64 KiB of a small record."""

PARTS = 24
"""Parts of the largest payload that is read: one that could not be compressed at all."""


class Unusable(Exception):
    """A stored model cannot be used; the sentence says why."""


class ModelPayload(Record):
    """A model as it is stored."""

    kind: Literal["table", "trees"] = "table"
    """`table` alone, or `trees` that correct it."""
    table: TableNumbers
    """The table."""
    trees: TreeModel | None = None
    """The trees that correct it, where its kind says so."""
    sample: tuple[Sampled, ...] = ()
    """A sample of the rows that it was trained on, for drift."""

    def predictor(self, version: str, profile: Profile | None = None) -> Predictor:
        """Return the model at work; trees look at the `profile` of what was done lately."""
        if self.trees is None:
            return DurationTable(self.table, version)
        return BoostedTable(self.table, self.trees, profile or Profile(), version)


def packed(model: ModelPayload) -> tuple[str, Sequence[bytes]]:
    """Return the checksum of a payload and its parts, each a JSON text; raise `ValueError` for one too large."""
    text = encode(model)
    if len(text) > MODEL_BYTES or len(encode(model.table)) > TABLE_BYTES:
        raise ValueError(f"a model of {len(text)} bytes is too large")
    letters = b64encode(zlib.compress(text, 6)).decode()
    parts = [letters[place : place + PART] for place in range(0, len(letters), PART)]
    return sha256(text).hexdigest(), [dumps(part).encode() for part in parts]


def unpacked(parts: Sequence[bytes], checksum: str) -> ModelPayload:
    """Return the payload of its parts; raise `Unusable` for whatever is not exactly what was packed, or is unsound.

    It takes some ten milliseconds for the largest, so it belongs beside the event loop.
    """
    if not 1 <= len(parts) <= PARTS:
        raise Unusable(f"it has {len(parts)} parts")
    letters = [_text(part) for part in parts]
    unpack = zlib.decompressobj()
    try:
        text = unpack.decompress(b64decode("".join(letters), validate=True), MODEL_BYTES + 1)
    except (NotBase64, zlib.error, ValueError) as error:
        raise Unusable("its parts cannot be unpacked") from error
    if len(text) > MODEL_BYTES or not unpack.eof:
        raise Unusable("it is larger than a model may be, or cut off")
    if sha256(text).hexdigest() != checksum:
        raise Unusable("its checksum is another one")
    try:
        model = decode(ModelPayload, text)
    except DecodeError as error:  # what does not fit is one, too
        raise Unusable("it is no model of this version") from error
    faults = [*faults_of(model.table), *(faults_of_trees(model.trees, len(FEATURES)) if model.trees else ())]
    if faults or (model.kind == "trees") != (model.trees is not None):
        raise Unusable("; ".join(faults) or "its kind is not what it holds")
    return model


def _text(part: bytes) -> str:
    try:
        return decode(str, part)
    except DecodeError as error:
        raise Unusable("a part is no text") from error
