-- `:name` stands for a parameter. What a step writes is put together from the parts below as one statement, so that a
-- commit is one round trip: `WITH turn AS (…), flow_written AS (…), … SELECT flowc_expect(…)`. A record is inserted as
-- new and updated from the version it was decided on; a part that touches too few rows is how a conflict shows.

-- name: turn
SELECT flowc_turn(:flow_id)

-- name: flow_insert
INSERT INTO flow (flow_id, decision_id, plan_id, intent_id, correlation_id, trace_id, status, outcome, priority, risk_band,
                  received_at, sla_deadline, deadline, ended_at, duration_ms, tickets_generated, redrives, next_wakeup_at,
                  version, labels, doc)
VALUES (:flow_flow_id, :flow_decision_id, :flow_plan_id, :flow_intent_id, :flow_correlation_id, :flow_trace_id,
        :flow_status, :flow_outcome, :flow_priority, :flow_risk_band, :flow_received_at, :flow_sla_deadline,
        :flow_deadline, :flow_ended_at, :flow_duration_ms, :flow_tickets_generated, :flow_redrives,
        :flow_next_wakeup_at, :flow_version, :flow_labels::jsonb, :flow_doc)
ON CONFLICT (flow_id) DO NOTHING RETURNING 1

-- name: flow_update
UPDATE flow
SET plan_id = :flow_plan_id, intent_id = :flow_intent_id, status = :flow_status, outcome = :flow_outcome,
    priority = :flow_priority, risk_band = :flow_risk_band, sla_deadline = :flow_sla_deadline,
    deadline = :flow_deadline, ended_at = :flow_ended_at, duration_ms = :flow_duration_ms,
    tickets_generated = :flow_tickets_generated, redrives = :flow_redrives, next_wakeup_at = :flow_next_wakeup_at,
    version = :flow_version, labels = :flow_labels::jsonb, updated_at = now(), doc = :flow_doc
WHERE flow_id = :flow_flow_id AND version = :flow_base RETURNING 1

-- name: ticket_insert
INSERT INTO ticket (ticket_id, flow_id, plan_id, intent_id, decision_id, correlation_id, trace_id, span_id, task_id,
                    task_type, description, dependencies, status, waiting, priority, priority_score, risk_band, sla,
                    sla_deadline, qos, required_capabilities, security_level, template_id, created_at, assigned_at,
                    acknowledged_at, started_at, completed_at, estimated_duration_ms, actual_duration_ms, attempt,
                    retry_count, worker_id, error_message, compensation_ticket_id, compensates, parent, schema_version,
                    hash, held_since, requirement, turn, latest_start, precedence, next_wakeup_at, version, labels, doc)
SELECT * FROM unnest(
    :new_ticket_id::text[], :new_flow_id::text[], :new_plan_id::text[], :new_intent_id::text[], :new_decision_id::text[],
    :new_correlation_id::text[], :new_trace_id::text[], :new_span_id::text[], :new_task_id::text[],
    :new_task_type::text[], :new_description::text[], :new_dependencies::json[], :new_status::text[],
    :new_waiting::text[], :new_priority::text[], :new_priority_score::float8[], :new_risk_band::text[],
    :new_sla::json[], :new_sla_deadline::timestamptz[], :new_qos::json[], :new_required_capabilities::json[],
    :new_security_level::text[], :new_template_id::text[], :new_created_at::timestamptz[],
    :new_assigned_at::timestamptz[], :new_acknowledged_at::timestamptz[], :new_started_at::timestamptz[],
    :new_completed_at::timestamptz[], :new_estimated_duration_ms::bigint[], :new_actual_duration_ms::bigint[],
    :new_attempt::integer[], :new_retry_count::integer[], :new_worker_id::text[], :new_error_message::text[],
    :new_compensation_ticket_id::text[], :new_compensates::text[], :new_parent::text[], :new_schema_version::integer[],
    :new_hash::text[], :new_held_since::timestamptz[], :new_requirement::text[], :new_turn::bigint[],
    :new_latest_start::timestamptz[], :new_precedence::integer[], :new_next_wakeup_at::timestamptz[],
    :new_version::integer[], :new_labels::jsonb[], :new_doc::json[])
ON CONFLICT (ticket_id) DO NOTHING RETURNING 1

-- name: ticket_update
-- What never changes is left out: that spares its indexes.
UPDATE ticket
SET status = n.status, waiting = n.waiting, priority = n.priority, priority_score = n.priority_score, sla = n.sla,
    sla_deadline = n.sla_deadline, required_capabilities = n.required_capabilities, assigned_at = n.assigned_at,
    acknowledged_at = n.acknowledged_at, started_at = n.started_at, completed_at = n.completed_at,
    actual_duration_ms = n.actual_duration_ms, attempt = n.attempt, retry_count = n.retry_count,
    worker_id = n.worker_id, error_message = n.error_message, compensation_ticket_id = n.compensation_ticket_id,
    held_since = n.held_since, requirement = n.requirement, turn = n.turn, latest_start = n.latest_start,
    precedence = n.precedence,
    offered_until = NULL, next_wakeup_at = n.next_wakeup_at, version = n.version, updated_at = now(), doc = n.doc
FROM unnest(
    :changed_ticket_id::text[], :changed_status::text[], :changed_waiting::text[], :changed_priority::text[],
    :changed_priority_score::float8[], :changed_sla::json[], :changed_sla_deadline::timestamptz[],
    :changed_required_capabilities::json[], :changed_assigned_at::timestamptz[],
    :changed_acknowledged_at::timestamptz[], :changed_started_at::timestamptz[], :changed_completed_at::timestamptz[],
    :changed_actual_duration_ms::bigint[], :changed_attempt::integer[], :changed_retry_count::integer[],
    :changed_worker_id::text[], :changed_error_message::text[], :changed_compensation_ticket_id::text[],
    :changed_held_since::timestamptz[], :changed_requirement::text[], :changed_turn::bigint[],
    :changed_latest_start::timestamptz[], :changed_precedence::integer[], :changed_next_wakeup_at::timestamptz[], :changed_version::integer[],
    :changed_doc::json[], :changed_base::integer[]
) AS n (ticket_id, status, waiting, priority, priority_score, sla, sla_deadline, required_capabilities, assigned_at,
        acknowledged_at, started_at, completed_at, actual_duration_ms, attempt, retry_count, worker_id, error_message,
        compensation_ticket_id, held_since, requirement, turn, latest_start, precedence, next_wakeup_at, version, doc, base)
WHERE ticket.ticket_id = n.ticket_id AND ticket.version = n.base RETURNING 1

-- name: ticket_rewrite
-- As `ticket_update`, with what otherwise never changes; ids stay.
UPDATE ticket
SET
    task_type = n.task_type, description = n.description, dependencies = n.dependencies, risk_band = n.risk_band,
    qos = n.qos, security_level = n.security_level, template_id = n.template_id,
    estimated_duration_ms = n.estimated_duration_ms, hash = n.hash, labels = n.labels, status = n.status,
    waiting = n.waiting, priority = n.priority, priority_score = n.priority_score, sla = n.sla,
    sla_deadline = n.sla_deadline, required_capabilities = n.required_capabilities, assigned_at = n.assigned_at,
    acknowledged_at = n.acknowledged_at, started_at = n.started_at, completed_at = n.completed_at,
    actual_duration_ms = n.actual_duration_ms, attempt = n.attempt, retry_count = n.retry_count,
    worker_id = n.worker_id, error_message = n.error_message, compensation_ticket_id = n.compensation_ticket_id,
    held_since = n.held_since, requirement = n.requirement, turn = n.turn, latest_start = n.latest_start,
    precedence = n.precedence, next_wakeup_at = n.next_wakeup_at, version = n.version, doc = n.doc,
    offered_until = NULL, updated_at = now()
FROM unnest(
    :rewritten_ticket_id::text[], :rewritten_task_type::text[], :rewritten_description::text[],
    :rewritten_dependencies::json[], :rewritten_risk_band::text[], :rewritten_qos::json[],
    :rewritten_security_level::text[], :rewritten_template_id::text[], :rewritten_estimated_duration_ms::bigint[],
    :rewritten_hash::text[], :rewritten_labels::jsonb[], :rewritten_status::text[], :rewritten_waiting::text[],
    :rewritten_priority::text[],
    :rewritten_priority_score::float8[], :rewritten_sla::json[], :rewritten_sla_deadline::timestamptz[],
    :rewritten_required_capabilities::json[], :rewritten_assigned_at::timestamptz[],
    :rewritten_acknowledged_at::timestamptz[], :rewritten_started_at::timestamptz[],
    :rewritten_completed_at::timestamptz[], :rewritten_actual_duration_ms::bigint[], :rewritten_attempt::integer[],
    :rewritten_retry_count::integer[], :rewritten_worker_id::text[], :rewritten_error_message::text[],
    :rewritten_compensation_ticket_id::text[], :rewritten_held_since::timestamptz[], :rewritten_requirement::text[],
    :rewritten_turn::bigint[], :rewritten_latest_start::timestamptz[], :rewritten_precedence::integer[],
    :rewritten_next_wakeup_at::timestamptz[], :rewritten_version::integer[], :rewritten_doc::json[],
    :rewritten_base::integer[]
) AS n (
    ticket_id, task_type, description, dependencies, risk_band, qos, security_level, template_id,
    estimated_duration_ms, hash, labels, status, waiting, priority, priority_score, sla, sla_deadline,
    required_capabilities, assigned_at, acknowledged_at, started_at, completed_at, actual_duration_ms, attempt,
    retry_count, worker_id, error_message, compensation_ticket_id, held_since, requirement, turn, latest_start,
    precedence, next_wakeup_at, version, doc, base
)
WHERE ticket.ticket_id = n.ticket_id AND ticket.version = n.base RETURNING 1

-- name: hedges_put
INSERT INTO hedge (ticket_id, worker_id, held_since)
SELECT * FROM unnest(:hedge_ticket_id::text[], :hedge_worker_id::text[], :hedge_held_since::timestamptz[])
ON CONFLICT (ticket_id) DO UPDATE SET worker_id = excluded.worker_id, held_since = excluded.held_since

-- name: hedges_delete
DELETE FROM hedge WHERE ticket_id = ANY(:unhedged::text[])

-- name: flow_seen
SELECT 1 FROM flow WHERE flow_id = :flow_id AND version = :flow_seen

-- name: tickets_seen
SELECT 1 FROM ticket JOIN unnest(:seen_ids::text[], :seen_versions::integer[]) AS n (ticket_id, version)
ON ticket.ticket_id = n.ticket_id AND ticket.version = n.version

-- name: decision_insert
-- The first decision of a flow wins.
INSERT INTO decision (flow_id, doc) VALUES (:flow_id, :decision) ON CONFLICT (flow_id) DO NOTHING

-- name: history_insert
-- Numbers are given behind the join, so after the turn has come, and in the order of the step.
INSERT INTO history (flow_id, at, type, ticket_id, from_status, to_status, doc)
SELECT n.flow_id, n.at, n.type, n.ticket_id, n.from_status, n.to_status, n.doc
FROM turn, unnest(
    :history_flow_id::text[], :history_at::timestamptz[], :history_type::text[], :history_ticket_id::text[],
    :history_from_status::text[], :history_to_status::text[], :history_doc::json[]
) WITH ORDINALITY AS n (flow_id, at, type, ticket_id, from_status, to_status, doc, place)
ORDER BY n.place

-- name: audit_insert
INSERT INTO audit (flow_id, kind, valid, at, doc)
SELECT * FROM unnest(:audit_flow_id::text[], :audit_kind::text[], :audit_valid::boolean[], :audit_at::timestamptz[],
                     :audit_doc::json[])

-- name: queue_delete
DELETE FROM event_queue WHERE event_id = :handled RETURNING 1

-- name: queue_insert
-- After `dequeued`: a step may send an event with the id of the one that it has handled.
INSERT INTO event_queue (event_id, owner, doc)
SELECT n.event_id, :owner::text, n.doc FROM unnest(:event_id::text[], :event_doc::json[]) AS n (event_id, doc)
WHERE (SELECT count(*) FROM dequeued) >= 0
ON CONFLICT (event_id) DO NOTHING

-- name: telemetry_insert
INSERT INTO telemetry_buffer (doc) SELECT * FROM unnest(:telemetry_doc::json[])

-- Writes of one statement.

-- name: worker_insert
INSERT INTO worker (worker_id, endpoint, reported, slots, registered_at, last_seen, next_wakeup_at, version, doc)
VALUES (:worker_id, :endpoint, :reported, :slots, :registered_at, :last_seen, :next_wakeup_at, :version, :doc)
ON CONFLICT (worker_id) DO NOTHING RETURNING 1

-- name: worker_update
UPDATE worker
SET endpoint = :endpoint, reported = :reported, slots = :slots, registered_at = :registered_at, last_seen = :last_seen,
    next_wakeup_at = :next_wakeup_at, version = :version, doc = :doc
WHERE worker_id = :worker_id AND version = :version - 1 RETURNING 1

-- name: worker_delete
DELETE FROM worker WHERE worker_id = :worker_id AND version = :version RETURNING 1

-- name: queue_postpone
UPDATE event_queue SET attempts = :attempts, not_before = :not_before WHERE event_id = :event_id

-- name: queue_bury
WITH buried AS (DELETE FROM event_queue WHERE event_id = :event_id)
INSERT INTO dead_letter (letter_id, flow_id, doc) VALUES (:letter_id, :flow_id, :doc)
ON CONFLICT (letter_id) DO UPDATE SET flow_id = excluded.flow_id, doc = excluded.doc

-- name: queue_take_over
-- The process says that it is alive, and takes what nobody owns or the dead have left. Others who look at the same time
-- pass over what this one has locked.
WITH alive AS (
    INSERT INTO process (process_id, alive_until) VALUES (:owner, now() + :lease::interval)
    ON CONFLICT (process_id) DO UPDATE SET alive_until = excluded.alive_until
), orphan AS (
    SELECT position FROM event_queue
    WHERE owner IS NULL
        OR owner = ANY (ARRAY(SELECT process_id FROM process WHERE alive_until <= now() AND process_id <> :owner))
    LIMIT :limit
    FOR UPDATE SKIP LOCKED
), taken AS (
    UPDATE event_queue SET owner = :owner FROM orphan WHERE event_queue.position = orphan.position RETURNING 1
)
SELECT count(*) FROM taken

-- name: process_leave
UPDATE process SET alive_until = now() WHERE process_id = :owner

-- name: process_forget
DELETE FROM process
WHERE alive_until < now() - interval '1 day'
    AND NOT EXISTS (SELECT FROM event_queue WHERE owner = process.process_id)

-- name: telemetry_delete
DELETE FROM telemetry_buffer WHERE position = ANY (:positions::bigint[])

-- name: letter_put
-- A letter that comes again keeps its place.
INSERT INTO dead_letter (letter_id, flow_id, doc) VALUES (:letter_id, :flow_id, :doc)
ON CONFLICT (letter_id) DO UPDATE SET flow_id = excluded.flow_id, doc = excluded.doc

-- name: letter_delete
DELETE FROM dead_letter WHERE letter_id = :letter_id RETURNING 1

-- Retention: one transaction, a bounded number of rows.

-- name: retention_begin
SELECT set_config('flowc.retention', 'on', true)

-- name: anything_old
SELECT EXISTS (SELECT FROM flow WHERE ended_at < :before) OR EXISTS (SELECT FROM audit WHERE flow_id = '' AND at < :before)

-- name: forgettable
SELECT flow_id FROM flow WHERE ended_at < :before ORDER BY ended_at LIMIT 1 FOR UPDATE SKIP LOCKED

-- name: tickets_forget
DELETE FROM ticket WHERE position IN (SELECT position FROM ticket WHERE flow_id = :flow_id ORDER BY position LIMIT :limit)
RETURNING 1

-- name: history_forget
DELETE FROM history WHERE seq IN (SELECT seq FROM history WHERE flow_id = :flow_id ORDER BY seq LIMIT :limit) RETURNING 1

-- name: audits_forget
DELETE FROM audit WHERE position IN (SELECT position FROM audit WHERE flow_id = :flow_id ORDER BY position LIMIT :limit)
RETURNING 1

-- name: letters_forget
DELETE FROM dead_letter WHERE position IN (SELECT position FROM dead_letter WHERE flow_id = :flow_id LIMIT :limit)
RETURNING 1

-- name: decision_forget
DELETE FROM decision WHERE flow_id = :flow_id AND :limit::bigint > 0 RETURNING 1

-- name: flow_forget
DELETE FROM flow WHERE flow_id = :flow_id AND :limit::bigint > 0 RETURNING 1

-- name: actions_forget
DELETE FROM audit
WHERE position IN (SELECT position FROM audit WHERE flow_id = '' AND at < :before ORDER BY at LIMIT :limit)
RETURNING 1

-- name: letters_drop
DELETE FROM dead_letter WHERE position IN (
    SELECT position FROM dead_letter
    WHERE position <= (SELECT position FROM dead_letter ORDER BY position DESC LIMIT 1 OFFSET :keep)
    ORDER BY position LIMIT :limit
)
RETURNING 1

-- Reads of single records.

-- name: flow
SELECT doc FROM flow WHERE flow_id = :flow_id

-- name: decision
SELECT doc FROM decision WHERE flow_id = :flow_id

-- name: tickets
SELECT ticket_id, flow_id, doc FROM ticket WHERE ticket_id = ANY (:ticket_ids::text[])

-- name: live_tickets
SELECT count(*) FROM (
    SELECT FROM ticket
    WHERE flow_id = :flow_id AND status IN ('PENDING', 'ASSIGNED', 'RUNNING', 'WAITING') LIMIT :at_most
) AS live

-- name: tickets_by_status
SELECT status, count(*) FROM ticket WHERE flow_id = :flow_id AND compensates IS NULL GROUP BY status

-- name: active
-- A worker with both kinds of attempts has two rows.
SELECT worker_id, count(*) FROM ticket WHERE held_since IS NOT NULL AND worker_id IS NOT NULL GROUP BY worker_id
UNION ALL SELECT worker_id, count(*) FROM hedge GROUP BY worker_id

-- name: held_by
SELECT ticket_id, flow_id, doc FROM (
    (SELECT ticket_id, flow_id, held_since, doc FROM ticket WHERE worker_id = :worker_id AND held_since IS NOT NULL
     ORDER BY held_since, ticket_id LIMIT :limit)
    UNION ALL
    (SELECT ticket_id, flow_id, hedge.held_since, doc FROM hedge JOIN ticket USING (ticket_id)
     WHERE hedge.worker_id = :worker_id ORDER BY hedge.held_since, ticket_id LIMIT :limit)
) AS held ORDER BY held_since, ticket_id LIMIT :limit

-- name: worker
SELECT version, doc FROM worker WHERE worker_id = :worker_id

-- name: workers
SELECT worker_id, doc FROM worker ORDER BY worker_id

-- name: letter
SELECT doc FROM dead_letter WHERE letter_id = :letter_id

-- name: queue_pending
SELECT position, event_id, attempts, not_before, doc FROM event_queue
WHERE position > :after ORDER BY position LIMIT :limit

-- name: queue_pending_of
SELECT position, event_id, attempts, not_before, doc FROM event_queue
WHERE owner = :owner AND position > :after ORDER BY position LIMIT :limit

-- name: telemetry_oldest
SELECT position, doc FROM telemetry_buffer WHERE position > :after ORDER BY position LIMIT :limit

-- name: writable
-- Raises when the database takes no writes, as on a standby.
SELECT pg_current_xact_id()

-- Wake-ups. Claims take turns by a lock, so that what one has locked and does not take is not passed over by the next; a
-- row that a commit has locked is passed over, as its wake-up is being set again. Rows that moved meanwhile are looked at
-- again by FOR UPDATE.

-- name: claim_due
WITH claim AS MATERIALIZED (
    SELECT pg_advisory_xact_lock(1179407192, 1)
), due_flow AS MATERIALIZED (
    SELECT 'flow' AS kind, flow_id AS record_id, flow_id, next_wakeup_at AS at FROM flow
    WHERE next_wakeup_at <= :now AND (SELECT count(*) FROM claim) = 1
    ORDER BY next_wakeup_at LIMIT :limit FOR UPDATE SKIP LOCKED
), due_ticket AS MATERIALIZED (
    SELECT 'ticket', ticket_id, flow_id, next_wakeup_at FROM ticket
    WHERE next_wakeup_at <= :now AND (SELECT count(*) FROM claim) = 1
    ORDER BY next_wakeup_at LIMIT :limit FOR UPDATE SKIP LOCKED
), due_worker AS MATERIALIZED (
    SELECT 'worker', worker_id, NULL, next_wakeup_at FROM worker
    WHERE next_wakeup_at <= :now AND (SELECT count(*) FROM claim) = 1
    ORDER BY next_wakeup_at LIMIT :limit FOR UPDATE SKIP LOCKED
), due AS MATERIALIZED (
    SELECT * FROM due_flow UNION ALL SELECT * FROM due_ticket UNION ALL SELECT * FROM due_worker
    ORDER BY at, kind, record_id LIMIT :limit
), flows AS (
    UPDATE flow SET next_wakeup_at = :until FROM due WHERE kind = 'flow' AND flow.flow_id = record_id
), tickets AS (
    UPDATE ticket SET next_wakeup_at = :until FROM due WHERE kind = 'ticket' AND ticket.ticket_id = record_id
), workers AS (
    UPDATE worker SET next_wakeup_at = :until FROM due WHERE kind = 'worker' AND worker.worker_id = record_id
)
SELECT kind, record_id, flow_id, greatest(at, '0001-01-01T00:00:00.001Z') FROM due ORDER BY at, kind, record_id

-- name: next_due
-- A column may hold times that Python has no word for; they are the nearest that it has.
SELECT least(greatest(at, '0001-01-01T00:00:00.001Z'), '9999-12-31T23:59:59.999Z') FROM (
    SELECT least(
        (SELECT min(next_wakeup_at) FROM flow WHERE next_wakeup_at IS NOT NULL),
        (SELECT min(next_wakeup_at) FROM ticket WHERE next_wakeup_at IS NOT NULL),
        (SELECT min(next_wakeup_at) FROM worker)
    ) AS at
) AS nearest
WHERE at IS NOT NULL

-- name: waiting_requirements
-- The distinct requirements of waiting tickets, with the capabilities and the security level they stand for: a hop along
-- the index from one to the next, however many tickets wait. Two tickets tell it: one of them may be unreadable.
WITH RECURSIVE hop (requirement) AS (
    (SELECT requirement FROM ticket WHERE requirement IS NOT NULL ORDER BY requirement LIMIT 1)
    UNION ALL
    SELECT (SELECT requirement FROM ticket WHERE requirement > hop.requirement ORDER BY requirement LIMIT 1)
    FROM hop WHERE hop.requirement IS NOT NULL
)
SELECT hop.requirement, two.ticket_id, two.flow_id, two.required_capabilities, two.security_level
FROM hop, LATERAL (
    SELECT ticket_id, flow_id, required_capabilities, security_level
    FROM ticket WHERE requirement = hop.requirement LIMIT 2
) AS two

-- name: claim_waiting
WITH claim AS MATERIALIZED (
    SELECT pg_advisory_xact_lock(1179407192, 2)
), offered AS MATERIALIZED (
    SELECT found.* FROM unnest(:requirements::text[]) AS wanted (requirement), LATERAL (
        SELECT position, ticket_id, flow_id, turn, latest_start, precedence, doc FROM ticket
        WHERE ticket.requirement = wanted.requirement AND (offered_until IS NULL OR offered_until <= :now)
            AND (SELECT count(*) FROM claim) = 1
        ORDER BY turn, latest_start, precedence, ticket_id LIMIT :limit FOR UPDATE SKIP LOCKED
    ) AS found
    ORDER BY turn, latest_start, precedence, ticket_id LIMIT :limit
), marked AS (
    UPDATE ticket SET offered_until = :until FROM offered WHERE ticket.position = offered.position
)
SELECT ticket_id, flow_id, doc FROM offered ORDER BY turn, latest_start, precedence, ticket_id

-- name: line
-- What `Line` tells, of the tickets with these requirements (`own` among them).
WITH wanted AS (
    SELECT requirement FROM unnest(:requirements::text[]) AS n (requirement)
), now AS MATERIALIZED (
    SELECT coalesce(max(lowest.turn), 0) AS turn FROM wanted, LATERAL (
        SELECT turn FROM ticket WHERE ticket.requirement = wanted.requirement ORDER BY turn LIMIT 1) AS lowest
), behind AS (
    SELECT first.turn, first.latest_start FROM now, wanted, LATERAL (
        SELECT turn, latest_start FROM ticket WHERE ticket.requirement = wanted.requirement AND ticket.turn > now.turn
        ORDER BY turn, latest_start LIMIT 1) AS first
    ORDER BY first.turn, first.latest_start LIMIT 1
), last AS (
    SELECT turn FROM ticket WHERE flow_id = :flow_id AND requirement = :own ORDER BY turn DESC LIMIT 1
), asked AS (
    SELECT turn FROM now UNION SELECT turn + 1 FROM now UNION SELECT turn FROM last
)
SELECT now.turn, (SELECT latest_start FROM behind), asked.turn, (
    SELECT count(*) FROM (
        SELECT FROM ticket WHERE flow_id = :flow_id AND requirement = :own AND ticket.turn = asked.turn LIMIT :at_most
    ) AS taken)
FROM now, asked

-- Pages and longer reads.

-- name: tickets_of
SELECT ticket_id, flow_id, doc FROM ticket WHERE flow_id = :flow_id ORDER BY position

-- name: live_tickets_of
SELECT ticket_id, flow_id, doc FROM ticket
WHERE flow_id = :flow_id AND status IN ('PENDING', 'ASSIGNED', 'RUNNING', 'WAITING') ORDER BY position

-- name: flows_page
SELECT position, flow_id, flow_id, doc FROM flow WHERE position < :before ORDER BY position DESC LIMIT :limit

-- name: flows_page_by_label
SELECT position, flow_id, flow_id, doc FROM flow
WHERE labels IS NOT NULL AND labels @> :labels::jsonb AND position < :before
    AND (:status::text IS NULL OR status = :status::text)
ORDER BY position DESC LIMIT :limit

-- name: flows_page_by_status
SELECT position, flow_id, flow_id, doc FROM flow WHERE status = :status AND position < :before ORDER BY position DESC LIMIT :limit

-- name: tickets_page
-- `/* filters */` stands for equalities on searchable columns.
SELECT position, ticket_id, flow_id, doc FROM ticket WHERE position > :after /* filters */ ORDER BY position LIMIT :limit

-- name: tickets_fitting
SELECT count(*) FROM (SELECT FROM ticket WHERE position > 0 /* filters */ LIMIT :at_most) AS fitting

-- name: history_settled
SELECT flowc_history_settled()

-- name: history_last
SELECT coalesce(least(flowc_history_settled(), max(seq)), 0) FROM history

-- name: history_page
SELECT seq, flow_id, doc FROM history WHERE seq > :after AND seq <= :settled ORDER BY seq LIMIT :limit

-- name: history_page_of_flow
SELECT seq, flow_id, doc FROM history WHERE flow_id = :flow_id AND seq > :after ORDER BY seq LIMIT :limit

-- name: audits_page
-- `/* filters */` stands for equalities. What is rare has an index; the rest is met soon on the way back.
SELECT position, flow_id, doc FROM audit WHERE true /* filters */ ORDER BY position DESC LIMIT :limit

-- name: flow_statistics
-- `percentile_disc` is the nearest rank.
SELECT count(*), count(*) FILTER (WHERE outcome = 'COMPLETED'), sum(duration_ms)::float8 / nullif(count(*), 0),
    percentile_disc(0.95) WITHIN GROUP (ORDER BY duration_ms),
    (SELECT count(*) FROM flow WHERE status = ANY (:under_way::text[]))
FROM flow WHERE ended_at IS NOT NULL AND (:since::timestamptz IS NULL OR ended_at >= :since)

-- name: flows_ended
SELECT position, flow_id, flow_id, doc FROM flow WHERE ended_at >= :since AND ended_at < :until
ORDER BY ended_at DESC LIMIT :limit

-- name: flows_under_way
SELECT position, flow_id, flow_id, doc FROM flow WHERE status = ANY (:under_way::text[]) LIMIT :limit

-- name: flow_deadlines
SELECT band, (SELECT min(deadline) FROM flow WHERE risk_band = band AND deadline IS NOT NULL)
FROM unnest(:risk_bands::text[]) AS band

-- name: flow_counts
SELECT status, count(*) FROM flow GROUP BY status

-- name: ticket_counts
SELECT status, count(*) FROM ticket GROUP BY status

-- name: letters_page
SELECT position, letter_id, flow_id, doc FROM dead_letter WHERE position < :before ORDER BY position DESC LIMIT :limit

-- name: queue_depth
SELECT count(*) FROM event_queue

-- name: telemetry_size
SELECT count(*) FROM telemetry_buffer

-- name: entry
SELECT key, value, version, expires_at FROM key_value
WHERE space = :space AND key = :key AND (expires_at IS NULL OR expires_at > :now)

-- name: entry_insert
-- An expired entry is in nobody's way.
INSERT INTO key_value (space, key, value, version, expires_at) VALUES (:space, :key, :value, :version, :expires_at)
ON CONFLICT (space, key) DO UPDATE
SET value = excluded.value, version = excluded.version, expires_at = excluded.expires_at
WHERE key_value.expires_at <= :now
RETURNING 1

-- name: entry_update
UPDATE key_value SET value = :value, version = :version, expires_at = :expires_at
WHERE space = :space AND key = :key AND version = :base AND (expires_at IS NULL OR expires_at > :now)
RETURNING 1

-- name: entry_delete
DELETE FROM key_value
WHERE space = :space AND key = :key AND version = :version AND (expires_at IS NULL OR expires_at > :now)
RETURNING 1

-- name: entries
SELECT key, value, version, expires_at FROM key_value
WHERE space = :space AND key > :after AND (expires_at IS NULL OR expires_at > :now) ORDER BY key LIMIT :limit

-- name: expired_forget
DELETE FROM key_value
WHERE (space, key) IN (
    SELECT space, key FROM key_value WHERE expires_at <= :now ORDER BY expires_at LIMIT :limit FOR UPDATE SKIP LOCKED
)
RETURNING 1

-- Webhooks.

-- name: webhook_insert
INSERT INTO webhook_delivery (subscription_id, delivery_id, due_at, created_at, version, doc)
VALUES (:subscription_id, :delivery_id, :due_at, :created_at, :version, :doc)
ON CONFLICT (subscription_id, delivery_id) DO NOTHING RETURNING 1

-- name: webhook_update
UPDATE webhook_delivery SET due_at = :due_at, version = :version, doc = :doc
WHERE subscription_id = :subscription_id AND delivery_id = :delivery_id AND version = :version - 1 RETURNING 1

-- name: webhooks_claim
WITH due AS MATERIALIZED (
    SELECT found.* FROM unnest(:ids::text[]) AS asked (id) CROSS JOIN LATERAL (
        SELECT position, due_at FROM webhook_delivery
        WHERE subscription_id = asked.id AND due_at <= :now::timestamptz
        ORDER BY due_at, position LIMIT :limit FOR UPDATE SKIP LOCKED
    ) AS found
), claimed AS (
    UPDATE webhook_delivery AS delivery SET due_at = :until::timestamptz FROM due
    WHERE delivery.position = due.position
    RETURNING delivery.delivery_id, delivery.doc, due.due_at, due.position
)
SELECT delivery_id, doc FROM claimed ORDER BY due_at, position

-- name: webhook
SELECT doc FROM webhook_delivery WHERE subscription_id = :subscription_id AND delivery_id = :delivery_id

-- name: webhooks_page
SELECT position, delivery_id, NULL, doc FROM webhook_delivery
WHERE subscription_id = :subscription_id AND position < :before ORDER BY position DESC LIMIT :limit

-- name: webhooks_waiting
SELECT asked.id, found.count FROM unnest(:ids::text[]) AS asked (id) CROSS JOIN LATERAL (
    SELECT count(*) FROM webhook_delivery WHERE subscription_id = asked.id AND due_at IS NOT NULL
) AS found WHERE found.count > 0

-- name: webhooks_forget
DELETE FROM webhook_delivery WHERE position IN (
    SELECT position FROM webhook_delivery WHERE created_at < :before ORDER BY created_at LIMIT :limit
)
RETURNING 1
