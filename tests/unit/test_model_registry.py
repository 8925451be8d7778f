"""The registry of models: what is stored, who may serve, what comes after whom; on a store in memory."""

import asyncio
from base64 import b64encode
from collections.abc import Callable
from datetime import UTC, datetime
from json import dumps
from zlib import compress

import pytest

from functions._adapters.memory import MemoryStore
from functions._core.errors import Rejected
from functions._core.learning import registry
from functions._core.learning.duration_table import TableNumbers
from functions._core.learning.evaluation import Errors, errors
from functions._core.learning.model_record import (
    DURATION,
    JUDGED_ROWS,
    Judged,
    ModelRecord,
    ModelState,
    beats,
    misses,
    serving_verdict,
    shadow_verdict,
)
from functions._core.learning.payload import MODEL_BYTES, ModelPayload, Unusable, packed, unpacked
from functions._core.learning.predictions import Quantiles
from functions._core.ports import KeyValues
from functions._core.records.record import encode
from tests.support.clocks import HandClock

NOW = datetime(2026, 11, 29, 2, tzinfo=UTC)

TABLE = TableNumbers(groups={"BUILD": (0.5, 0.0, 0.4, 0.0, 0.3)})


def record(state: ModelState = ModelState.SHADOW, **fields: object) -> ModelRecord:
    known = {"name": DURATION, "number": 0, "kind": "table", "state_at": NOW, "trained_at": NOW, "created_by": "ada"}
    return ModelRecord(**{**known, "state": state, "rows": 1000, "held_out_rows": 200, **fields})  # type: ignore[arg-type]


@pytest.fixture
def entries() -> KeyValues:
    return MemoryStore().stores.key_values(HandClock())


async def stored(entries: KeyValues, state: ModelState = ModelState.SHADOW) -> ModelRecord:
    checksum, parts = packed(ModelPayload(table=TABLE))
    made = await registry.added(entries, record(checksum=checksum), parts)
    return await registry.changed(entries, made.number, lambda known: known.but(state=state)) or made


class TestStored:
    async def test_numbers_go_up_and_the_newest_comes_first(self, entries: KeyValues) -> None:
        for _ in range(11):
            await stored(entries)
        assert [one.number for one in await registry.models(entries)] == list(range(11, 0, -1))

    async def test_a_payload_comes_back_as_it_was(self, entries: KeyValues) -> None:
        made = await stored(entries)
        assert unpacked(await registry.parts_of(entries, made), made.checksum).table == TABLE

    async def test_a_record_that_cannot_be_read_is_passed_over_and_its_number_is_not_used_again(
        self, entries: KeyValues
    ) -> None:
        await entries.put(registry.MODELS, "duration:7", b'{"no": "model"}', version=0)
        assert await registry.models(entries) == []
        assert (await stored(entries)).number == 8

    async def test_old_models_are_forgotten_with_their_payloads_but_not_what_serves(self, entries: KeyValues) -> None:
        first = await stored(entries)
        await registry.promoted(entries, first.number, NOW, "by hand")
        for _ in range(registry.KEPT + 4):
            await stored(entries, ModelState.REFUSED)
        assert await registry.forgotten(entries) == 4
        kept = [one.number for one in await registry.models(entries)]
        assert len(kept) == registry.KEPT + 1
        assert kept[-1] == first.number
        assert await entries.get(registry.PARTS, "duration:2:0") is None
        assert await entries.get(registry.PARTS, "duration:1:0") is not None

    @pytest.mark.parametrize("model_id", ["duration", "duration:", "duration:0", "load:1", "duration:-1", "duration:²"])
    def test_what_is_no_id_of_a_model_is_none(self, model_id: str) -> None:
        assert registry.number_of(model_id) is None
        assert registry.number_of("duration:12") == 12


class TestServing:
    async def test_the_next_one_retires_the_last_one_and_knows_it(self, entries: KeyValues) -> None:
        one, other = await stored(entries), await stored(entries)
        await registry.promoted(entries, one.number, NOW, "good")
        await registry.promoted(entries, other.number, NOW, "better")
        states = {model.number: model.state for model in await registry.models(entries)}
        assert states == {1: ModelState.RETIRED, 2: ModelState.SERVING}
        assert (await registry.serving(entries))[0] == 2
        found = await registry.model(entries, 2)
        assert found is not None
        assert (found.previous, found.reasons[-1]) == (1, "better")

    @pytest.mark.parametrize("state", [ModelState.REFUSED, ModelState.ROLLED_BACK, ModelState.TRAINED])
    async def test_only_a_shadow_or_a_retired_one_may_serve(self, entries: KeyValues, state: ModelState) -> None:
        made = await stored(entries, state)
        with pytest.raises(Rejected, match="only a SHADOW or a RETIRED one") as refused:
            await registry.promoted(entries, made.number, NOW, "please")
        assert refused.value.status == 409
        assert (await registry.serving(entries))[0] == 0

    async def test_after_a_rollback_the_one_before_serves_and_then_the_estimates(self, entries: KeyValues) -> None:
        one, other = await stored(entries), await stored(entries)
        await registry.promoted(entries, one.number, NOW, "good")
        await registry.promoted(entries, other.number, NOW, "better")
        assert await registry.rolled_back(entries, 2, NOW, "worse") == 1
        assert await registry.rolled_back(entries, 1, NOW, "worse, too") == 0
        states = {model.number: model.state for model in await registry.models(entries)}
        assert states == {1: ModelState.ROLLED_BACK, 2: ModelState.ROLLED_BACK}
        with pytest.raises(Rejected, match="does not serve"):
            await registry.rolled_back(entries, 1, NOW, "again")

    async def test_records_that_a_process_left_behind_the_pointer_are_set_right(self, entries: KeyValues) -> None:
        one, other = await stored(entries), await stored(entries)
        await registry.promoted(entries, one.number, NOW, "good")
        _, version = await registry.serving(entries)
        pointer = encode(registry.Pointer(number=other.number, since=NOW))
        await entries.put(registry.SERVING, DURATION, pointer, version=version)  # and here the process dies
        assert await registry.settled(entries, NOW) == 2
        states = {model.number: model.state for model in await registry.models(entries)}
        assert states == {1: ModelState.RETIRED, 2: ModelState.SERVING}
        assert await registry.settled(entries, NOW) == 0

    async def test_of_two_that_promote_at_once_one_is_refused(self, entries: KeyValues) -> None:
        one, other = await stored(entries), await stored(entries)
        both = asyncio.Barrier(2)

        class Together:
            """Lets both have read the pointer before either puts it."""

            def __init__(self) -> None:
                self.get, self.page, self.remove = entries.get, entries.page, entries.remove

            async def put(self, space: str, key: str, value: bytes, **more: object) -> object:
                if space == registry.SERVING:
                    await both.wait()
                return await entries.put(space, key, value, **more)  # type: ignore[arg-type]

        done = await asyncio.gather(
            *(registry.promoted(Together(), model.number, NOW, "now") for model in (one, other)),  # type: ignore[arg-type]
            return_exceptions=True,
        )
        assert sorted(type(result).__name__ for result in done) == ["Conflict", "ModelRecord"]
        number, _ = await registry.serving(entries)
        assert [model.number for model in await registry.models(entries) if model.state is ModelState.SERVING] == [
            number
        ]


def good(rows: int = JUDGED_ROWS, error: int = 500) -> Errors:
    return errors([(1000 * (1 + n % 9), Quantiles(1000 * (1 + n % 9) + error, 20_000)) for n in range(rows)])


class TestVerdicts:
    def test_the_bars_are_ten_seconds_or_a_part_of_long_work_and_r2(self) -> None:
        assert misses(good(), good()) == []
        minutes = [(60_000 * (1 + n % 30), 60_000 * (1 + n % 30)) for n in range(300)]
        late = errors([(a, Quantiles(b + 60_000, b + 60_000)) for a, b in minutes])
        assert misses(late, late) == []
        seconds = [(8_000 + n % 900, Quantiles(8_500, 9_000)) for n in range(300)]
        even = errors(seconds)
        assert "R²" in misses(even, even)[0]
        wrong = [(1000 * (1 + n % 50), Quantiles(1000 * (1 + n % 50) + 11_000, 80_000)) for n in range(300)]
        assert "is wrong by 11,000 ms" in misses(errors(wrong), errors(wrong))[0]
        assert misses(Errors(), Errors())

    def test_where_all_work_takes_about_the_same_time_half_the_error_of_the_estimates_will_do(self) -> None:
        even = errors([(8_000 + 3 * n, Quantiles(8_450, 9_000)) for n in range(300)])
        estimate, closer = (
            errors([(8_000 + 3 * n, Quantiles(said, said)) for n in range(300)]) for said in (2_000, 8_800)
        )
        assert even.r2 < 0.1
        assert misses(even, estimate) == []
        assert "half that of the estimates" in misses(even, closer)[0]

    def test_a_new_one_has_to_be_one_percent_better(self) -> None:
        assert beats(good(error=99), good(error=100), "it") == []
        assert beats(good(error=100), good(error=100), "it")
        assert beats(good(error=995), good(error=1000), "it")

    def test_a_shadow_waits_for_a_hundred_tickets(self) -> None:
        waits = shadow_verdict(record(judged=Judged(own=good(99), estimate=good(99, 2000))), 0)
        assert (waits.state, "99 of 100" in waits.reason) == (ModelState.SHADOW, True)
        assert (
            shadow_verdict(record(judged=Judged(own=good(), estimate=good(error=2000))), 0).state is ModelState.SERVING
        )

    def test_a_worse_model_is_not_promoted(self) -> None:
        judged = Judged(own=good(error=500), estimate=good(error=2000), other=good(error=400), other_number=3)
        verdict = shadow_verdict(record(judged=judged), 3)
        assert verdict.state is ModelState.REFUSED
        assert "model 3 by 400 ms" in verdict.reason
        assert shadow_verdict(record(judged=judged.but(other=good(error=600))), 3).state is ModelState.SERVING
        estimate = judged.but(estimate=good(error=400), other=good(error=600))
        assert shadow_verdict(record(judged=estimate), 3).state is ModelState.REFUSED

    def test_a_shadow_is_not_compared_with_what_served_before(self) -> None:
        judged = Judged(own=good(), estimate=good(error=2000), other=good(error=600), other_number=3)
        assert shadow_verdict(record(judged=judged), 4).state is ModelState.SHADOW

    @pytest.mark.parametrize(("own", "out"), [(1199, False), (1201, True)])
    def test_what_serves_is_taken_out_when_it_is_a_fifth_worse(self, own: int, out: bool) -> None:
        serves = record(ModelState.SERVING)
        by_estimate = Judged(own=good(error=own), estimate=good(error=1000))
        by_other = Judged(own=good(error=own), estimate=good(error=5000), other=good(error=1000), other_number=2)
        expected = ModelState.ROLLED_BACK if out else ModelState.SERVING
        assert serving_verdict(serves.but(judged=by_estimate)).state is expected
        assert serving_verdict(serves.but(judged=by_other)).state is expected
        few = Judged(own=good(99, 9000), estimate=good(99, 1))
        assert serving_verdict(serves.but(judged=few)).state is ModelState.SERVING


def spoilt(change: Callable[[list[bytes]], list[bytes]]) -> None:
    checksum, parts = packed(ModelPayload(table=TABLE))
    unpacked(change(list(parts)), checksum)


class TestPayload:
    @pytest.mark.parametrize(
        "change",
        [
            lambda _parts: [],
            lambda parts: parts * 30,
            lambda _parts: [b"no json"],
            lambda _parts: [b"[1]"],
            lambda _parts: [dumps("*** no base64 ***").encode()],
            lambda _parts: [dumps(b64encode(b"not packed").decode()).encode()],
            lambda _parts: [dumps(b64encode(compress(b'{"table": {}}')).decode()).encode()],
            lambda _parts: [dumps(b64encode(compress(b" " * (MODEL_BYTES + 1))).decode()).encode()],
            lambda parts: [dumps(parts[0].decode()[1:-9]).encode()],
        ],
    )
    def test_what_is_not_exactly_what_was_packed_is_not_used(
        self, change: Callable[[list[bytes]], list[bytes]]
    ) -> None:
        with pytest.raises(Unusable):
            spoilt(change)

    def test_a_bomb_is_not_unpacked(self) -> None:
        bomb = [dumps(b64encode(compress(b"\0" * 300_000_000, 9)).decode()).encode()]
        with pytest.raises(Unusable, match="larger than a model may be"):
            unpacked([bomb[0][:1] + bomb[0][1:60_001] + b'"'] if len(bomb[0]) > 60_002 else bomb, "0" * 64)

    def test_numbers_without_sense_are_refused_although_the_checksum_fits(self) -> None:
        mad = ModelPayload(table=TABLE.but(workers={"a": 1e6}))
        checksum, parts = packed(mad)
        with pytest.raises(Unusable, match="not finite, or beyond"):
            unpacked(parts, checksum)

    def test_a_large_payload_is_in_parts_that_a_small_record_holds(self) -> None:
        from random import Random

        draw = Random(1)
        groups = {f"BUILD{n}": tuple(round(draw.gauss(0, 1), 4) for _ in range(5)) for n in range(7000)}
        checksum, parts = packed(ModelPayload(table=TableNumbers(groups=groups)))  # type: ignore[arg-type]
        assert len(parts) > 1
        assert max(map(len, parts)) < 64 * 1024
        assert unpacked(parts, checksum).table.groups == groups

    def test_a_table_that_is_too_large_is_not_stored(self) -> None:
        groups = {f"BUILD{n}": (0.1, 0.2, 0.3, 0.4, 0.5) for n in range(20_000)}
        with pytest.raises(ValueError, match="too large"):
            packed(ModelPayload(table=TableNumbers(groups=groups)))
