"""The command line's own words and ids are those of the core."""

from functions._cli import wire
from functions._core import machine, models, reports, values, vocabulary
from functions._runtime import on_one_machine
from functions._runtime.cli import options


def test_words_and_ids_are_those_of_the_core() -> None:
    assert wire.ENDED_FLOWS == machine.ENDED_FLOWS
    assert wire.ENDED_TICKETS == machine.ENDED_TICKETS
    assert wire.STANDING_FLOWS == models.STANDING_FLOWS
    assert (wire.AT_RISK, wire.BREACHED) == (values.SlackState.AT_RISK, values.SlackState.BREACHED)
    assert wire.SKIPPED == machine.TicketTrigger.SKIP
    assert wire.UNPRINTABLE.pattern == vocabulary.UNPRINTABLE.pattern
    assert wire.UUID_TEXT.fullmatch(values.flow_id_of("d"))
    flow_id = values.flow_id_of("é")
    assert wire.ticket_id_of(flow_id, "task/1") == values.ticket_id_of(flow_id, "task/1")
    assert options.DEFAULT_URL == on_one_machine.DEFAULT_URL
    assert reports.LOG_LIMIT == 65_536


def test_every_status_that_pictures_and_tables_know_is_one_of_a_ticket() -> None:
    from functions._runtime.cli.pictures import ENDED_FIRST
    from functions._runtime.cli.ticket_table import LOOKS

    assert set(ENDED_FIRST) == set(LOOKS) == set(values.TicketStatus)
