"""Features and the profile that they are made of: no gaps, no look ahead, the same in training and in use, bounded."""

from dataclasses import replace
from datetime import timedelta
from math import isfinite, log
from statistics import fmean, median

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from functions._core.learning.features import FEATURES, Features, features_of, training_rows, waits_ms
from functions._core.learning.groups import HALF_LIFE_S, WAIT_CELLS_MS, Group, WaitTimes
from functions._core.learning.history import TicketRow
from functions._core.learning.profile import (
    CAPABILITIES,
    KEY_BYTES,
    KINDS,
    WORKERS,
    Profile,
    ProfileBuilder,
    key_of,
    real_rows,
)
from functions._core.ports import VALUE_BYTES
from functions._core.records.record import decode, encode
from functions._core.records.values import TicketStatus
from tests.support.fleet_world import START, FleetWorld
from tests.support.histories import History, history_of


@pytest.fixture(scope="module")
def world() -> FleetWorld:
    return FleetWorld(7, recorded=False)


@pytest.fixture(scope="module")
def found(world: FleetWorld) -> History:
    return history_of(world, 80, days=0.5)


@pytest.fixture(scope="module")
def rows(found: History) -> list[TicketRow]:
    return sorted(real_rows(found), key=lambda row: row.completed_at)


class TestFeatures:
    def test_there_are_those_of_the_specification_and_more(self) -> None:
        assert len(FEATURES) >= 25
        assert len(set(FEATURES)) == len(FEATURES) == len(Features._fields)

    def test_where_nothing_is_known_there_are_the_documented_values(self, rows: list[TicketRow]) -> None:
        work = rows[0].work
        for worker in (None, "never-seen"):
            made = Features(*features_of(work, Profile(), worker))
            estimate = log(work.estimate_ms)
            assert (made.type_mean, made.type_p95, made.worker_duration, made.estimate) == (estimate,) * 4
            assert (made.kind_ratio, made.type_ratio, made.hour_ratio, made.worker_ratio) == (0, 0, 0, 0)
            assert (made.worker_success_rate, made.trail) == pytest.approx((0.9, 0.9))
            assert (made.load, made.queue_length, made.active_tickets, made.failures_24h) == (1, 0, 0, 0)

    def test_what_is_known_is_in_them(self, world: FleetWorld, rows: list[TicketRow]) -> None:
        profile = Profile().with_rows(rows)
        by_kind: dict[str, list[float]] = {}
        for row in rows:
            if row.actual_ms is not None:
                by_kind.setdefault(row.task_id, []).append(log(row.actual_ms / row.estimate_ms))
        work = next(row.work for row in rows if len(by_kind.get(row.task_id, ())) > 15)
        made = Features(*features_of(work, profile, None))
        assert made.kind_ratio == pytest.approx(fmean(by_kind[work.task_id]), abs=0.2)
        assert made.kind_known == pytest.approx(log(1 + len(by_kind[work.task_id])), abs=0.1)
        by_worker = {name: Features(*features_of(work, profile, name)).worker_ratio for name in world.worker_factors}
        assert max(by_worker, key=lambda name: by_worker[name]) == "worker-0"
        typical = median(log(factor) for factor in world.worker_factors.values())
        for name, factor in world.worker_factors.items():
            assert by_worker[name] == pytest.approx(log(factor) - typical, abs=0.3)
        assert made.healthy_workers == len(world.worker_factors)

    def test_lines_and_load_fade_when_nothing_happens_any_more(self, rows: list[TicketRow]) -> None:
        profile = Profile().with_rows(rows)
        now = replace(rows[-1].work, at=rows[-1].completed_at)
        busy = Features(*features_of(now, profile, None))
        later = Features(*features_of(replace(now, at=now.at + timedelta(hours=3)), profile, None))
        assert later.active_tickets == pytest.approx(busy.active_tickets * 0.0498, rel=0.05)
        assert later.load < busy.load / 10
        assert later.failures_24h <= busy.failures_24h

    @given(
        estimate=st.integers(-(10**18), 10**18),
        actual=st.none() | st.integers(-(10**18), 10**18),
        size=st.integers(-1, 10**12),
        sla=st.integers(-(10**15), 10**15),
        text=st.text(max_size=80),
    )
    @settings(max_examples=60, deadline=None)
    def test_they_are_finite_whatever_comes(
        self, rows: list[TicketRow], estimate: int, actual: int | None, size: int, sla: int, text: str
    ) -> None:
        odd = rows[0].but(estimate_ms=estimate, actual_ms=actual, parameters_bytes=size, sla_ms=sla, task_id=text)
        odd = odd.but(worker_id=text, domain=text, capabilities=(text,))
        profile = Profile().with_rows([odd, *rows[:5], odd])
        made = features_of(odd.work, profile, text)
        assert len(made) == len(FEATURES)
        assert all(isfinite(value) for value in made)
        assert decode(Profile, encode(profile)).rows == 7


class TestTraining:
    def test_nothing_is_known_of_what_ends_later(self, rows: list[TicketRow]) -> None:
        """Each example's features are those of a profile of just what had ended when it was planned."""
        examples = list(training_rows(rows))
        assert [row for row, _ in examples] == sorted(
            (row for row in rows if row.actual_ms is not None), key=lambda row: (row.created_at, row.ticket_id)
        )
        for row, made in examples[:: len(examples) // 5]:
            before = Profile().with_rows(one for one in rows if one.completed_at < row.created_at)
            assert made == pytest.approx(features_of(row.work, before, row.worker_id), rel=1e-3, abs=1e-3)

    def test_another_future_changes_nothing(self, rows: list[TicketRow]) -> None:
        middle = sorted(rows, key=lambda row: row.created_at)[len(rows) // 2].created_at
        other = [
            row.but(actual_ms=(row.actual_ms or 1) * 9, status=TicketStatus.COMPLETED)
            if row.completed_at >= middle
            else row
            for row in rows
        ]
        first = {row.ticket_id: made for row, made in training_rows(rows) if row.created_at <= middle}
        second = {row.ticket_id: made for row, made in training_rows(other) if row.created_at <= middle}
        assert first.items() <= second.items()

    def test_it_goes_on_from_what_was_known(self, rows: list[TicketRow]) -> None:
        cut = rows[len(rows) // 2].completed_at
        old = [row for row in rows if row.completed_at < cut]
        new = [row for row in rows if row.created_at > cut]
        known = Profile().with_rows(old)
        row, made = next(training_rows(new, known))
        assert made == features_of(row.work, known, row.worker_id)
        unassigned = next(training_rows(new, known, with_worker=False))[1]
        assert unassigned == features_of(row.work, known, None)


def replace_all(profile: Profile, group: Group) -> Profile:
    """Return a profile each of whose groups is another one, under the longest names."""
    sorts = ("types", "domains", "hours", "workers", "kinds", "capability_sets")
    return profile.but(
        **{
            sort: {
                name if sort in {"kinds", "capability_sets"} else name.ljust(KEY_BYTES)[:KEY_BYTES]: group
                for name in getattr(profile, sort)
            }
            for sort in sorts
        }
    )


class TestProfile:
    def test_increments_add_up_to_the_whole(self, rows: list[TicketRow]) -> None:
        whole = Profile().with_rows(rows)
        parts = Profile()
        for start in range(0, len(rows), 97):
            parts = decode(Profile, encode(parts.with_rows(rows[start : start + 97])))
        assert parts.rows == whole.rows == len(rows)
        work = rows[-1].work
        assert features_of(work, parts, "worker-1") == pytest.approx(
            features_of(work, whole, "worker-1"), rel=0.01, abs=0.01
        )

    def test_rehearsals_are_left_out(self, found: History) -> None:
        pretended = [(flow.but(simulated=True), rows) for flow, rows in found[:3]]
        assert real_rows(pretended) == []
        assert len(real_rows([*pretended, *found[3:]])) == sum(len(rows) for _, rows in found[3:])

    def test_at_its_largest_it_is_one_value_of_the_store(self, rows: list[TicketRow]) -> None:
        builder = ProfileBuilder()
        for number in range(3 * KINDS):
            name = f"{number % KINDS:04}" + "\U0001f600" * 7
            row = rows[number % len(rows)].but(task_id=name, worker_id=name, domain=name, capabilities=(name,))
            at = START + timedelta(seconds=number * 977)
            builder.add(row.but(completed_at=at, actual_ms=123_457 + number * number * 7, estimate_ms=98_765))
        profile = builder.profile()
        assert (len(profile.kinds), len(profile.workers), len(profile.waits)) == (KINDS, WORKERS, CAPABILITIES + 1)
        assert "" in profile.waits
        assert 35_000 < len(encode(profile)) < 60 * 1024 < VALUE_BYTES
        # However long the figures of each group get.
        worst = replace_all(profile, Group(at=1_700_000_000, **dict.fromkeys(Group.__struct_fields__[1:], -99.1234)))
        worst = worst.but(
            waits={f"{n:032}": WaitTimes(at=1_700_000_000, cells=(99.1234,) * len(WAIT_CELLS_MS)) for n in range(41)}
        )
        assert len(encode(worst)) < VALUE_BYTES
        assert decode(Profile, encode(profile)) == profile

    def test_the_groups_that_were_heard_of_last_stay(self, rows: list[TicketRow]) -> None:
        builder = ProfileBuilder()
        for number in range(300):
            at = START + timedelta(minutes=number)
            builder.add(rows[0].but(worker_id=f"w{number}", completed_at=at))
            builder.add(rows[0].but(worker_id="always", completed_at=at))
        kept = builder.profile().workers
        assert len(kept) == WORKERS
        assert {"always", "w299", "w250"} <= kept.keys()
        assert "w0" not in kept

    def test_old_tickets_count_half_after_a_week(self) -> None:
        old = Group().with_ticket(1000, 0, failed=False, log_ms=2.0, ratio=1.0)
        new = old.with_ticket(1000 + int(HALF_LIFE_S), 2, failed=True, log_ms=5.0, ratio=-1.0)
        assert (new.done, new.ended, new.retries) == pytest.approx((1.5, 1.5, 2))
        assert (new.log_ms, new.ratio) == pytest.approx(((0.5 * 2 + 5) / 1.5, (0.5 - 1) / 1.5))
        assert new.log_ms_var == pytest.approx((0.5 * (2 - new.log_ms) ** 2 + (5 - new.log_ms) ** 2) / 1.5)

    def test_means_and_variances_are_those_of_the_values(self, rows: list[TicketRow]) -> None:
        from numpy import var

        group, times = Group(), [log(row.actual_ms) for row in rows if row.actual_ms is not None]
        for value in times:
            group = group.with_ticket(1000, 0, failed=False, log_ms=value, ratio=value)
        assert (group.log_ms, group.log_ms_var) == pytest.approx((fmean(times), var(times)))

    @given(st.text(max_size=100) | st.text(alphabet="\x00\ud800é", max_size=60))
    def test_the_name_of_a_group_is_short_and_can_be_stored(self, name: str) -> None:
        key = key_of(name)
        assert len(key.encode()) <= KEY_BYTES
        assert key == name or len(key) == 16


class TestWaits:
    def test_half_of_the_waits_were_at_most_so_long(self) -> None:
        waits = WaitTimes()
        for value in (0, 0, 0, 10, 40, 5000, 6000, 7000, 9000):
            waits = waits.with_wait(1000, value)
        assert waits.median_ms == 0
        for value in (5000, 6000, 100_000, 10**12):
            waits = waits.with_wait(1000, value)
        assert 3200 <= waits.median_ms <= 6400

    @given(st.lists(st.integers(-1, 10**13), min_size=1, max_size=60))
    def test_it_is_within_the_cell_of_the_median(self, values: list[int]) -> None:
        waits = WaitTimes()
        for value in values:
            waits = waits.with_wait(5, value)
        exact = sorted(values)[(len(values) - 1) // 2]
        bounds = [*WAIT_CELLS_MS, 10**14]
        cell = max(place for place, begin in enumerate(WAIT_CELLS_MS) if begin <= max(0, exact))
        assert 0 <= waits.median_ms <= bounds[cell + 1]
        assert cell == 0 or waits.median_ms >= bounds[cell] or waits.median_ms == bounds[-2]

    def test_capabilities_that_nobody_asks_for_any_more_are_not_told(self, rows: list[TicketRow]) -> None:
        old = rows[0].but(capabilities=("old",), completed_at=START)
        new = rows[0].but(capabilities=("new",), completed_at=START + timedelta(hours=7))
        assert waits_ms(Profile().with_rows([old])).keys() == {"", "old"}
        assert waits_ms(Profile().with_rows([old, new])).keys() == {"", "new"}

    def test_a_ticket_that_got_no_worker_waited_until_its_end(self, rows: list[TicketRow]) -> None:
        starved = rows[0].but(
            worker_id=None, assigned_at=None, ready_at=START, completed_at=START + timedelta(minutes=10), actual_ms=None
        )
        assert waits_ms(Profile().with_rows([starved] * 5))[""] > 300_000
