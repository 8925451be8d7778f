import pytest

from functions._adapters.memory import MemorySink
from functions._core.errors import Unavailable
from tests.support.builders import make_event


async def test_a_sink_keeps_what_it_takes_in_order() -> None:
    sink = MemorySink()
    await sink.send([make_event(2), make_event(1)])
    await sink.send([make_event(2)])
    assert sink.events == [make_event(2), make_event(1), make_event(2)]


async def test_a_sink_that_is_down_takes_nothing_until_it_is_up_again() -> None:
    sink = MemorySink()
    sink.down = True
    with pytest.raises(Unavailable):
        await sink.send([make_event(1)])
    sink.down = False
    await sink.send([make_event(2)])
    assert sink.events == [make_event(2)]
