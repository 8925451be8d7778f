"""The limits of conditions and the two ways in which one can be wrong: as a text, and for the values it is given."""

MAX_TEXT = 4_096
"""Characters of a condition. A longer one is a program and belongs in a worker."""

MAX_PARTS = 1_024
"""Words and signs of a condition: each takes a tenth of a millisecond to compile, and compiled conditions are kept."""

MAX_NESTING = 64
"""Levels of syntax in a condition: each takes up to eight of the thousand frames of Python's stack."""

MAX_MACROS = 2
"""Levels of `all`, `exists`, `exists_one`, `map` and `filter` within each other: each one multiplies the work."""

MAX_STEPS = 200_000
"""Steps of one evaluation, about a second of CPU at most. A node, a value that is read and 64 characters of text are
a step each. A condition on each of the 10,000 outputs of the longest repetition fits."""

VARIABLES = ("outputs", "statuses", "item", "index", "input", "event")
"""Names that a condition may use; which of them have a value depends on its place."""

BY_TASK = frozenset({"outputs", "statuses"})
"""Variables that are maps by task id. The id is a literal, so that C1 knows what a condition waits for."""


class InvalidExpression(ValueError):
    """The text is no condition, or one beyond the limits."""


class Unanswerable(Exception):
    """An evaluation that has no answer."""
