"""A model as people see it: its record, with measures instead of sums."""

from collections.abc import Mapping

from functions._core.learning.evaluation import Errors
from functions._core.learning.model_record import JUDGED_ROWS, ModelRecord
from functions._core.records.record import Record, fields_of
from functions._core.records.values import Timestamp


class JudgedView(Record):
    """How a model did on tickets that ended after it was trained, or since it serves; others on the same tickets."""

    rows: int
    """Tickets that it is judged by."""
    needed: int
    """Tickets before anything is decided by them."""
    metrics: Mapping[str, float]
    """The measures of the model; none without tickets."""
    estimate_mae_ms: float | None
    """The mean absolute error of the estimates alone, in milliseconds."""
    other_model: str | None
    """Id of the model that it is compared with: what serves, or its predecessor; null without one."""
    other_mae_ms: float | None
    """The mean absolute error of that model, in milliseconds."""


class ModelView(Record):
    """A model: where it comes from, how good it is, and what has become of it."""

    model_id: str
    """Its id: name and number."""
    name: str
    """What it predicts: `duration`."""
    number: int
    """Its number, from 1 on."""
    kind: str
    """How it is made: `table`, or `trees` that correct one."""
    state: str
    """What has become of it: TRAINED, SHADOW, SERVING, RETIRED, REFUSED, ROLLED_BACK."""
    state_at: Timestamp
    """Since when."""
    trained_at: Timestamp
    """When it was trained."""
    created_by: str
    """Who had it trained: `schedule`, or a person."""
    rows: int
    """Tickets that it was trained on."""
    held_out_rows: int
    """The last tickets to end, by which it was measured before it had seen them."""
    since: Timestamp | None
    """When the first of its tickets ended."""
    until: Timestamp | None
    """When the last of them ended."""
    metrics: Mapping[str, float]
    """Its measures on the held-out tickets; `estimate_mae_ms` is that of the estimates alone."""
    settings: Mapping[str, float]
    """The settings of its training, as the search has found them."""
    reasons: tuple[str, ...]
    """Why it is in its state, in sentences; the newest last."""
    judged: JudgedView
    """How it did since then."""
    previous: str | None
    """Id of the model that served before it; null without one."""
    size: int
    """Bytes of its payload as it is stored."""
    checksum: str
    """SHA-256 of its payload."""


def model_view(record: ModelRecord) -> ModelView:
    """Return what people see of a model."""
    judged, fields = record.judged, fields_of(record)
    shown = JudgedView(
        rows=judged.own.rows,
        needed=JUDGED_ROWS,
        metrics=judged.own.figures() if judged.own.rows else {},
        estimate_mae_ms=_mae(judged.estimate),
        other_model=f"{record.name}:{judged.other_number}" if judged.other_number else None,
        other_mae_ms=_mae(judged.other),
    )
    kept = {name: value for name, value in fields.items() if name in ModelView.__struct_fields__}
    return ModelView(
        **kept
        | {
            "model_id": record.model_id,
            "state": record.state.value,
            "judged": shown,
            "previous": f"{record.name}:{record.previous}" if record.previous else None,
        }
    )


def _mae(errors: Errors) -> float | None:
    return round(errors.mae_ms, 3) if errors.rows else None
