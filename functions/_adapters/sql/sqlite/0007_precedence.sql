-- Of tickets with the same turn and slack the highest priority score gets a free slot first, then the highest priority.
ALTER TABLE ticket ADD COLUMN precedence INTEGER NOT NULL DEFAULT 0;
UPDATE ticket
SET precedence = CAST(round((1 - json_extract(doc, '$.priority_score')) * 1000000) AS INTEGER) * 4
    + CASE priority WHEN 'CRITICAL' THEN 0 WHEN 'HIGH' THEN 1 WHEN 'NORMAL' THEN 2 ELSE 3 END
WHERE requirement IS NOT NULL;
DROP INDEX ticket_waiting;
CREATE INDEX ticket_waiting ON ticket (requirement, turn, latest_start, precedence, ticket_id)
WHERE requirement IS NOT NULL;
