-- Tickets of the machine's own wait (WAITING) and may be left out (SKIPPED). Otherwise the checks are as before.
DROP TRIGGER ticket_insert_check;
DROP TRIGGER ticket_update_check;

CREATE TRIGGER ticket_insert_check BEFORE INSERT ON ticket WHEN (
    NEW.status IN ('PENDING', 'ASSIGNED', 'RUNNING', 'WAITING', 'COMPLETED', 'SKIPPED', 'FAILED', 'CANCELLED',
                   'COMPENSATING', 'COMPENSATED')
    AND NEW.priority IN ('LOW', 'NORMAL', 'HIGH', 'CRITICAL')
    AND typeof(NEW.version) = 'integer' AND NEW.version >= 1
    AND typeof(NEW.held_since) IN ('integer', 'null') AND typeof(NEW.turn) IN ('integer', 'null')
    AND typeof(NEW.latest_start) = 'integer' AND typeof(NEW.next_wakeup_at) IN ('integer', 'null')
    AND CASE WHEN json_valid(NEW.doc) THEN
        coalesce(json_extract(NEW.doc, '$.risk_band'), 'low') IN ('low', 'medium', 'high', 'critical')
        AND coalesce(json_extract(NEW.doc, '$.attempt'), 0) >= 0
        AND coalesce(json_extract(NEW.doc, '$.retry_count'), 0) >= 0
    END
) IS NOT TRUE
BEGIN SELECT raise(ABORT, 'CHECK constraint failed: ticket'); END;

CREATE TRIGGER ticket_update_check BEFORE UPDATE OF status, priority, held_since, turn, latest_start, version, doc ON ticket WHEN (
    NEW.status IN ('PENDING', 'ASSIGNED', 'RUNNING', 'WAITING', 'COMPLETED', 'SKIPPED', 'FAILED', 'CANCELLED',
                   'COMPENSATING', 'COMPENSATED')
    AND NEW.priority IN ('LOW', 'NORMAL', 'HIGH', 'CRITICAL')
    AND typeof(NEW.version) = 'integer' AND NEW.version >= 1
    AND typeof(NEW.held_since) IN ('integer', 'null') AND typeof(NEW.turn) IN ('integer', 'null')
    AND typeof(NEW.latest_start) = 'integer' AND typeof(NEW.next_wakeup_at) IN ('integer', 'null')
    AND CASE WHEN json_valid(NEW.doc) THEN
        coalesce(json_extract(NEW.doc, '$.risk_band'), 'low') IN ('low', 'medium', 'high', 'critical')
        AND coalesce(json_extract(NEW.doc, '$.attempt'), 0) >= 0
        AND coalesce(json_extract(NEW.doc, '$.retry_count'), 0) >= 0
    END
) IS NOT TRUE
BEGIN SELECT raise(ABORT, 'CHECK constraint failed: ticket'); END;

-- Children are found by the ticket that they are of; all other tickets are absent from the index.
ALTER TABLE ticket ADD COLUMN parent TEXT;
CREATE INDEX ticket_by_parent ON ticket (parent) WHERE parent IS NOT NULL;
