"""The base of all records, and the one codec between records and JSON.

Records are plain slotted values; nothing checks them where they are made, as their makers are typed. What is read is
checked: `decode` and `from_json` raise `msgspec.ValidationError`, or `msgspec.DecodeError` for a text that is no JSON.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from functools import cache
from typing import Any, Self, TypeVar, cast, dataclass_transform, get_args, get_origin

from msgspec import UNSET, Struct, StructMeta, UnsetType, convert, json, structs, to_builtins
from pydantic import BaseModel, GetCoreSchemaHandler, create_model
from pydantic.json_schema import SkipJsonSchema
from pydantic_core import core_schema

from functions._core.records.values import Model, format_time

T = TypeVar("T")

Writer = Callable[[Any], object]
"""Makes of a field what the codec can write."""


class RecordMeta(StructMeta):
    """Makes the classes of records, whose fields are all given by name."""

    def __new__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **options: Any) -> "RecordMeta":
        """Return the class."""
        return super().__new__(cls, name, bases, namespace, kw_only=True, **options)


@dataclass_transform(kw_only_default=True, frozen_default=True)
class Record(Struct, frozen=True, gc=False, metaclass=RecordMeta):  # no cycles to collect: fields are JSON values
    """Base of our own records and answers: frozen; on reading, unknown fields are ignored and missing ones default."""

    def but(self, **changes: Any) -> Self:
        """Return a copy with `changes`, which the caller has already typed."""
        return structs.replace(self, **changes)

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: object, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        """Let models have records as fields, read from objects and written as `as_json` does."""

        def read(value: object, read_fields: core_schema.ValidatorFunctionWrapHandler) -> object:
            return value if isinstance(value, cls) else cls(**vars(read_fields(value)))

        return core_schema.no_info_wrap_validator_function(
            read,
            handler.generate_schema(_model_of(cls)),
            serialization=core_schema.plain_serializer_function_ser_schema(as_json),
        )


def fields_of(record: Record) -> dict[str, Any]:
    """Return the fields of a record by name."""
    return structs.asdict(record)


def encode(value: object) -> bytes:
    """Return a record with all its fields, or another value that the codec knows, as JSON.

    Raises `UnicodeEncodeError` for text that no encoding can write.
    """
    return _ENCODER.encode(_plain(value))


def encode_fields(
    record: Record, names: Iterable[str], without: Mapping[str, Any], compact: Iterable[str] = ()
) -> bytes:
    """Return some fields of a record as a JSON object, without those that have the value in `without`.

    Records in the fields `compact` are arrays of their fields.
    """
    plain = _plain(record)
    fields = {name: getattr(plain, name) for name in names}
    kept = {name: value for name, value in fields.items() if name not in without or value != without[name]}
    return _ENCODER.encode(kept | {name: _compact(kept[name]) for name in compact if name in kept})


def _compact(value: Any) -> object:
    return structs.astuple(value) if isinstance(value, Record) else [structs.astuple(one) for one in value]


def decode(model: type[T], text: str | bytes) -> T:
    """Return the record, or other value, of a JSON text."""
    try:
        decoder = _DECODERS[model]
    except KeyError:
        decoder = _DECODERS[model] = json.Decoder(model)
    return cast("T", decoder.decode(text))


def as_json(value: object) -> Any:
    """Return a record, or a field of one, as plain JSON values."""
    return to_builtins(_plain(value))


def from_json(model: type[T], value: Mapping[str, Any]) -> T:
    """Return the record of a JSON object, whose values may be those of fields."""
    return convert(value, model)


def defaults_of(model: type[Record]) -> dict[str, Any]:
    """Return the defaults of the fields of a record that have one."""
    return {field.name: _default_of(field) for field in structs.fields(model) if not field.required}


_ENCODER = json.Encoder()

_DECODERS: dict[object, json.Decoder[Any]] = {}
"""The compiled decoders by the type that they read."""


def _plain(value: object) -> object:
    """Return a value with its times as text of milliseconds: the codec itself would write microseconds."""
    if isinstance(value, Record):
        writers = _writers_of(type(value))
        return structs.replace(value, **{name: write(getattr(value, name)) for name, write in writers})
    if isinstance(value, datetime):
        return format_time(value)
    if isinstance(value, Mapping):
        return {name: _plain(part) for name, part in value.items()}
    return [_plain(part) for part in value] if isinstance(value, tuple) else value


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else format_time(moment)


def _leave_out(_field: object) -> UnsetType:
    return UNSET


@cache
def _writers_of(model: type[Record]) -> tuple[tuple[str, Writer], ...]:
    """Return the fields that the codec cannot write as they are, and how they are written."""
    return tuple((field.name, writer) for field in structs.fields(model) for writer in _writers(field.type))


def _writers(hint: object) -> Iterator[Writer]:
    """Yield the writer of a field of this type, if it needs one."""
    parts = get_args(hint)
    if any(type(part) is SkipJsonSchema for part in parts):
        yield _leave_out  # what is in no schema is not written
    elif hint is datetime:
        yield _time
    elif isinstance(hint, type) and issubclass(hint, Record):
        yield from [_plain] if _writers_of(hint) else []
    elif writers := {writer for part in parts for writer in _writers(part)}:
        yield _plain if get_origin(hint) in {tuple, Mapping} else writers.pop()


@cache
def _model_of(cls: type[Record]) -> type[BaseModel]:
    """Return the pydantic model with the fields of a record: it makes schemas, and checks input."""
    fields: dict[str, Any] = {
        field.name: (field.type, ... if field.required else _default_of(field)) for field in structs.fields(cls)
    }
    model = create_model(cls.__name__, __base__=Model, __module__=cls.__module__, __doc__=cls.__doc__, **fields)
    model.model_rebuild()  # now: what is put off would be made again wherever a route shows the record
    return model


def _default_of(field: structs.FieldInfo) -> object:
    return field.default_factory() if callable(field.default_factory) else field.default
