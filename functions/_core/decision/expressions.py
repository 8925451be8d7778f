"""Conditions in CEL, the Common Expression Language: compiled once, with limits, and evaluated with limits.

    outputs.build.coverage >= 0.8 && statuses["lint"] != "SKIPPED"

A condition reads variables and nothing else: no clock, no chance, no network. The language is that of cel-python, which
is imported with the first condition: a plan without one does not pay for it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from functions._core.decision.cel_limits import MAX_TEXT, InvalidExpression, Unanswerable
from functions._core.decision.vocabulary import UNPRINTABLE
from functions._core.errors import Undeliverable

__all__ = ["MAX_TEXT", "Condition", "ExpressionFailed", "InvalidExpression", "compiled"]

MAX_KEPT = 256
"""Compiled conditions that a process keeps, at about 100 KiB for the largest."""

MAX_REASON = 200
"""Characters of the reason in a message: enough to recognise it, too few to flood a log."""


class ExpressionFailed(Undeliverable):
    """A condition had no answer for these values; code `condition_failed`."""

    def __init__(self, text: str, reason: str) -> None:
        """Name the condition and the reason."""
        super().__init__(f"the condition {_line(text)} failed: {_line(reason)}", code="condition_failed")


@dataclass(frozen=True, slots=True)
class Condition:
    """A compiled condition; `holds` may be called from several threads at once."""

    text: str
    """The condition, as the plan has it."""
    tasks: frozenset[str]
    """Ids of the tasks whose output or status it reads."""
    names: frozenset[str]
    """Those of `VARIABLES` that it uses."""
    program: Any
    """The syntax tree, for `cel.evaluate`."""

    def holds(self, variables: Mapping[str, Any]) -> bool:
        """Return whether the condition is true for these JSON values, by name of the variable.

        Raises `ExpressionFailed` where it has no answer: a field that is missing, kinds that cannot be compared, an
        overflow, a result that is not true or false, more than `MAX_STEPS`.
        """
        from functions._core.decision import cel  # noqa: PLC0415 costs half a second

        try:
            found = cel.evaluate(self.program, {name: variables[name] for name in self.names & variables.keys()})
        except Unanswerable as error:
            raise ExpressionFailed(self.text, str(error)) from None
        if not isinstance(found, bool):
            raise ExpressionFailed(self.text, "its result is neither true nor false")
        return found


def compiled(text: str) -> Condition:
    """Return the condition that `text` holds; raise `InvalidExpression` with a sentence for people."""
    if len(text) > MAX_TEXT:
        raise InvalidExpression(f"has {len(text)} characters, more than the {MAX_TEXT} of a condition")
    return _compiled(text)


@lru_cache(MAX_KEPT)
def _compiled(text: str) -> Condition:
    from functions._core.decision import cel_syntax  # noqa: PLC0415 costs half a second

    program = cel_syntax.parse(text)
    names, tasks = cel_syntax.names_in(program)
    return Condition(text, tasks, names, program)


def _line(text: str) -> str:
    line = UNPRINTABLE.sub("?", text)
    return line if len(line) <= MAX_REASON else f"{line[:MAX_REASON]}…"
