"""What `learn` knows between its rounds: one small record, whatever is in it."""

from datetime import UTC, datetime, timedelta
from random import Random

from functions._core.learning.drift import sampled
from functions._core.learning.history import TicketRow
from functions._core.learning.profile import Profile
from functions._core.learning.progress import LearningProgress, progress_of
from functions._core.ports import VALUE_BYTES, Entry
from functions._core.records.record import encode
from functions._core.records.values import TaskType
from tests.support.histories import history

NOW = datetime(2026, 11, 29, 2, tzinfo=UTC)


def varied(count: int) -> list[TicketRow]:
    """Return rows of as many kinds, workers, domains and capabilities as there may be, and of any size."""
    draw, like = Random(8), history(7, 10)[0][1][0]
    types = list(TaskType)
    return [
        like.but(
            task_id=f"task-{draw.getrandbits(140):x}",
            task_type=draw.choice(types),
            worker_id=f"worker-{draw.getrandbits(160):x}",
            domain=f"domain-{draw.getrandbits(160):x}",
            capabilities=tuple(f"{draw.getrandbits(150):x}" for _ in range(3)),
            ticket_id=f"{number}",
            estimate_ms=draw.randrange(1, 10**9),
            actual_ms=draw.randrange(1, 10**9),
            parameters_bytes=draw.randrange(10**9),
            plan_tasks=draw.randrange(100_000),
            fan_in=draw.randrange(10_000),
            completed_at=NOW + timedelta(seconds=draw.randrange(3600)),
        )
        for number in range(count)
    ]


def test_the_largest_progress_is_one_small_record() -> None:
    rows = varied(1500)
    profile = Profile().with_rows(rows)
    progress = LearningProgress(
        cursor="1764381600000~" + "f" * 64,
        since=NOW,
        rows=10**9,
        days={f"2026-{month:02}-{day:02}": 10**7 for month in (10, 11) for day in range(1, 31)},
        sample=sampled((), rows, None),
        at=NOW,
        trained_week="2026-11-29",
    ).with_profile(profile)
    stored = encode(progress)
    assert len(stored) < VALUE_BYTES, len(stored)
    assert progress_of(Entry("progress", stored, 1)).profile == profile


def test_what_cannot_be_read_is_a_beginning() -> None:
    assert progress_of(None) == progress_of(Entry("progress", b"[]", 1)) == LearningProgress()
    for packed in ("***", "AAAA", "eJwDAAAAAAE="):
        assert LearningProgress(packed=packed).profile == Profile()


def test_a_profile_that_unpacks_to_too_much_is_none() -> None:
    from base64 import b64encode
    from zlib import compress

    bomb = b64encode(compress(b" " * 100_000_000)).decode()
    assert LearningProgress(packed=bomb).profile == Profile()
