"""The faults that a simulated world knows: a name and a sentence for people, how likely, and whether one struck."""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from random import Random

ALL, NONE = "all", "none"

SHARE, SELDOM = 0.4, 0.15
"""With `all`, each world has a part of the faults, drawn from its seed: all at once would hide what a few can do.

Those with which few flows succeed are in fewer worlds.
"""


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of trouble. `chance` is that of a single stroke, wherever one is possible."""

    name: str
    chance: float
    sentence: str
    share: float = SHARE
    """Of the worlds that have it, with `all`."""


CATALOGUE: Sequence[Fault] = (
    # Messages: what goes to workers, comes from them, or was committed and is handed on.
    Fault("drop", 0.06, "A message is lost on its way."),
    Fault("duplicate", 0.10, "A message arrives twice."),
    Fault("delay", 0.10, "A message is up to 20 s late."),
    Fault("reorder", 0.20, "Messages sent together arrive in another order."),
    # The store and other services.
    Fault("unavailable", 0.02, "The store, or another service, refuses a call."),
    Fault("reply-lost", 0.02, "The store does what it is asked, but its reply is lost."),
    Fault("conflict", 0.08, "A commit is refused because a record seems to have moved."),
    Fault("throttle", 0.02, "The store takes up to 5 s for a call."),
    Fault("stale-read", 0.30, "The list of workers is a second old."),
    Fault("sink-down", 0.0, "The telemetry sink is away for a while."),
    Fault("subscriber-down", 0.0, "The subscriber is away for a while."),
    Fault("changed-ticket", 0.0, "Somebody changes a waiting ticket in the store, past the platform."),
    # The platform's own processes and their time.
    Fault("crash", 0.006, "The platform's process dies between any two of its calls, and is back up to 30 s later."),
    Fault("second-process", 0.0, "Two processes work on the same store, as while one replaces the other."),
    Fault("deploy", 0.0, "A new version, with other time limits and new fields, replaces the old one in mid-flow."),
    Fault("clock-jump", 0.0, "The clock is set forward or back by up to 30 s."),
    Fault("late-scheduler", 0.05, "The schedule that looks for what is due is 60 s late."),
    # Workers.
    Fault("slow-worker", 0.15, "A task takes up to 20 times as long as estimated."),
    Fault("hung-worker", 0.06, "A task never ends, though its worker says that it is at it."),
    Fault("zombie-worker", 0.10, "A worker is cut off for minutes, then reports what was given to others."),
    Fault("vanishing-worker", 0.04, "A worker dies with all it was doing, and perhaps comes back with nothing."),
    Fault("lying-heartbeat", 0.15, "A heartbeat names tickets that the worker does not hold, or leaves out its own."),
    Fault("wrong-attempt", 0.10, "A report names another attempt than the worker was given."),
    Fault("repeated-report", 0.40, "A worker says again and again how a task ended."),
    Fault("contradictory-report", 0.10, "A worker says that a task has failed, and that it has not."),
    Fault("refusing-worker", 0.10, "A worker refuses a task, or has an error of its own."),
    Fault("failing-task", 0.15, "A task fails, for good or so that another try may help."),
    # What comes in.
    Fault("poison", 0.0, "Events arrive that nobody can handle."),
    Fault("too-large", 0.06, "A task's output is one byte larger than is taken."),
    # What policies do; last, so that the draws of the others stay as they were.
    Fault("freeze", 0.0, "A spent error budget freezes deployments for a while."),
    Fault("hedge", 0.0, "Policies begin second attempts at tickets that are at work."),
    Fault("healing", 0.0, "Much fails for good, and a playbook heals its incidents.", SELDOM),
    Fault(
        "guard",
        0.0,
        "Guards deny some tasks and put others into quarantine; their server is away for a while.",
        SELDOM,
    ),
    Fault(
        "sla-policy", 0.0, "Policies act on flows that come late: they raise, ask, cancel, and pause others.", SELDOM
    ),
    Fault(
        "lying-model", 0.0, "The model that predicts durations says anything, and something else in each step.", SELDOM
    ),
)

BY_NAME = {fault.name: fault for fault in CATALOGUE}


def parse_faults(text: str) -> tuple[str, ...]:
    """Return the names in `text`: `all`, `none`, or names with commas between them; raise `ValueError` for others."""
    words = [word.strip().lower() for word in text.split(",") if word.strip()]
    if words in ([ALL], [NONE]):
        return tuple(words)
    unknown = [word for word in words if word not in BY_NAME]
    if unknown or not words:
        named = f"no fault is called {', '.join(unknown)}" if unknown else "no fault is named"
        raise ValueError(f"{named}; there are {ALL}, {NONE}, {', '.join(BY_NAME)}")
    return tuple(dict.fromkeys(words))


class Faults:
    """The faults of one world: which there are, whether one strikes now, and how often each has."""

    def __init__(self, seed: int, named: Collection[str]) -> None:
        self._chances = {fault.name: Random(f"{seed}/fault/{fault.name}") for fault in CATALOGUE}
        self.active = frozenset(_chosen(seed, named))
        self.calm = False
        """While set, nothing strikes any more."""
        self.struck: Counter[str] = Counter()

    def strikes(self, name: str, at_most: int | None = None) -> bool:
        """Whether this fault strikes here and now; `at_most` bounds how often it does so in one world."""
        if self.calm or name not in self.active or (at_most is not None and self.struck[name] >= at_most):
            return False
        if self._chances[name].random() >= BY_NAME[name].chance:
            return False
        self.struck[name] += 1
        return True

    def chance(self, name: str) -> Random:
        """Return where a fault draws its details from."""
        return self._chances[name]


def _chosen(seed: int, named: Collection[str]) -> Iterable[str]:
    if ALL not in named:
        return (name for name in named if name != NONE)
    draw = Random(f"{seed}/faults")
    return [fault.name for fault in CATALOGUE if draw.random() < fault.share]
