"""Every field of a record, of an event's data and of a form has its sentence, and no program loads it."""

import dataclasses
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path

import pytest
from pydantic import BaseModel

from functions._core.decision.model import Compensation
from functions._core.events.data import FlowConsolidated, TransitionData
from functions._core.planning.tickets import UNDO_MS
from functions._core.records.record import Record
from functions._core.records.set_aside import RAW, UnreadableRecord
from functions._core.records.values import Model
from infra.generate.contract.field_docs import phrase, sentences
from tests.conftest import ROOT

ROOMS = ("functions/_core/records", "functions/_core/events")
FILES = ("functions/_core/decision/model.py", "functions/_core/placement/workers.py", "functions/api/forms.py")


def names_of(paths: Iterable[Path]) -> list[str]:
    return [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths]


MODULES = sorted(
    names_of(path for room in ROOMS for path in (ROOT / room).glob("*.py") if path.stem != "__init__")
    + names_of(ROOT / file for file in FILES)
)


def classes_of(module: str) -> list[type]:
    """Return the classes with fields that a module defines."""
    return [
        value
        for value in vars(import_module(module)).values()
        if isinstance(value, type) and value.__module__ == module and "[" not in value.__name__
        if issubclass(value, BaseModel | Record) or dataclasses.is_dataclass(value)
    ]


def fields_of(cls: type) -> list[str]:
    if issubclass(cls, BaseModel):
        return list(cls.model_fields)
    if issubclass(cls, Record):
        return list(cls.__struct_fields__)
    assert dataclasses.is_dataclass(cls)
    return [field.name for field in dataclasses.fields(cls)]


def is_sentence(text: str) -> bool:
    return len(text) > len("Why.") and text.endswith(".")


CLASSES = [cls for module in MODULES for cls in classes_of(module)]


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__qualname__)
def test_every_field_has_a_sentence_below_it_or_in_a_base_class(cls: type) -> None:
    assert [f"{name}: {phrase(cls, name)}" for name in fields_of(cls) if not is_sentence(phrase(cls, name))] == []
    assert sentences(cls).keys() - set(fields_of(cls)) - {"verb", "synonyms"} == set()


def test_the_classes_are_found() -> None:
    names = {"Flow", "Ticket", "Worker", "ChangeSet", "Transition", "Report", "Decision", "Heartbeat", "OrderForm"}
    assert names <= {cls.__name__ for cls in CLASSES}
    assert len(CLASSES) > 60


def test_a_field_that_is_declared_again_keeps_the_sentence_of_its_base_class_unless_it_has_its_own() -> None:
    assert "flow_id" not in sentences(FlowConsolidated)
    assert phrase(FlowConsolidated, "flow_id") == phrase(TransitionData, "flow_id")
    assert phrase(FlowConsolidated, "outcome") == "How the flow ends."


def test_a_field_without_a_sentence_is_named() -> None:
    class Silent(Model):
        speed: int

    with pytest.raises(LookupError, match=r"Silent\.speed has no sentence below it"):
        phrase(Silent, "speed")


def test_a_number_in_a_sentence_is_that_of_the_code() -> None:
    assert f"; {UNDO_MS} without it." in phrase(Compensation, "timeout_ms")
    assert f"{RAW:,} characters" in phrase(UnreadableRecord, "raw")


def test_no_program_loads_the_sentences() -> None:
    described = [
        f"{cls.__name__}.{name}"
        for cls in CLASSES
        if issubclass(cls, BaseModel)
        for name, field in cls.model_fields.items()
        if field.description is not None
    ]
    assert described == []
