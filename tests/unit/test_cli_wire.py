"""The command line's own words and ids are those of the core."""

from functions._cli import options, wire
from functions._core.decision import vocabulary
from functions._core.events import reports
from functions._core.machine import tables
from functions._core.records import models, values
from functions._hosts.one_machine import process


def test_words_and_ids_are_those_of_the_core() -> None:
    assert wire.ENDED_FLOWS == tables.ENDED_FLOWS
    assert wire.ENDED_TICKETS == tables.ENDED_TICKETS
    assert wire.STANDING_FLOWS == models.STANDING_FLOWS
    assert (wire.AT_RISK, wire.BREACHED) == (values.SlackState.AT_RISK, values.SlackState.BREACHED)
    assert wire.TAKEN_AS_DONE == tables.TicketTrigger.SKIP
    assert wire.UNPRINTABLE.pattern == vocabulary.UNPRINTABLE.pattern
    assert wire.UUID_TEXT.fullmatch(values.flow_id_of("d"))
    flow_id = values.flow_id_of("é")
    assert wire.ticket_id_of(flow_id, "task/1") == values.ticket_id_of(flow_id, "task/1")
    assert options.DEFAULT_URL == process.DEFAULT_URL
    assert reports.LOG_LIMIT == 65_536


def test_every_status_that_pictures_and_tables_know_is_one_of_a_ticket() -> None:
    from functions._cli.pictures import ENDED_FIRST
    from functions._cli.ticket_table import LOOKS

    assert set(ENDED_FIRST) == set(LOOKS) == set(values.TicketStatus)
