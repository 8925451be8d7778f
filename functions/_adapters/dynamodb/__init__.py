"""Every storage port in one DynamoDB table.

The base table, `pk / sk`, is where the truth is, and what decisions read is read from it consistently:

    F#<flow>       F                  the flow's row, its history `h`, unpublished events `ob`, decision `ddp`
                   T#<ticket>         a ticket, likewise, from its first change on
                   P#<digest>#<page>  tickets as their plan has made them (see `plans`)
                   A#<position>       an audit
                   H#<position>       history that has no record to be kept in, or for which there was no room there
                   B#<digest>#<part>  a part of a decision, or of a document that is too large for one item
                   C#<stamp>          the head of a step that is too large for one transaction (see `drafts`)
    T#<ticket>     -                  which flow a ticket is of; never changes
    WORKERS        <worker>           a worker
    REQUIREMENTS   <requirement>      a set of capabilities that some ticket has waited for
    TELEMETRY      <position>         an entry of the telemetry buffer
    PROCESSES      <owner>            until when a process counts as alive
    E#<event>      -                  queued events that no other item carries
    LETTER#<id>    -                  a dead letter
    KV#<space>     <key>              a small record that belongs to no flow

Sparse indexes find items; an item is in one only while it has the index's two keys. They are eventually consistent:

    due       wp / ws     wake-ups: by shard, then by a time that is theirs or earlier (see `due`)
    standing  sp / ss     tickets that wait (by requirement, turn, latest start) or are held (by worker); flows under
                          way (by risk band, deadline) or ended (by time); letters of a flow; actions on no flow
    listing   gp / gs     flows, letters and audits in the order of their positions, for people
    outbox    op / os     items with unpublished events, by the process whose they are

Positions are stamps (see `stamps`): microseconds that never go back within a process, nor behind what it has read.
"""

from functions._adapters.dynamodb.store import DynamoStore

__all__ = ["DynamoStore"]
