"""What every `EventQueue` must do."""

import pytest

from functions._adapters.stores import Stores
from tests.conformance.suite import StoresSuite
from tests.support.builders import T0, make_event, make_flow, make_letter, make_step, seconds


async def queued_ids(stores: Stores, after: int = 0) -> list[str]:
    return [queued.event.id for queued in await stores.queue.pending(after, 100)]


class EventQueueSuite(StoresSuite):
    @pytest.mark.parametrize("data", [None, {}, {"ключ": "🚀\u0000"}, [1, {"a": None}], "text", 1.5, "x" * 10**6])
    async def test_an_event_is_read_back_as_it_was_queued(self, stores: Stores, data: object) -> None:
        event = make_event(data=data, subject=None, extensions={}, time=T0 + seconds(0.123456))
        await stores.queue.enqueue([event])
        (queued,) = await stores.queue.pending(0, 10)
        assert (queued.event, queued.attempts, queued.not_before) == (event, 0, None)

    async def test_an_empty_queue_has_nothing(self, stores: Stores) -> None:
        await stores.queue.enqueue([])
        assert await stores.queue.pending(0, 10) == []
        assert await stores.queue.depth() == 0

    async def test_events_come_in_the_order_in_which_they_were_queued(self, stores: Stores) -> None:
        await stores.queue.enqueue([make_event(2), make_event(3)])
        await stores.queue.enqueue([make_event(1)])
        assert await queued_ids(stores) == ["event-2", "event-3", "event-1"]

    async def test_an_id_that_is_queued_already_is_not_added_again(self, stores: Stores) -> None:
        await stores.queue.enqueue([make_event(1, data="first"), make_event(1, data="second")])
        await stores.queue.enqueue([make_event(1, data="third"), make_event(2)])
        pending = await stores.queue.pending(0, 10)
        assert [queued.event.data for queued in pending] == ["first", {"number": 2}]
        assert await stores.queue.depth() == 2

    async def test_a_reader_goes_on_after_a_position(self, stores: Stores) -> None:
        await stores.queue.enqueue([make_event(number) for number in range(1, 8)])
        seen, after = [], 0
        while pending := await stores.queue.pending(after, 3):
            assert len(pending) <= 3
            after = pending[-1].position
            seen += [queued.event.id for queued in pending]
        assert seen == [f"event-{number}" for number in range(1, 8)]

    async def test_a_position_is_never_used_twice(self, stores: Stores) -> None:
        await stores.queue.enqueue([make_event(1)])
        (queued,) = await stores.queue.pending(0, 10)
        await stores.queue.dead_letter("event-1", make_letter())
        await stores.queue.enqueue([make_event(2), make_event(1)])
        assert await queued_ids(stores, after=queued.position) == ["event-2", "event-1"]

    async def test_a_failed_try_is_recorded_and_keeps_the_place(self, stores: Stores) -> None:
        await stores.queue.enqueue([make_event(1), make_event(2)])
        await stores.queue.postpone("event-1", 2, T0 + seconds(1.5))
        first, second = await stores.queue.pending(0, 10)
        assert (first.event.id, first.attempts, first.not_before) == ("event-1", 2, T0 + seconds(1.5))
        assert (second.event.id, second.attempts, second.not_before) == ("event-2", 0, None)

    async def test_where_nobody_else_is_nothing_is_taken_over(self, stores: Stores) -> None:
        await stores.queue.enqueue([make_event(1)])
        await stores.store.commit(make_step(make_flow(), events=(make_event(2),)))
        assert [await stores.queue.take_over() for _ in range(2)] == [0, 0]
        assert await queued_ids(stores) == ["event-1", "event-2"]

    @pytest.mark.parametrize("event_id", ["nul\u0000byte", "🚀" * 5000, "x" * 100_000])
    async def test_any_text_is_an_id(self, stores: Stores, event_id: str) -> None:
        event, letter = make_event(id=event_id), make_letter(letter_id=event_id)
        await stores.queue.enqueue([event, event])
        assert await queued_ids(stores) == [event_id]
        await stores.queue.postpone(event_id, 1, T0)
        await stores.queue.dead_letter(event_id, letter)
        assert await queued_ids(stores) == []
        assert await stores.dead_letters.letter(event_id) == letter
        assert await stores.dead_letters.drop(event_id) is True

    async def test_postponing_what_has_left_the_queue_does_nothing(self, stores: Stores) -> None:
        await stores.queue.postpone("event-1", 1, T0)
        assert await stores.queue.depth() == 0

    async def test_a_buried_event_is_a_dead_letter_and_queued_no_more(self, stores: Stores) -> None:
        await stores.queue.enqueue([make_event(1), make_event(2)])
        await stores.queue.dead_letter("event-1", make_letter(7))
        assert await queued_ids(stores) == ["event-2"]
        assert await stores.dead_letters.letter("letter-7") == make_letter(7)

    async def test_burying_an_event_again_is_no_error(self, stores: Stores) -> None:
        await stores.queue.enqueue([make_event(1)])
        for _ in range(2):
            await stores.queue.dead_letter("event-1", make_letter(7))
        assert (await stores.dead_letters.letters(None, 10))[0] == [make_letter(7)]
