-- What the schema of PostgreSQL refuses is refused here, too. Triggers do it, not CHECK: no table is rebuilt, and rows
-- that an earlier version or another program has left wrong stay where they are, to be set aside or written again. What
-- is a column there and a field of the document here is looked for in the document. Claims set `next_wakeup_at` or
-- `offered_until` alone, and pay for no more than that.

-- A time that is no number never comes: such a record comes due now, and its next commit writes the true time.
UPDATE flow SET next_wakeup_at = 0 WHERE typeof(next_wakeup_at) NOT IN ('integer', 'null');
UPDATE ticket SET next_wakeup_at = 0 WHERE typeof(next_wakeup_at) NOT IN ('integer', 'null');
UPDATE worker SET next_wakeup_at = 0 WHERE typeof(next_wakeup_at) <> 'integer';

CREATE TRIGGER flow_insert_check BEFORE INSERT ON flow WHEN (
    NEW.status IN ('VALIDATING', 'AWAITING_APPROVAL', 'GENERATING', 'EXECUTING', 'PAUSED', 'COMPENSATING', 'PUBLISHING',
                   'COMPLETED', 'FAILED', 'TIMED_OUT', 'CANCELLED', 'REJECTED')
    AND (NEW.outcome IS NULL OR NEW.outcome IN ('COMPLETED', 'FAILED', 'TIMED_OUT', 'CANCELLED', 'REJECTED'))
    AND (NEW.risk_band IS NULL OR NEW.risk_band IN ('low', 'medium', 'high', 'critical'))
    AND typeof(NEW.version) = 'integer' AND NEW.version >= 1
    AND typeof(NEW.deadline) IN ('integer', 'null') AND typeof(NEW.ended_at) IN ('integer', 'null')
    AND typeof(NEW.duration_ms) IN ('integer', 'null') AND typeof(NEW.next_wakeup_at) IN ('integer', 'null')
    AND CASE WHEN json_valid(NEW.doc) THEN
        coalesce(json_extract(NEW.doc, '$.priority'), 'LOW') IN ('LOW', 'NORMAL', 'HIGH', 'CRITICAL')
        AND coalesce(json_extract(NEW.doc, '$.tickets_generated'), 0) >= 0
        AND coalesce(json_extract(NEW.doc, '$.redrives'), 0) >= 0
    END
) IS NOT TRUE
BEGIN SELECT raise(ABORT, 'CHECK constraint failed: flow'); END;

CREATE TRIGGER flow_update_check BEFORE UPDATE OF status, outcome, risk_band, deadline, ended_at, duration_ms, version, doc ON flow WHEN (
    NEW.status IN ('VALIDATING', 'AWAITING_APPROVAL', 'GENERATING', 'EXECUTING', 'PAUSED', 'COMPENSATING', 'PUBLISHING',
                   'COMPLETED', 'FAILED', 'TIMED_OUT', 'CANCELLED', 'REJECTED')
    AND (NEW.outcome IS NULL OR NEW.outcome IN ('COMPLETED', 'FAILED', 'TIMED_OUT', 'CANCELLED', 'REJECTED'))
    AND (NEW.risk_band IS NULL OR NEW.risk_band IN ('low', 'medium', 'high', 'critical'))
    AND typeof(NEW.version) = 'integer' AND NEW.version >= 1
    AND typeof(NEW.deadline) IN ('integer', 'null') AND typeof(NEW.ended_at) IN ('integer', 'null')
    AND typeof(NEW.duration_ms) IN ('integer', 'null') AND typeof(NEW.next_wakeup_at) IN ('integer', 'null')
    AND CASE WHEN json_valid(NEW.doc) THEN
        coalesce(json_extract(NEW.doc, '$.priority'), 'LOW') IN ('LOW', 'NORMAL', 'HIGH', 'CRITICAL')
        AND coalesce(json_extract(NEW.doc, '$.tickets_generated'), 0) >= 0
        AND coalesce(json_extract(NEW.doc, '$.redrives'), 0) >= 0
    END
) IS NOT TRUE
BEGIN SELECT raise(ABORT, 'CHECK constraint failed: flow'); END;

CREATE TRIGGER ticket_insert_check BEFORE INSERT ON ticket WHEN (
    NEW.status IN ('PENDING', 'ASSIGNED', 'RUNNING', 'COMPLETED', 'FAILED', 'CANCELLED', 'COMPENSATING', 'COMPENSATED')
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
    NEW.status IN ('PENDING', 'ASSIGNED', 'RUNNING', 'COMPLETED', 'FAILED', 'CANCELLED', 'COMPENSATING', 'COMPENSATED')
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

CREATE TRIGGER worker_insert_check BEFORE INSERT ON worker WHEN (
    NEW.worker_id IS NOT NULL AND typeof(NEW.version) = 'integer' AND NEW.version >= 1
    AND typeof(NEW.next_wakeup_at) = 'integer' AND json_valid(NEW.doc)
) IS NOT TRUE
BEGIN SELECT raise(ABORT, 'CHECK constraint failed: worker'); END;

CREATE TRIGGER worker_update_check BEFORE UPDATE OF worker_id, version, doc ON worker WHEN (
    NEW.worker_id IS NOT NULL AND typeof(NEW.version) = 'integer' AND NEW.version >= 1
    AND typeof(NEW.next_wakeup_at) = 'integer' AND json_valid(NEW.doc)
) IS NOT TRUE
BEGIN SELECT raise(ABORT, 'CHECK constraint failed: worker'); END;

CREATE TRIGGER flow_due_check BEFORE UPDATE OF next_wakeup_at ON flow
WHEN typeof(NEW.next_wakeup_at) NOT IN ('integer', 'null')
BEGIN SELECT raise(ABORT, 'CHECK constraint failed: flow.next_wakeup_at'); END;

CREATE TRIGGER ticket_due_check BEFORE UPDATE OF next_wakeup_at ON ticket
WHEN typeof(NEW.next_wakeup_at) NOT IN ('integer', 'null')
BEGIN SELECT raise(ABORT, 'CHECK constraint failed: ticket.next_wakeup_at'); END;

CREATE TRIGGER worker_due_check BEFORE UPDATE OF next_wakeup_at ON worker
WHEN typeof(NEW.next_wakeup_at) NOT IN ('integer')
BEGIN SELECT raise(ABORT, 'CHECK constraint failed: worker.next_wakeup_at'); END;

CREATE TRIGGER event_queue_insert_check BEFORE INSERT ON event_queue WHEN (
    typeof(NEW.attempts) = 'integer' AND typeof(NEW.not_before) IN ('integer', 'null') AND json_valid(NEW.doc)
) IS NOT TRUE
BEGIN SELECT raise(ABORT, 'CHECK constraint failed: event_queue'); END;

CREATE TRIGGER event_queue_update_check BEFORE UPDATE OF attempts, not_before, doc ON event_queue WHEN (
    typeof(NEW.attempts) = 'integer' AND typeof(NEW.not_before) IN ('integer', 'null') AND json_valid(NEW.doc)
) IS NOT TRUE
BEGIN SELECT raise(ABORT, 'CHECK constraint failed: event_queue'); END;

CREATE TRIGGER history_insert_check BEFORE INSERT ON history WHEN (
    json_valid(NEW.doc)
) IS NOT TRUE
BEGIN SELECT raise(ABORT, 'CHECK constraint failed: history'); END;

CREATE TRIGGER history_update_check BEFORE UPDATE OF doc ON history WHEN (
    json_valid(NEW.doc)
) IS NOT TRUE
BEGIN SELECT raise(ABORT, 'CHECK constraint failed: history'); END;

CREATE TRIGGER audit_insert_check BEFORE INSERT ON audit WHEN (
    json_valid(NEW.doc)
) IS NOT TRUE
BEGIN SELECT raise(ABORT, 'CHECK constraint failed: audit'); END;

CREATE TRIGGER audit_update_check BEFORE UPDATE OF doc ON audit WHEN (
    json_valid(NEW.doc)
) IS NOT TRUE
BEGIN SELECT raise(ABORT, 'CHECK constraint failed: audit'); END;

CREATE TRIGGER telemetry_buffer_insert_check BEFORE INSERT ON telemetry_buffer WHEN (
    json_valid(NEW.doc)
) IS NOT TRUE
BEGIN SELECT raise(ABORT, 'CHECK constraint failed: telemetry_buffer'); END;

CREATE TRIGGER telemetry_buffer_update_check BEFORE UPDATE OF doc ON telemetry_buffer WHEN (
    json_valid(NEW.doc)
) IS NOT TRUE
BEGIN SELECT raise(ABORT, 'CHECK constraint failed: telemetry_buffer'); END;

CREATE TRIGGER dead_letter_insert_check BEFORE INSERT ON dead_letter WHEN (
    json_valid(NEW.doc)
) IS NOT TRUE
BEGIN SELECT raise(ABORT, 'CHECK constraint failed: dead_letter'); END;

CREATE TRIGGER dead_letter_update_check BEFORE UPDATE OF doc ON dead_letter WHEN (
    json_valid(NEW.doc)
) IS NOT TRUE
BEGIN SELECT raise(ABORT, 'CHECK constraint failed: dead_letter'); END;
