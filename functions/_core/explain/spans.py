"""Durations and counts in words; apart from `wording`, so that the command line can have them without the records."""

from datetime import timedelta

MINUTE, HOUR, DAY = 60, 3600, 86_400
"""Seconds."""

SECOND_MS = 1_000
"""Milliseconds of a second: 0.1 s says nothing of work that takes 80 ms."""

PRECISE_BELOW = 10
"""Seconds below which tenths matter to a reader."""


def span(duration: timedelta) -> str:
    """Return a duration in its two largest units, e.g. `9 min 17 s`; its sign is left to the sentence."""
    seconds = abs(duration.total_seconds())
    whole = int(seconds)
    if seconds < PRECISE_BELOW:
        return f"{int(seconds * 10) / 10:g} s"
    if whole < MINUTE:
        return f"{whole} s"
    for unit, name, smaller, smaller_name in (
        (DAY, "d", HOUR, "h"),
        (HOUR, "h", MINUTE, "min"),
        (MINUTE, "min", 1, "s"),
    ):
        if whole >= unit:
            rest = whole % unit // smaller
            return f"{whole // unit} {name} {rest} {smaller_name}" if rest else f"{whole // unit} {name}"
    raise AssertionError("a minute is the smallest of the units")


def span_of_ms(milliseconds: float) -> str:
    """Return a duration that is given in milliseconds as `span` does, below one second in milliseconds."""
    return f"{milliseconds:.0f} ms" if milliseconds < SECOND_MS else span(timedelta(milliseconds=milliseconds))


def span_of_seconds(seconds: float) -> str:
    """Return a duration that is given in seconds as `span` does."""
    return span(timedelta(seconds=seconds))


def counted(number: int, one: str, many: str | None = None) -> str:
    """Return `1 ticket`, `2 tickets`; `many` where the plural takes more than an s."""
    return f"{number} {one if number == 1 else many or one + 's'}"
