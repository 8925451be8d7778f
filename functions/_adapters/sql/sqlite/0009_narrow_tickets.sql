-- What never changes of a ticket is written once, for many together; its `doc` is then its state alone. A row without a
-- part was stored before and keeps its whole document. A part's number is never used twice, as readers keep parts.
CREATE TABLE ticket_part (
    part INTEGER PRIMARY KEY AUTOINCREMENT,
    doc  BLOB NOT NULL
);
ALTER TABLE ticket ADD COLUMN part INTEGER;
ALTER TABLE ticket ADD COLUMN place INTEGER;        -- within the part

-- In an index over all tickets each one that moves has a page of its own; without the completed ones a few pages are
-- enough for all.
DROP INDEX ticket_by_flow;
CREATE INDEX ticket_by_flow ON ticket (flow_id);
DROP INDEX ticket_by_status;
CREATE INDEX ticket_by_status ON ticket (status, flow_id) WHERE status <> 'COMPLETED';

-- Flows that are under way at the same time have neighbouring positions, and so neighbouring lines in the index; ids of
-- flows are spread over all of it.
ALTER TABLE history ADD COLUMN flow INTEGER NOT NULL DEFAULT 0;     -- position of the flow
UPDATE history SET flow = coalesce((SELECT position FROM flow WHERE flow.flow_id = history.flow_id), 0);
DROP INDEX history_by_flow;
CREATE INDEX history_by_flow ON history (flow);
