-- Of tickets with the same turn and slack the highest priority score gets a free slot first, then the highest priority.
-- Older code, which does not write the column, has its tickets in the middle.
ALTER TABLE ticket ADD COLUMN precedence integer NOT NULL DEFAULT 2000000;
UPDATE ticket
SET precedence = round((1 - priority_score) * 1000000)::integer * 4
    + CASE priority WHEN 'CRITICAL' THEN 0 WHEN 'HIGH' THEN 1 WHEN 'NORMAL' THEN 2 ELSE 3 END
WHERE requirement IS NOT NULL;
DROP INDEX ticket_waiting;
CREATE INDEX ticket_waiting ON ticket (requirement, turn, latest_start, precedence, ticket_id)
WHERE requirement IS NOT NULL;
