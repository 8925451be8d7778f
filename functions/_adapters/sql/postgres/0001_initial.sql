-- `doc` is the whole record as JSON and the only thing that the platform reads back; the other columns are there for
-- searches, for constraints and for people who ask in SQL. It is `json`, not `jsonb`: a document comes back as it was
-- stored, and text may hold U+0000. `position` is the order in which rows first came; of tickets it is also the order of
-- the plan. What is searched for may be moved on by a claim (`next_wakeup_at`, `offered_until`); the document is not.
-- Keys compare by their bytes: that is faster, and the same whatever the locale.
--
-- Migrations only add: older code must work on a newer schema. So columns that it does not know have a default or may be
-- null, and what it uses is neither renamed nor dropped.

CREATE TABLE flow (
    position          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    flow_id           text COLLATE "C" NOT NULL UNIQUE,
    decision_id       text NOT NULL,
    plan_id           text COLLATE "C",
    intent_id         text COLLATE "C",
    correlation_id    text NOT NULL,
    trace_id          text NOT NULL,
    status            text NOT NULL CHECK (status IN (
        'VALIDATING', 'AWAITING_APPROVAL', 'GENERATING', 'EXECUTING', 'PAUSED', 'COMPENSATING', 'PUBLISHING',
        'COMPLETED', 'FAILED', 'TIMED_OUT', 'CANCELLED', 'REJECTED')),
    outcome           text CHECK (outcome IN ('COMPLETED', 'FAILED', 'TIMED_OUT', 'CANCELLED', 'REJECTED')),
    priority          text NOT NULL CHECK (priority IN ('LOW', 'NORMAL', 'HIGH', 'CRITICAL')),
    risk_band         text NOT NULL CHECK (risk_band IN ('low', 'medium', 'high', 'critical')),
    received_at       timestamptz NOT NULL,
    sla_deadline      timestamptz NOT NULL,
    deadline          timestamptz,          -- set while the time of the SLA runs and the outcome is open
    ended_at          timestamptz,
    duration_ms       bigint,               -- from its arrival to its end
    tickets_generated integer NOT NULL CHECK (tickets_generated >= 0),
    redrives          integer NOT NULL CHECK (redrives >= 0),
    next_wakeup_at    timestamptz,
    version           integer NOT NULL CHECK (version >= 1),
    updated_at        timestamptz NOT NULL DEFAULT now(),
    doc               json NOT NULL
);
CREATE INDEX flow_by_status ON flow (status, position);
CREATE INDEX flow_due ON flow (next_wakeup_at) WHERE next_wakeup_at IS NOT NULL;
CREATE INDEX flow_ended ON flow (ended_at, outcome, duration_ms) WHERE ended_at IS NOT NULL;
CREATE INDEX flow_deadline ON flow (risk_band, deadline) WHERE deadline IS NOT NULL;

-- Large and read once, so it is kept out of the flow's small row.
CREATE TABLE decision (
    flow_id text COLLATE "C" PRIMARY KEY,
    doc     bytea NOT NULL
);

CREATE TABLE ticket (
    position               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    ticket_id              text COLLATE "C" NOT NULL UNIQUE,
    flow_id                text COLLATE "C" NOT NULL,
    plan_id                text COLLATE "C" NOT NULL,
    intent_id              text COLLATE "C" NOT NULL,
    decision_id            text NOT NULL,
    correlation_id         text NOT NULL,
    trace_id               text NOT NULL,
    span_id                text NOT NULL,
    task_id                text NOT NULL,
    task_type              text NOT NULL,
    description            text NOT NULL,
    dependencies           json NOT NULL,
    status                 text NOT NULL CHECK (status IN (
        'PENDING', 'ASSIGNED', 'RUNNING', 'COMPLETED', 'FAILED', 'CANCELLED', 'COMPENSATING', 'COMPENSATED')),
    waiting                text,            -- what a PENDING one waits for
    priority               text NOT NULL CHECK (priority IN ('LOW', 'NORMAL', 'HIGH', 'CRITICAL')),
    priority_score         double precision NOT NULL,
    risk_band              text NOT NULL CHECK (risk_band IN ('low', 'medium', 'high', 'critical')),
    sla                    json NOT NULL,
    sla_deadline           timestamptz NOT NULL,
    qos                    json NOT NULL,
    required_capabilities  json NOT NULL,
    security_level         text NOT NULL,
    template_id            text,
    created_at             timestamptz NOT NULL,
    assigned_at            timestamptz,
    acknowledged_at        timestamptz,
    started_at             timestamptz,
    completed_at           timestamptz,     -- not before started_at, whatever the clocks of two machines said
    estimated_duration_ms  bigint NOT NULL,
    actual_duration_ms     bigint,
    attempt                integer NOT NULL CHECK (attempt >= 0),
    retry_count            integer NOT NULL CHECK (retry_count >= 0),
    worker_id              text COLLATE "C",
    error_message          text,
    compensation_ticket_id text,
    compensates            text COLLATE "C",
    schema_version         integer NOT NULL,
    hash                   text NOT NULL,
    held_since             timestamptz,     -- set while a worker holds the ticket
    requirement            text COLLATE "C",            -- a key of its set of capabilities; set while it waits for a worker or slot
    turn                   bigint,          -- likewise
    latest_start           timestamptz NOT NULL,
    offered_until          timestamptz,     -- a waiting ticket is not offered again before
    next_wakeup_at         timestamptz,
    version                integer NOT NULL CHECK (version >= 1),
    updated_at             timestamptz NOT NULL DEFAULT now(),
    doc                    json NOT NULL,
    CONSTRAINT ticket_ends_after_its_start CHECK (completed_at >= started_at)
);
CREATE INDEX ticket_by_flow ON ticket (flow_id, position);
CREATE INDEX ticket_by_flow_status ON ticket (flow_id, status, compensates);
CREATE INDEX ticket_by_plan ON ticket (plan_id, position);
CREATE INDEX ticket_by_intent ON ticket (intent_id, position);
CREATE INDEX ticket_by_status ON ticket (status, position);
CREATE INDEX ticket_by_worker ON ticket (worker_id, position) WHERE worker_id IS NOT NULL;
CREATE INDEX ticket_held ON ticket (worker_id, held_since, ticket_id) WHERE held_since IS NOT NULL;
CREATE INDEX ticket_waiting ON ticket (requirement, turn, latest_start, ticket_id) WHERE requirement IS NOT NULL;
CREATE INDEX ticket_turns ON ticket (flow_id, requirement, turn) WHERE requirement IS NOT NULL;
CREATE INDEX ticket_due ON ticket (next_wakeup_at) WHERE next_wakeup_at IS NOT NULL;

CREATE TABLE worker (
    worker_id      text COLLATE "C" PRIMARY KEY,
    endpoint       text NOT NULL,
    reported       text NOT NULL,           -- the health that it says of itself
    slots          integer NOT NULL,
    registered_at  timestamptz NOT NULL,
    last_seen      timestamptz NOT NULL,
    next_wakeup_at timestamptz NOT NULL,
    version        integer NOT NULL CHECK (version >= 1),
    doc            json NOT NULL
);
CREATE INDEX worker_due ON worker (next_wakeup_at);

CREATE TABLE history (
    seq         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    flow_id     text COLLATE "C" NOT NULL,
    at          timestamptz NOT NULL,
    type        text NOT NULL,
    ticket_id   text COLLATE "C",
    from_status text,
    to_status   text,
    doc         json NOT NULL               -- without seq
);
CREATE INDEX history_by_flow ON history (flow_id, seq);

CREATE TABLE audit (
    position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    flow_id  text COLLATE "C" NOT NULL,                 -- empty where no flow is concerned
    kind     text NOT NULL,
    valid    boolean,                       -- of validations
    at       timestamptz NOT NULL,
    doc      json NOT NULL
);
CREATE INDEX audit_by_flow ON audit (flow_id, position);
CREATE INDEX audit_by_kind ON audit (kind, position) WHERE kind <> 'validation';
CREATE INDEX audit_refusals ON audit (position) WHERE NOT valid;
CREATE INDEX audit_of_no_flow ON audit (at) WHERE flow_id = '';

-- A process that handles queued events is alive until then, unless it says so again.
CREATE TABLE process (
    process_id  text COLLATE "C" PRIMARY KEY,
    alive_until timestamptz NOT NULL
);

-- The outbox: only what is not published yet is in it. `owner` is the process that is to handle the event.
CREATE TABLE event_queue (
    position   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_id   text COLLATE "C" NOT NULL UNIQUE,
    owner      text COLLATE "C",
    attempts   integer NOT NULL DEFAULT 0,
    not_before timestamptz,
    doc        json NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);
CREATE INDEX event_queue_by_owner ON event_queue (owner, position);

CREATE TABLE telemetry_buffer (
    position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    doc      json NOT NULL
);

CREATE TABLE dead_letter (
    position  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    letter_id text COLLATE "C" NOT NULL UNIQUE,
    flow_id   text COLLATE "C",
    doc       json NOT NULL
);
CREATE INDEX dead_letter_by_flow ON dead_letter (flow_id) WHERE flow_id IS NOT NULL;

-- Whoever writes expects to touch so many rows; else somebody else was first, and nothing of the statement stays.
CREATE FUNCTION flowc_expect(expected bigint, touched bigint) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    IF touched <> expected THEN
        RAISE EXCEPTION 'a record was not at the version before' USING ERRCODE = 'FC409';
    END IF;
    RETURN true;
END
$$;

-- Readers of the history remember positions, so an entry must never become visible behind one that was read already.
-- Within a flow, writers take turns: numbers are given and committed in one order. For the history of all flows a writer
-- shows, by a lock that ends with its transaction, above which number its own will be; see flowc_history_settled.
CREATE FUNCTION flowc_turn(flow text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    given bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(1179407191, hashtext(flow));
    SELECT last_value - CASE WHEN is_called THEN 0 ELSE 1 END INTO given FROM history_seq_seq;
    PERFORM pg_advisory_xact_lock_shared((17991::bigint << 48) | given);
    RETURN true;
END
$$;

-- The number up to which the history is complete, for a statement that begins after this one. First the last number
-- given, then the locks: who takes a number between the two takes a higher one; who has taken a lower one and shows no
-- lock any more has committed.
CREATE FUNCTION flowc_history_settled() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    given bigint;
    shown bigint;
BEGIN
    SELECT last_value INTO given FROM history_seq_seq;
    SELECT min(((classid::bigint & 65535) << 32) | objid::bigint) INTO shown
    FROM pg_locks
    WHERE locktype = 'advisory' AND objsubid = 1 AND classid::bigint >> 16 = 17991
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database());
    RETURN least(given, shown);
END
$$;

-- History and audits are only ever added to; retention alone, which says so, removes what has been kept long enough.
CREATE FUNCTION flowc_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' AND current_setting('flowc.retention', true) = 'on' THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'FC403';
END
$$;
CREATE TRIGGER history_is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON history
    FOR EACH STATEMENT EXECUTE FUNCTION flowc_append_only();
CREATE TRIGGER audit_is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit
    FOR EACH STATEMENT EXECUTE FUNCTION flowc_append_only();
