-- Waiting tickets get free slots by turn, then by slack; those that wait already are all in the first turn. The second
-- index tells how many of a flow's tickets a turn has.
ALTER TABLE ticket ADD COLUMN turn INTEGER;         -- set while it waits for a worker or slot
UPDATE ticket SET turn = 0 WHERE requirement IS NOT NULL;
DROP INDEX ticket_waiting;
CREATE INDEX ticket_waiting ON ticket (requirement, turn, latest_start, ticket_id) WHERE requirement IS NOT NULL;
CREATE INDEX ticket_turns ON ticket (flow_id, requirement, turn) WHERE requirement IS NOT NULL;
