from datetime import UTC, datetime

from functions._core.events.envelope import CloudEvent
from functions._worker.ended import Ended, EndedTickets

REPORT = CloudEvent(id="e", source="/workers/w", type="t", time=datetime(2026, 3, 1, tzinfo=UTC))


def known(ended: EndedTickets, *ticket_ids: str) -> list[str]:
    return [ticket_id for ticket_id in ticket_ids if ended.get(ticket_id)]


def test_the_oldest_ticket_is_forgotten_for_one_too_many() -> None:
    ended = EndedTickets(tickets=2)
    for ticket_id in ("t-1", "t-2", "t-3"):
        ended.put(ticket_id, Ended(1))
    assert known(ended, "t-1", "t-2", "t-3") == ["t-2", "t-3"]


def test_a_ticket_that_is_asked_for_is_remembered_longer() -> None:
    ended = EndedTickets(tickets=2)
    ended.put("t-1", Ended(1))
    ended.put("t-2", Ended(1))
    ended.get("t-1")
    ended.put("t-3", Ended(1))
    assert known(ended, "t-1", "t-2", "t-3") == ["t-1", "t-3"]


def test_large_reports_take_the_room_of_many_small_ones() -> None:
    ended = EndedTickets(size=100)
    for number in range(10):
        ended.put(f"t-{number}", Ended(1, REPORT, 10))
    ended.put("large", Ended(1, REPORT, 75))
    assert known(ended, *(f"t-{number}" for number in range(10)), "large") == ["t-8", "t-9", "large"]


def test_room_is_given_back() -> None:
    ended = EndedTickets(size=100)
    for attempt in range(1, 50):
        ended.put("t-1", Ended(attempt, REPORT, 60))
    ended.put("t-2", Ended(1, REPORT, 40))
    assert known(ended, "t-1", "t-2") == ["t-1", "t-2"]


def test_the_end_of_the_newest_attempt_is_what_counts_and_the_first_word_about_it_stands() -> None:
    ended = EndedTickets()
    ended.put("t-1", Ended(2, REPORT))
    ended.put("t-1", Ended(1))
    ended.put("t-1", Ended(2))
    assert ended.get("t-1") == Ended(2, REPORT)
    ended.put("t-1", Ended(3))
    assert ended.get("t-1") == Ended(3)
