"""What every `TelemetryBuffer` must do."""

from functions._adapters.stores import Stores
from functions._core.records.change_set import ChangeSet
from tests.conformance.suite import StoresSuite
from tests.support.builders import T0, make_event, make_flow, seconds


async def buffer(stores: Stores, *numbers: int) -> None:
    events = tuple(make_event(number, time=T0 + seconds(number)) for number in numbers)
    await stores.store.commit(ChangeSet(flow_id=make_flow().flow_id, telemetry=events))


async def buffered(stores: Stores, limit: int = 100) -> list[str]:
    return [event.id for _, _, event in await stores.telemetry_buffer.oldest(limit)]


class TelemetryBufferSuite(StoresSuite):
    async def test_an_empty_buffer_has_nothing(self, stores: Stores) -> None:
        await stores.telemetry_buffer.forget([])
        assert await stores.telemetry_buffer.oldest(10) == []
        assert await stores.telemetry_buffer.size() == 0

    async def test_entries_come_oldest_first_and_no_more_than_asked_for(self, stores: Stores) -> None:
        await buffer(stores, 1, 2)
        await buffer(stores, 3)
        assert await buffered(stores) == ["event-1", "event-2", "event-3"]
        assert await buffered(stores, 2) == ["event-1", "event-2"]
        assert await stores.telemetry_buffer.size() == 3

    async def test_a_reader_goes_on_behind_what_it_has_seen(self, stores: Stores) -> None:
        await buffer(stores, 1, 2, 3)
        (first, _, _), (second, _, _) = await stores.telemetry_buffer.oldest(2)
        assert [event.id for _, _, event in await stores.telemetry_buffer.oldest(10, after=second)] == ["event-3"]
        await stores.telemetry_buffer.forget([first])
        assert [event.id for _, _, event in await stores.telemetry_buffer.oldest(1, after=first)] == ["event-2"]

    async def test_an_entry_says_when_it_was_buffered(self, stores: Stores) -> None:
        await buffer(stores, 5)
        ((_, at, event),) = await stores.telemetry_buffer.oldest(10)
        assert (at, event) == (T0 + seconds(5), make_event(5, time=T0 + seconds(5)))

    async def test_the_same_event_may_be_buffered_twice(self, stores: Stores) -> None:
        await buffer(stores, 1, 1)
        assert await buffered(stores) == ["event-1", "event-1"]

    async def test_what_is_forgotten_is_gone_and_the_rest_keeps_its_order(self, stores: Stores) -> None:
        await buffer(stores, 1, 2, 3, 4)
        positions = [position for position, _, _ in await stores.telemetry_buffer.oldest(10)]
        await stores.telemetry_buffer.forget([positions[2], positions[0]])
        assert await buffered(stores) == ["event-2", "event-4"]
        assert await stores.telemetry_buffer.size() == 2

    async def test_forgetting_twice_is_no_error_and_takes_nothing_newer(self, stores: Stores) -> None:
        await buffer(stores, 1)
        positions = [position for position, _, _ in await stores.telemetry_buffer.oldest(10)]
        await stores.telemetry_buffer.forget(positions)
        await buffer(stores, 2)
        await stores.telemetry_buffer.forget(positions)
        assert await buffered(stores) == ["event-2"]
