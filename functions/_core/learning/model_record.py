"""The record of a model, the bars that it has to pass, and the verdicts about it: pure, the registry stores them."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from functions._core.learning.evaluation import Errors
from functions._core.records.record import Record
from functions._core.records.values import Timestamp, Word

DURATION = "duration"
"""The name of the models that say how long work takes."""

MAE_MS = 10_000.0
"""The mean absolute error, in milliseconds, below which a model may serve."""

MAE_PART = 0.15
"""The same as a part of the mean time: the bar of fleets whose work takes more than a minute is no fixed time."""

R2 = 0.85
"""The coefficient of determination above which a model may serve: for short work it is what counts."""

HALVED = 0.5
"""A part of the error of the estimates. With no more a model may serve whatever its R², which is low where all work
takes about the same time: then the mean is as good."""

GAIN = 0.01
"""By which part the error of a new model has to be below that of what serves, on the same rows."""

FEWEST_ROWS = 200
"""Tickets that a training needs: of fewer the held-out part tells nothing."""

JUDGED_ROWS = 100
"""Tickets that ended after a model was trained, before anything is decided by them."""

JUDGED_MOST = 2_000
"""Tickets from which on the older ones count half: what a model did lately tells of it."""

WORSE = 0.2
"""By which part the error of the serving model may be above that of the estimate, or of its predecessor."""


class ModelState(Word):
    """What has become of a model."""

    TRAINED = "TRAINED"
    SHADOW = "SHADOW"
    SERVING = "SERVING"
    RETIRED = "RETIRED"
    REFUSED = "REFUSED"
    ROLLED_BACK = "ROLLED_BACK"


class Judged(Record):
    """How a model, and others beside it, did on the same tickets, all of which ended after it was trained."""

    own: Errors = Errors()
    """The errors of the model."""
    estimate: Errors = Errors()
    """Those of the estimates alone."""
    other: Errors = Errors()
    """Those of the other model: what serves, of a shadow; its predecessor, of what serves. Without one none."""
    other_number: int = 0
    """The number of that other model, 0 without one."""


class ModelRecord(Record):
    """A model: where it comes from, how good it is, and what has become of it."""

    name: str
    """What it predicts: `duration`."""
    number: int
    """Its number, from 1 on, among those of its name."""
    kind: str
    """How it is made: `table`, or `trees` that correct one."""
    state: ModelState
    """What has become of it."""
    state_at: Timestamp
    """Since when."""
    trained_at: Timestamp
    """When it was trained; it is judged on tickets that ended after that."""
    created_by: str
    """Who had it trained: `schedule`, or a person."""
    rows: int
    """Tickets that it was trained on."""
    held_out_rows: int
    """The last tickets to end, which it was not trained on and is measured by."""
    since: Timestamp | None = None
    """When the first of all those ended."""
    until: Timestamp | None = None
    """When the last of them ended."""
    metrics: Mapping[str, float] = {}
    """Its measures on the held-out tickets; `estimate_mae_ms` is that of the estimates alone."""
    settings: Mapping[str, float] = {}
    """The settings of its training, as the search has found them."""
    reasons: tuple[str, ...] = ()
    """Why it is in its state, in sentences; the newest last."""
    judged: Judged = Judged()
    """How it did on tickets since then."""
    previous: int = 0
    """The number of the model that served before it, 0 where there was none."""
    parts: int = 0
    """Parts of its payload; 0 before it is stored, and once it is forgotten."""
    checksum: str = ""
    """SHA-256 of its payload."""
    size: int = 0
    """Bytes of the stored parts."""

    @property
    def model_id(self) -> str:
        """Its id: name and number."""
        return f"{self.name}:{self.number}"

    def moved(self, state: ModelState, at: Timestamp, reason: str) -> "ModelRecord":
        """Return it in another state, with one more reason; the newest ten are kept."""
        return self.but(state=state, state_at=at, reasons=(*self.reasons, reason)[-10:])


class ModelVerdict(NamedTuple):
    """What is to become of a model."""

    state: ModelState
    """Its next state; the present one where it stays."""
    reason: str
    """Why."""


def misses(own: Errors, estimate: Errors) -> Sequence[str]:
    """Return the bars that a model has missed on rows that it has not seen, as sentences; none where all hold.

    `estimate` are the errors of the estimates on the same rows.
    """
    if not own.rows:
        return ["no ticket tells how good it is"]
    found = []
    bar = max(MAE_MS, MAE_PART * own.mean_ms)
    if own.mae_ms >= bar:
        found.append(f"it is wrong by {own.mae_ms:,.0f} ms on average, and may be by less than {bar:,.0f} ms")
    if own.r2 <= R2 and own.mae_ms > HALVED * estimate.mae_ms:
        found.append(f"its R² is {own.r2:.3f}, and has to be above {R2}, or its error half that of the estimates")
    return found


def beats(own: Errors, other: Errors, what: str) -> Sequence[str]:
    """Return why a model does not beat another one on the same rows by enough, as sentences; none where it does."""
    if own.mae_ms <= (1 - GAIN) * other.mae_ms and own.mae_ms < other.mae_ms:
        return []
    return [
        f"it is wrong by {own.mae_ms:,.0f} ms on average, {what} by {other.mae_ms:,.0f} ms: {GAIN:.0%} less is asked"
    ]


def shadow_verdict(model: ModelRecord, serving: int) -> ModelVerdict:
    """Return what is to become of a shadow, where `serving` is the number of the model that serves (0: none)."""
    judged = model.judged
    if judged.own.rows < JUDGED_ROWS:
        return ModelVerdict(model.state, f"{judged.own.rows} of {JUDGED_ROWS} tickets have ended since it was trained")
    if serving != judged.other_number:
        return ModelVerdict(model.state, f"it has yet to be compared with model {serving}")
    faults = [*misses(judged.own, judged.estimate), *beats(judged.own, judged.estimate, "the estimates")]
    if serving:
        faults += beats(judged.own, judged.other, f"model {serving}")
    if faults:
        return ModelVerdict(ModelState.REFUSED, f"on {judged.own.rows} tickets since then: {'; '.join(faults)}")
    done = f"on {judged.own.rows} tickets since then it was wrong by {judged.own.mae_ms:,.0f} ms on average"
    return ModelVerdict(ModelState.SERVING, f"{done}, estimates by {judged.estimate.mae_ms:,.0f} ms")


def serving_verdict(model: ModelRecord) -> ModelVerdict:
    """Return what is to become of the model that serves."""
    judged = model.judged
    if judged.own.rows >= JUDGED_ROWS:
        rivals = [("the estimates", judged.estimate)]
        if judged.other_number:
            rivals.append((f"model {judged.other_number}", judged.other))
        for what, errors in rivals:
            if errors.rows == judged.own.rows and judged.own.mae_ms > (1 + WORSE) * errors.mae_ms:
                text = f"it was wrong by {judged.own.mae_ms:,.0f} ms on average, {what} by {errors.mae_ms:,.0f} ms"
                return ModelVerdict(ModelState.ROLLED_BACK, f"on {judged.own.rows} tickets {text}")
    return ModelVerdict(model.state, "it holds")
