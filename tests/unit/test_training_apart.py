"""A training in a process of its own: the same model, and nothing left behind."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from threading import Event

import pytest

from functions._core.learning.duration_table import TableNumbers
from functions._core.learning.features import FEATURES, Profile, real_rows
from functions._core.learning.training import Serves
from functions._core.learning.trees import BoostedTable, Ensemble, TreeModel
from functions._learning.training import TrainingStopped, trained, trained_apart
from tests.conftest import ROOT
from tests.support.histories import history

NOW = datetime(2026, 11, 29, 2, tzinfo=UTC)


def children() -> set[str]:
    return set(Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split())


def test_the_model_is_the_same_and_the_process_is_gone() -> None:
    rows = real_rows(history(7, 12))
    before = children()
    apart = trained_apart(rows, now=NOW, by="ada")
    assert apart is not None
    assert apart == trained(rows, now=NOW, by="ada")
    assert apart.record.created_by == "ada"
    assert {child for child in children() - before if "resource_tracker" not in _command(child)} == set()


def test_what_serves_goes_along() -> None:
    rows = real_rows(history(7, 30))
    ensemble = Ensemble(base=0.0, trees=())
    trees = TreeModel(features=FEATURES, p50=ensemble, p90=ensemble)
    predictor = BoostedTable(TableNumbers(), trees, Profile(), "duration:1")
    serves = Serves(predictor, min(row.completed_at for row in rows))
    done = trained_apart(rows, now=NOW, by="ada", serves=serves)
    assert done is not None
    assert done.record.metrics.get("serving_mae_ms") == done.record.metrics["estimate_mae_ms"], "it knows nothing"


def test_who_stops_the_platform_does_not_wait_for_a_model() -> None:
    stopped, before = Event(), children()
    stopped.set()
    rows = real_rows(history(7, 200))
    with pytest.raises(TrainingStopped):
        trained_apart(rows, now=NOW, by="ada", stopped=stopped)
    assert {child for child in children() - before if "resource_tracker" not in _command(child)} == set()


def test_too_few_rows_are_no_model_there_either() -> None:
    assert trained([], now=NOW, by="ada") is None


def _command(child: str) -> str:
    try:
        return Path(f"/proc/{child}/cmdline").read_text()
    except OSError:
        return "resource_tracker"


SLOW = """
from datetime import UTC, datetime
from functions._core.learning.features import real_rows
from functions._learning.training import trained_apart
from tests.support.histories import history

if __name__ == "__main__":
    trained_apart(real_rows(history(7, 12)), now=datetime(2026, 11, 29, 2, tzinfo=UTC), by="ada")
"""


def test_a_training_ends_with_the_process_that_has_asked_for_it(tmp_path: Path) -> None:
    script = tmp_path / "slow.py"
    script.write_text(SLOW)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, "-B", str(script)], cwd=ROOT, env=environment) as parent:
        while not (trains := _trainings_of(parent.pid)):
            assert parent.poll() is None, "it has ended before a training was seen"
            time.sleep(0.01)
        parent.kill()
    until = time.monotonic() + 60
    while any(Path(f"/proc/{child}").exists() for child in trains):
        assert time.monotonic() < until, "the training goes on without whoever has asked for it"
        time.sleep(0.05)


def _trainings_of(process: int) -> Sequence[str]:
    """Return the trainings of a process that have begun: each has a thread that waits for its end."""
    try:
        found = Path(f"/proc/{process}/task/{process}/children").read_text().split()
        return [one for one in found if "spawn_main" in _command(one) and _threads(one) > 1]
    except OSError:
        return []


def _threads(child: str) -> int:
    return len(list(Path(f"/proc/{child}/task").iterdir()))
