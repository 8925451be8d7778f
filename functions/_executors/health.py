"""How long a deployment in a cluster may take to become healthy, and what came of taking one back."""

import time
from collections.abc import Iterable, Mapping, Sequence
from time import monotonic
from typing import Any, NamedTuple, Self, TypeVar

from functions._core.executors.deploy import DeployParameters
from functions._executors.port import JobContext, JobHandle

DEPLOYMENT_FAILED, ROLLED_BACK, ROLLBACK_FAILED = "deployment_failed", "rolled_back", "rollback_failed"
"""The kinds of failures of all executors that deploy: it stays as it is; was taken back; could not be."""

GOING_BACK = "it has failed, as the log says"
"""Why a way back is gone on with that was cut off."""

SHARE = 0.75
"""The part of the ticket's time in which it has to be healthy: the rest is for the way back."""

DP = TypeVar("DP", bound=DeployParameters)


class WayBack(NamedTuple):
    """What came of taking a deployment back: the kind of its failure, empty for its own, and the end of a sentence."""

    kind: str
    words: str


class JobKeys(NamedTuple):
    """What the objects of a deployment say of the job that changed them last: that it deployed, or took back.

    A way back that was cut off is so told from what somebody else has done, and gone on with.
    """

    deployed: str
    back: str

    @classmethod
    def of(cls, key_hash: str) -> Self:
        """Return them for the hash of the key of a job."""
        return cls(key_hash, f"{key_hash}-back")

    def superseded(self, found: Iterable[str | None], handle: JobHandle) -> bool:
        """Whether any object was changed by another job since the handle was made."""
        return any(one not in {*self, was} for one, was in zip(found, handle.data["keys"], strict=True))

    def going_back(self, found: Iterable[str | None], handle: JobHandle) -> bool:
        """Whether any was taken back since then."""
        return any(one == self.back != was for one, was in zip(found, handle.data["keys"], strict=True))


LEFT = WayBack("", "; left as it is")
UNTOUCHED = WayBack("", "; nothing was changed")


def way_back(previous: str, faults: Sequence[str]) -> WayBack:
    """Return that a deployment was taken back to a revision, or why not."""
    if faults:
        return WayBack(ROLLBACK_FAILED, f"; NOT rolled back: {'; '.join(faults)}")
    return WayBack(ROLLED_BACK, f"; rolled back to {previous or 'nothing'}")


_BEGUN = time.time() - monotonic()


def steady_now() -> float:
    """Return the time, in seconds since 1970, as it was set when this process began: it may be set at any time."""
    return _BEGUN + monotonic()


def patience(context: JobContext[DP], *, returns: bool | None = None) -> Mapping[str, Any]:
    """Return what a handle says of the time that a deployment has: since when, and how many seconds.

    `returns`: whether it goes back when it fails, which needs time, too; by itself a rollback does not.
    """
    given = context.parameters
    if returns is None:
        returns = given.rollback_on_failure and not given.rolls_back
    share = context.seconds_left * SHARE if returns else given.health_timeout_seconds
    return {"since": steady_now(), "seconds": min(given.health_timeout_seconds, share)}


def seconds_of(handle: JobHandle) -> float:
    """Return how long ago a deployment was begun, or found."""
    return steady_now() - float(handle.data["since"])


def too_late(handle: JobHandle) -> str:
    """Return that a deployment has not become healthy in time; empty while it has time."""
    seconds = float(handle.data["seconds"])
    return f"not healthy in {seconds:.4g} s" if seconds_of(handle) >= seconds else ""
