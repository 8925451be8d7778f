"""YAML as people write plans and other documents in it: the JSON schema of YAML 1.2, bounded, and read from its events.

A value is what JSON could say: no tags, dates stay text, `no` is a word and no flag. Nothing recurses, and aliases are
counted as often as they stand for something, so a short text stands for little memory. A key that comes twice is
refused: of two values one would be lost.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from math import isfinite
from typing import Any, NamedTuple

from functions._core.errors import Rejected
from functions._core.records.json_text import MAX_DEPTH, MAX_PARTS

MAX_BYTES = 16 * 1024 * 1024
"""Bytes of a text: as many as the platform takes."""

PLAIN: Mapping[str, object] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
"""Words of plain scalars that are no text."""

WHOLE = re.compile(r"[-+]?[0-9]{1,4000}", re.ASCII)
OTHER_BASES = re.compile(r"0o[0-7]{1,100}|0x[0-9a-fA-F]{1,100}", re.ASCII)
FRACTION = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", re.ASCII)
NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")

CORE = "tag:yaml.org,2002:"
TAGS = frozenset({None, "!", *(CORE + kind for kind in ("str", "int", "float", "bool", "null", "map", "seq"))})
TEXT = CORE + "str"
MERGE = "<<"


class Token(NamedTuple):
    """A part of a text: `{`, `[`, `.` for the end of either, or `v` for a value; lines and columns count from 0."""

    kind: str
    text: str
    line: int
    column: int


class _Open:
    """A mapping or a list that is being read."""

    def __init__(self, value: Any, anchor: str | None, before: int) -> None:  # noqa: ANN401 a dict or a list
        self.value, self.anchor, self.before = value, anchor, before
        self.key: str | None = None
        self.merged: dict[str, object] = {}


class _Reader:
    """Puts a value together from the events of the parser."""

    def __init__(self, most: int) -> None:
        self.result: object = None
        self._open: list[_Open] = []
        self._anchors: dict[str, tuple[object, int]] = {}
        self._parts, self._most = 0, most

    def begin_document(self) -> None:
        """Forget the value of the document before; what it stood for counts on."""
        self.result = None
        self._anchors.clear()

    def begin(self, value: Any, event: Any) -> None:  # noqa: ANN401 a dict or a list, an event of the parser
        _check_tag(event)
        self._count(1, event)
        if len(self._open) >= MAX_DEPTH:
            raise _refused(f"it is nested more than {MAX_DEPTH} levels deep", event, "too_deep")
        if event.anchor:
            self._anchors.pop(event.anchor, None)
        self._open.append(_Open(value, event.anchor, self._parts))

    def end(self, event: Any) -> None:  # noqa: ANN401
        one = self._open.pop()
        if one.merged:
            one.value.update({key: value for key, value in one.merged.items() if key not in one.value})
        if one.anchor:
            self._anchors[one.anchor] = one.value, self._parts - one.before
        self._add(one.value, event)

    def alias(self, event: Any) -> None:  # noqa: ANN401
        if event.anchor not in self._anchors:
            raise _refused(f"*{event.anchor} stands for nothing that comes before it as a whole", event)
        value, parts = self._anchors[event.anchor]
        self._count(parts + 1, event)
        self._add(value, event)

    def scalar(self, event: Any) -> None:  # noqa: ANN401
        _check_tag(event)
        self._count(1, event)
        if self._open and isinstance(self._open[-1].value, dict) and self._open[-1].key is None:
            self._name(event)
            return
        quoted = bool(event.style) and event.tag in {None, "!"}
        value = event.value if quoted or event.tag in {"!", TEXT} else _plain(event)
        if event.anchor:
            self._anchors[event.anchor] = value, 1
        self._add(value, event)

    def _name(self, event: Any) -> None:  # noqa: ANN401
        one = self._open[-1]
        if event.value in one.value or (event.value == MERGE and one.merged):
            raise _refused(f"the key {event.value[:60]!r} is there twice", event)
        one.key = event.value

    def _add(self, value: object, event: Any) -> None:  # noqa: ANN401
        if not self._open:
            self.result = value
            return
        one = self._open[-1]
        if isinstance(one.value, list):
            one.value.append(value)
        elif one.key is None:
            raise _refused("a key has to be text", event)
        elif one.key == MERGE:
            one.merged, one.key = _merged(value, event), None
        else:
            one.value[one.key] = value
            one.key = None

    def _count(self, parts: int, event: Any) -> None:  # noqa: ANN401
        self._parts += parts
        if self._parts > self._most:
            raise _refused(f"it stands for more than {self._most} values", event, "too_complex")


def parse_yaml(text: bytes) -> object:
    """Return the value of one YAML document; raise `Rejected` with a sentence that names line and column."""
    return next(iter(parse_documents(text, at_most=1)), None)


def parse_documents(text: bytes, *, at_most: int, parts: int = MAX_PARTS) -> Sequence[object]:
    """Return the values of all documents of a YAML stream, which together stand for up to `parts` values.

    Raises `Rejected` with a sentence that names line and column, also for one document more than `at_most`.
    """
    import yaml  # noqa: PLC0415 cold start: few read YAML

    reader = _Reader(parts)
    found: list[object] = []
    for event in _events(text):
        match event:
            case yaml.DocumentStartEvent():
                if len(found) >= at_most:
                    several = f"{at_most} are" if at_most > 1 else "one is"
                    number = "a second" if at_most == 1 else "another"
                    raise _refused(f"{number} document begins, and {several} read", event)
                reader.begin_document()
            case yaml.DocumentEndEvent():
                found.append(reader.result)
            case yaml.MappingStartEvent():
                reader.begin({}, event)
            case yaml.SequenceStartEvent():
                reader.begin([], event)
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                reader.end(event)
            case yaml.AliasEvent():
                reader.alias(event)
            case yaml.ScalarEvent():
                reader.scalar(event)
    return found


def yaml_tokens(text: bytes) -> Iterator[Token]:
    """Yield the parts of a text that `parse_yaml` has read, with their places; an alias is one value."""
    import yaml  # noqa: PLC0415 cold start: few read YAML

    for event in _events(text):
        at = event.start_mark.line, event.start_mark.column
        match event:
            case yaml.MappingStartEvent():
                yield Token("{", "", *at)
            case yaml.SequenceStartEvent():
                yield Token("[", "", *at)
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                yield Token(".", "", *at)
            case yaml.ScalarEvent():
                yield Token("v", event.value, *at)
            case yaml.AliasEvent():
                yield Token("v", "", *at)


def _events(text: bytes) -> Iterator[Any]:
    """Yield the events of the parser, that in C where there is one."""
    import yaml  # noqa: PLC0415 cold start: few read YAML

    if len(text) > MAX_BYTES:
        raise Rejected(f"the text is larger than {MAX_BYTES} bytes", code="too_large", status=413)
    try:
        yield from yaml.parse(text.decode(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except UnicodeDecodeError as error:
        raise Rejected(f"the text is not UTF-8: byte {error.start} cannot be read", code="malformed_yaml") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f" at line {mark.line + 1} column {mark.column + 1}" if mark else ""
        raise Rejected(
            f"the text is not YAML: {error.problem or error.context}{place}", code="malformed_yaml"
        ) from None
    except yaml.YAMLError as error:
        raise Rejected(f"the text is not YAML: {str(error).splitlines()[0]}", code="malformed_yaml") from None


def _plain(event: Any) -> object:  # noqa: ANN401
    word: str = event.value
    if word in PLAIN:
        return PLAIN[word]
    if WHOLE.fullmatch(word):
        return int(word)
    if OTHER_BASES.fullmatch(word):
        return int(word, 0)
    if NOT_FINITE.fullmatch(word) or (FRACTION.fullmatch(word) and not isfinite(float(word))):
        raise _refused(f"{word[:60]} is no number of JSON", event)
    return float(word) if FRACTION.fullmatch(word) else word


def _merged(value: object, event: Any) -> dict[str, object]:  # noqa: ANN401
    """Return what the merge key `<<` adds to a mapping: of several mappings the first counts."""
    parts = value if isinstance(value, list) else [value]
    found: dict[str, object] = {}
    for part in parts:
        if not isinstance(part, dict):
            raise _refused("'<<' takes a mapping, or a list of mappings", event)
        found = {**part, **found}
    return found


def _check_tag(event: Any) -> None:  # noqa: ANN401
    if event.tag not in TAGS:
        raise _refused(f"the tag {event.tag[:60]!r} is not read, values are those of JSON", event)


def _refused(text: str, event: Any, code: str = "malformed_yaml") -> Rejected:  # noqa: ANN401
    mark = event.start_mark
    return Rejected(f"the text cannot be read: {text} at line {mark.line + 1} column {mark.column + 1}", code=code)
