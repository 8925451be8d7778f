-- A record is inserted when it is new and updated from the version it was decided on; a statement that touches no row is how a
-- conflict shows.

-- name: flow_insert
INSERT INTO flow (flow_id, status, risk_band, deadline, next_wakeup_at, ended_at, outcome, duration_ms, version, doc)
VALUES (:flow_id, :status, :risk_band, :deadline, :next_wakeup_at, :ended_at, :outcome, :duration_ms, :version, :doc)
ON CONFLICT (flow_id) DO NOTHING;

-- name: flow_columns
SELECT status, risk_band, deadline, next_wakeup_at, ended_at, outcome, duration_ms FROM flow
WHERE flow_id = :flow_id AND version = :base;

-- name: flow_update
-- `/* changes */` stands for the columns that change: the indexes of the others are not written.
UPDATE flow SET version = :version, doc = :doc /* changes */ WHERE flow_id = :flow_id;

-- name: ticket_insert
INSERT INTO ticket (ticket_id, flow_id, plan_id, intent_id, status, priority, worker_id, held_since, requirement,
                    turn, latest_start, precedence, next_wakeup_at, compensates, parent, version, part, place, doc)
VALUES (:ticket_id, :flow_id, :plan_id, :intent_id, :status, :priority, :worker_id, :held_since, :requirement,
        :turn, :latest_start, :precedence, :next_wakeup_at, :compensates, :parent, :version,
        (SELECT max(part) FROM ticket_part), :place, :doc)
ON CONFLICT (ticket_id) DO NOTHING;

-- name: ticket_columns
SELECT status, priority, worker_id, held_since, requirement, turn, latest_start, precedence, next_wakeup_at, offered_until,
    place IS NULL AS whole
FROM ticket WHERE ticket_id = :ticket_id AND version = :base;

-- name: ticket_update
-- The ids of flow, plan, intent, of what it compensates and of its parent never change.
UPDATE ticket SET version = :version, doc = :doc /* changes */ WHERE ticket_id = :ticket_id;

-- name: flow_label_insert
INSERT OR IGNORE INTO flow_label (label, position) SELECT :label, position FROM flow WHERE flow_id = :id;

-- name: ticket_label_insert
INSERT OR IGNORE INTO ticket_label (label, position) SELECT :label, position FROM ticket WHERE ticket_id = :id;

-- name: ticket_labels_delete
DELETE FROM ticket_label WHERE position = (SELECT position FROM ticket WHERE ticket_id = :id);

-- name: hedge_put
INSERT OR REPLACE INTO hedge (ticket_id, worker_id, held_since) VALUES (:ticket_id, :worker_id, :held_since);

-- name: hedge_delete
DELETE FROM hedge WHERE ticket_id = :ticket_id;

-- name: part_insert
-- The tickets that are inserted next are of this part, the newest.
INSERT INTO ticket_part (doc) VALUES (:doc);

-- name: worker_insert
INSERT INTO worker (worker_id, next_wakeup_at, version, doc) VALUES (:worker_id, :next_wakeup_at, :version, :doc)
ON CONFLICT (worker_id) DO NOTHING;

-- name: worker_update
UPDATE worker SET next_wakeup_at = :next_wakeup_at, version = :version, doc = :doc
WHERE worker_id = :worker_id AND version = :version - 1;

-- name: worker_delete
DELETE FROM worker WHERE worker_id = :worker_id AND version = :version;

-- name: decision_insert
-- The first decision of a flow wins.
INSERT INTO decision (flow_id, doc) VALUES (:flow_id, :doc) ON CONFLICT (flow_id) DO NOTHING;

-- name: history_insert
INSERT INTO history (flow_id, flow, doc)
VALUES (:flow_id, coalesce((SELECT position FROM flow WHERE flow_id = :flow_id), 0), :doc);

-- name: audit_insert
INSERT INTO audit (flow_id, kind, valid, doc) VALUES (:flow_id, :kind, :valid, :doc);

-- name: queue_insert
INSERT INTO event_queue (event_id, doc) VALUES (:event_id, :doc) ON CONFLICT (event_id) DO NOTHING;

-- name: queue_delete
DELETE FROM event_queue WHERE event_id = :event_id;

-- name: queue_postpone
UPDATE event_queue SET attempts = :attempts, not_before = :not_before WHERE event_id = :event_id;

-- name: telemetry_insert
INSERT INTO telemetry_buffer (doc) VALUES (:doc);

-- name: telemetry_delete
DELETE FROM telemetry_buffer WHERE position = :position;

-- name: letter_put
-- A letter that comes again keeps its place.
INSERT INTO dead_letter (letter_id, flow_id, doc) VALUES (:letter_id, :flow_id, :doc)
ON CONFLICT (letter_id) DO UPDATE SET flow_id = excluded.flow_id, doc = excluded.doc;

-- name: letter_delete
DELETE FROM dead_letter WHERE letter_id = :letter_id;

-- Retention: made by the committer, a bounded number of rows at a time.

-- name: forgettable
SELECT flow_id FROM flow WHERE ended_at < :before ORDER BY ended_at LIMIT 1;

-- name: tickets_to_forget
SELECT ticket_id, part FROM ticket WHERE flow_id = :flow_id ORDER BY position LIMIT :limit;

-- name: part_forget
DELETE FROM ticket_part WHERE part = :part;

-- name: ticket_forget
DELETE FROM ticket WHERE ticket_id = :ticket_id;

-- name: history_forget
DELETE FROM history WHERE seq IN (
    SELECT seq FROM history
    WHERE flow = (SELECT position FROM flow WHERE flow_id = :flow_id) AND flow_id = :flow_id LIMIT :limit
);

-- name: audits_forget
DELETE FROM audit WHERE position IN (SELECT position FROM audit WHERE flow_id = :flow_id LIMIT :limit);

-- name: letters_forget
DELETE FROM dead_letter WHERE position IN (SELECT position FROM dead_letter WHERE flow_id = :flow_id LIMIT :limit);

-- name: decision_forget
DELETE FROM decision WHERE flow_id = :flow_id;

-- name: flow_forget
DELETE FROM flow WHERE flow_id = :flow_id;

-- name: old_action
-- Actions that concern no flow were kept in the order of their times, so the first one that can be read tells whether
-- any is old.
SELECT 1 FROM (
    SELECT CASE WHEN json_valid(doc) THEN json_extract(doc, '$.at') END AS at FROM audit
    WHERE flow_id = '' AND at IS NOT NULL ORDER BY position LIMIT 1
)
WHERE at < :before;

-- name: actions_forget
DELETE FROM audit WHERE position IN (
    SELECT position FROM (
        SELECT position, CASE WHEN json_valid(doc) THEN json_extract(doc, '$.at') END AS at FROM audit
        WHERE flow_id = '' AND at IS NOT NULL ORDER BY position LIMIT :limit
    )
    WHERE at < :before
);

-- name: letter_span
-- More positions than letters may lie between the oldest and the newest, never fewer.
SELECT (SELECT max(position) FROM dead_letter) - (SELECT min(position) FROM dead_letter);

-- name: letters_beyond
SELECT position FROM dead_letter ORDER BY position DESC LIMIT 1 OFFSET :keep;

-- name: letters_drop
DELETE FROM dead_letter WHERE position IN (
    SELECT position FROM dead_letter WHERE position <= :upto ORDER BY position LIMIT :limit
);

-- Point reads: made in the thread of the event loop.

-- name: flow
SELECT doc FROM flow WHERE flow_id = :flow_id;

-- name: decision
SELECT doc FROM decision WHERE flow_id = :flow_id;

-- name: tickets
-- One statement for any number of ids, so that all are read from one snapshot.
SELECT ticket_id, flow_id, part, place, doc FROM ticket WHERE ticket_id IN (SELECT value FROM json_each(:ticket_ids));

-- name: part
SELECT doc FROM ticket_part WHERE part = :part;

-- name: live_tickets
SELECT count(*) FROM (
    SELECT 1 FROM ticket
    WHERE flow_id = :flow_id AND status IN ('PENDING', 'ASSIGNED', 'RUNNING', 'WAITING') AND status <> 'COMPLETED'
    LIMIT :at_most
);

-- name: tickets_by_status
SELECT status, count(*) FROM ticket WHERE flow_id = :flow_id AND compensates IS NULL GROUP BY status;

-- name: active
-- A worker with both kinds of attempts has two rows.
SELECT worker_id, count(*) FROM ticket WHERE held_since IS NOT NULL GROUP BY worker_id
UNION ALL SELECT worker_id, count(*) FROM hedge GROUP BY worker_id;

-- name: held_by
SELECT ticket_id, flow_id, part, place, doc FROM ticket WHERE worker_id = :worker_id AND held_since IS NOT NULL
ORDER BY held_since, ticket_id LIMIT :limit;

-- name: hedges_held_by
SELECT ticket.ticket_id, flow_id, part, place, doc FROM hedge JOIN ticket ON ticket.ticket_id = hedge.ticket_id
WHERE hedge.worker_id = :worker_id ORDER BY hedge.held_since, hedge.ticket_id LIMIT :limit;

-- name: worker
SELECT version, doc FROM worker WHERE worker_id = :worker_id;

-- name: workers
SELECT worker_id, doc FROM worker ORDER BY worker_id;

-- name: letter
SELECT doc FROM dead_letter WHERE letter_id = :letter_id;

-- name: queue_pending
SELECT position, event_id, attempts, not_before, doc FROM event_queue WHERE position > :after ORDER BY position LIMIT :limit;

-- name: telemetry_oldest
SELECT position, doc FROM telemetry_buffer WHERE position > :after ORDER BY position LIMIT :limit;

-- Wake-ups.

-- name: due
-- Each part is a short walk along its own index; only the few that are due are merged.
SELECT kind, record_id, flow_id, next_wakeup_at FROM (
    SELECT * FROM (
        SELECT 'flow' AS kind, flow_id AS record_id, flow_id, next_wakeup_at FROM flow
        WHERE next_wakeup_at <= :now ORDER BY next_wakeup_at LIMIT :limit)
    UNION ALL
    SELECT * FROM (
        SELECT 'ticket', ticket_id, flow_id, next_wakeup_at FROM ticket
        WHERE next_wakeup_at <= :now ORDER BY next_wakeup_at LIMIT :limit)
    UNION ALL
    SELECT * FROM (
        SELECT 'worker', worker_id, NULL, next_wakeup_at FROM worker
        WHERE next_wakeup_at <= :now ORDER BY next_wakeup_at LIMIT :limit)
)
ORDER BY next_wakeup_at, kind, record_id LIMIT :limit;

-- name: flow_lease
UPDATE flow SET next_wakeup_at = :until WHERE flow_id = :record_id;

-- name: ticket_lease
UPDATE ticket SET next_wakeup_at = :until WHERE ticket_id = :record_id;

-- name: worker_lease
UPDATE worker SET next_wakeup_at = :until WHERE worker_id = :record_id;

-- name: next_due
SELECT min(at) FROM (
    SELECT min(next_wakeup_at) AS at FROM flow WHERE next_wakeup_at IS NOT NULL
    UNION ALL SELECT min(next_wakeup_at) FROM ticket WHERE next_wakeup_at IS NOT NULL
    UNION ALL SELECT min(next_wakeup_at) FROM worker
);

-- name: waiting_requirements
-- The distinct requirements of waiting tickets, and a ticket that has each. SELECT DISTINCT would visit every waiting
-- ticket; this hops along the index from one requirement to the next.
WITH RECURSIVE hop (requirement) AS (
    SELECT min(requirement) FROM ticket WHERE requirement IS NOT NULL
    UNION ALL
    SELECT (SELECT min(requirement) FROM ticket WHERE requirement > hop.requirement)
    FROM hop WHERE hop.requirement IS NOT NULL
)
SELECT hop.requirement, ticket.ticket_id, ticket.flow_id
FROM hop JOIN ticket ON ticket.rowid = (SELECT rowid FROM ticket WHERE requirement = hop.requirement LIMIT 1);

-- name: waiting_tickets
SELECT turn, latest_start, precedence, ticket_id FROM ticket
WHERE requirement = :requirement AND (offered_until IS NULL OR offered_until <= :now)
ORDER BY turn, latest_start, precedence, ticket_id LIMIT :limit;

-- name: current_turn
SELECT min(turn) FROM ticket WHERE requirement = :requirement;

-- name: first_behind
SELECT turn, latest_start FROM ticket
WHERE requirement = :requirement AND turn > :current ORDER BY turn, latest_start LIMIT 1;

-- name: last_turn
SELECT max(turn) FROM ticket WHERE flow_id = :flow_id AND requirement = :requirement;

-- name: in_turn
SELECT count(*) FROM (
    SELECT 1 FROM ticket WHERE flow_id = :flow_id AND requirement = :requirement AND turn = :turn LIMIT :at_most
);

-- name: offer
UPDATE ticket SET offered_until = :until WHERE ticket_id = :ticket_id;

-- Pages and longer reads: made in the reading thread.

-- name: tickets_of
SELECT ticket_id, version, part, place, doc FROM ticket WHERE flow_id = :flow_id ORDER BY position;

-- name: live_tickets_of
SELECT ticket_id, version, part, place, doc FROM ticket
WHERE flow_id = :flow_id AND status IN ('PENDING', 'ASSIGNED', 'RUNNING', 'WAITING') ORDER BY position;

-- name: flows_page
SELECT position, flow_id, flow_id, doc FROM flow WHERE position < :before ORDER BY position DESC LIMIT :limit;

-- name: flows_page_by_status
SELECT position, flow_id, flow_id, doc FROM flow WHERE status = :status AND position < :before ORDER BY position DESC LIMIT :limit;

-- name: flows_page_by_label
-- It walks the index of one label; `:others` are the other ones, as JSON. `/* filters */` stands for an equality.
SELECT found.position, flow_id, flow_id, doc FROM flow_label AS found CROSS JOIN flow ON flow.position = found.position
WHERE found.label = :label AND found.position < :before /* filters */ AND NOT EXISTS (
    SELECT 1 FROM json_each(:others) AS other
    WHERE NOT EXISTS (SELECT 1 FROM flow_label WHERE label = other.value AND position = found.position)
)
ORDER BY found.position DESC LIMIT :limit;

-- name: tickets_page_by_label
-- Likewise; `/* filters */` stands for equalities on searchable columns.
SELECT found.position, ticket_id, flow_id, part, place, doc
FROM ticket_label AS found CROSS JOIN ticket ON ticket.position = found.position
WHERE found.label = :label AND found.position > :after /* filters */ AND NOT EXISTS (
    SELECT 1 FROM json_each(:others) AS other
    WHERE NOT EXISTS (SELECT 1 FROM ticket_label WHERE label = other.value AND position = found.position)
)
ORDER BY found.position LIMIT :limit;

-- name: tickets_fitting_by_label
SELECT count(*) FROM (
    SELECT 1 FROM ticket_label AS found CROSS JOIN ticket ON ticket.position = found.position
    WHERE found.label = :label /* filters */ AND NOT EXISTS (
        SELECT 1 FROM json_each(:others) AS other
        WHERE NOT EXISTS (SELECT 1 FROM ticket_label WHERE label = other.value AND position = found.position)
    )
    LIMIT :at_most
);

-- name: tickets_page
-- `/* filters */` stands for equalities on searchable columns. The inner query sorts bare positions out of an index; only
-- the rows of the page are read.
SELECT position, ticket_id, flow_id, part, place, doc FROM ticket WHERE position IN (
    SELECT position FROM ticket WHERE position > :after /* filters */ ORDER BY position LIMIT :limit
)
ORDER BY position;

-- name: tickets_fitting
SELECT count(*) FROM (SELECT 1 FROM ticket WHERE position > 0 /* filters */ LIMIT :at_most);

-- name: history_page
SELECT seq, flow_id, doc FROM history WHERE seq > :after ORDER BY seq LIMIT :limit;

-- name: history_last
SELECT coalesce(max(seq), 0) FROM history;

-- name: history_page_of_flow
SELECT seq, flow_id, doc FROM history
WHERE flow = coalesce((SELECT position FROM flow WHERE flow_id = :flow_id), 0) AND flow_id = :flow_id AND seq > :after
ORDER BY seq LIMIT :limit;

-- name: audits_page
-- `/* filters */` stands for equalities. What is rare has an index; the rest is met soon on the way back.
SELECT position, flow_id, doc FROM audit WHERE true /* filters */ ORDER BY position DESC LIMIT :limit;

-- name: flow_statistics
-- Nearest rank: of n ended flows the one whose place by duration is 95 % of n, rounded up.
WITH ended AS (SELECT outcome, duration_ms FROM flow WHERE ended_at >= :since)
SELECT count(*), count(*) FILTER (WHERE outcome = 'COMPLETED'), avg(duration_ms),
    (SELECT duration_ms FROM ended ORDER BY duration_ms LIMIT 1
     OFFSET (SELECT (95 * count(*) + 99) / 100 - 1 FROM ended)),
    (SELECT count(*) FROM flow WHERE status IN (SELECT value FROM json_each(:under_way)))
FROM ended;

-- name: flows_ended
SELECT position, flow_id, flow_id, doc FROM flow WHERE ended_at >= :since AND ended_at < :until
ORDER BY ended_at DESC LIMIT :limit;

-- name: flows_under_way
SELECT position, flow_id, flow_id, doc FROM flow WHERE status IN (SELECT value FROM json_each(:under_way)) LIMIT :limit;

-- name: flow_deadlines
SELECT value, (SELECT min(deadline) FROM flow WHERE risk_band = value AND deadline IS NOT NULL)
FROM json_each(:risk_bands);

-- name: flow_counts
SELECT status, count(*) FROM flow GROUP BY status;

-- name: ticket_counts
-- The index of statuses holds all but the most frequent one.
SELECT status, count(*) FROM ticket WHERE status <> 'COMPLETED' GROUP BY status
UNION ALL
SELECT 'COMPLETED', completed FROM (
    SELECT (SELECT count(*) FROM ticket) - (SELECT count(*) FROM ticket WHERE status <> 'COMPLETED') AS completed
)
WHERE completed > 0;

-- name: letters_page
SELECT position, letter_id, flow_id, doc FROM dead_letter WHERE position < :before ORDER BY position DESC LIMIT :limit;

-- name: queue_depth
SELECT count(*) FROM event_queue;

-- name: telemetry_size
SELECT count(*) FROM telemetry_buffer;

-- name: entry
SELECT key, value, version, expires_at FROM key_value
WHERE space = :space AND key = :key AND (expires_at IS NULL OR expires_at > :now);

-- name: entry_insert
-- An expired entry is in nobody's way.
INSERT INTO key_value (space, key, value, version, expires_at) VALUES (:space, :key, :value, :version, :expires_at)
ON CONFLICT (space, key) DO UPDATE
SET value = excluded.value, version = excluded.version, expires_at = excluded.expires_at
WHERE key_value.expires_at <= :now;

-- name: entry_update
UPDATE key_value SET value = :value, version = :version, expires_at = :expires_at
WHERE space = :space AND key = :key AND version = :base AND (expires_at IS NULL OR expires_at > :now);

-- name: entry_delete
DELETE FROM key_value
WHERE space = :space AND key = :key AND version = :version AND (expires_at IS NULL OR expires_at > :now);

-- name: entries
SELECT key, value, version, expires_at FROM key_value
WHERE space = :space AND key > :after AND (expires_at IS NULL OR expires_at > :now) ORDER BY key LIMIT :limit;

-- name: expired_entry
SELECT 1 FROM key_value WHERE expires_at <= :now LIMIT 1;

-- name: expired_forget
DELETE FROM key_value WHERE (space, key) IN (SELECT space, key FROM key_value WHERE expires_at <= :now LIMIT :limit);

-- Webhooks.

-- name: webhook_insert
INSERT INTO webhook_delivery (subscription_id, delivery_id, due_at, created_at, version, doc)
VALUES (:subscription_id, :delivery_id, :due_at, :created_at, :version, :doc)
ON CONFLICT (subscription_id, delivery_id) DO NOTHING;

-- name: webhook_update
UPDATE webhook_delivery SET due_at = :due_at, version = :version, doc = :doc
WHERE subscription_id = :subscription_id AND delivery_id = :delivery_id AND version = :version - 1;

-- name: webhooks_with_due
SELECT value FROM json_each(:ids) WHERE EXISTS (
    SELECT 1 FROM webhook_delivery WHERE subscription_id = value AND due_at <= :now
);

-- name: webhooks_due
SELECT position, delivery_id, doc FROM webhook_delivery
WHERE subscription_id = :subscription_id AND due_at <= :now ORDER BY due_at, position LIMIT :limit;

-- name: webhook_claim
UPDATE webhook_delivery SET due_at = :until WHERE position = :position;

-- name: webhook
SELECT doc FROM webhook_delivery WHERE subscription_id = :subscription_id AND delivery_id = :delivery_id;

-- name: webhooks_page
SELECT position, delivery_id, NULL, doc FROM webhook_delivery
WHERE subscription_id = :subscription_id AND position < :before ORDER BY position DESC LIMIT :limit;

-- name: webhooks_waiting
SELECT value, count(*) FROM json_each(:ids) JOIN webhook_delivery ON subscription_id = value
WHERE due_at IS NOT NULL GROUP BY value;

-- name: webhooks_forget
DELETE FROM webhook_delivery WHERE position IN (
    SELECT position FROM webhook_delivery WHERE created_at < :before ORDER BY created_at LIMIT :limit
);

-- name: old_webhook
SELECT 1 FROM webhook_delivery WHERE created_at < :before LIMIT 1;
