-- Times are epoch milliseconds. `doc` is the whole record as JSON and the only thing that is read back; the other
-- columns exist to be searched by. `position` is the order in which rows first came: of tickets it is also the
-- order of the plan. Where rows come and go, AUTOINCREMENT keeps a position from being used twice, because
-- readers remember positions.

CREATE TABLE flow (
    position       INTEGER PRIMARY KEY,
    flow_id        TEXT NOT NULL UNIQUE,
    status         TEXT NOT NULL,
    next_wakeup_at INTEGER,             -- moved on by a claim; the doc keeps the true value
    version        INTEGER NOT NULL,
    doc            TEXT NOT NULL
);
CREATE INDEX flow_by_status ON flow (status);
CREATE INDEX flow_due ON flow (next_wakeup_at) WHERE next_wakeup_at IS NOT NULL;

-- Large and read once, so it is kept out of the flow's small row.
CREATE TABLE decision (
    flow_id TEXT PRIMARY KEY,
    doc     BLOB NOT NULL
);

CREATE TABLE ticket (
    position       INTEGER PRIMARY KEY,
    ticket_id      TEXT NOT NULL UNIQUE,
    flow_id        TEXT NOT NULL,
    plan_id        TEXT NOT NULL,
    intent_id      TEXT NOT NULL,
    status         TEXT NOT NULL,
    priority       TEXT NOT NULL,
    worker_id      TEXT,
    held_since     INTEGER,             -- set while a worker holds the ticket
    requirement    TEXT,                -- capabilities as a sorted JSON array; set while it waits for a worker or slot
    latest_start   INTEGER NOT NULL,
    offered_until  INTEGER,             -- a waiting ticket is not offered again before
    next_wakeup_at INTEGER,             -- moved on by a claim; the doc keeps the true value
    version        INTEGER NOT NULL,
    doc            TEXT NOT NULL
);
CREATE INDEX ticket_by_flow ON ticket (flow_id, status);
CREATE INDEX ticket_by_plan ON ticket (plan_id);
CREATE INDEX ticket_by_intent ON ticket (intent_id);
CREATE INDEX ticket_by_status ON ticket (status);
CREATE INDEX ticket_by_worker ON ticket (worker_id) WHERE worker_id IS NOT NULL;
CREATE INDEX ticket_held ON ticket (worker_id, held_since, ticket_id) WHERE held_since IS NOT NULL;
CREATE INDEX ticket_waiting ON ticket (requirement, latest_start, ticket_id) WHERE requirement IS NOT NULL;
CREATE INDEX ticket_due ON ticket (next_wakeup_at) WHERE next_wakeup_at IS NOT NULL;

CREATE TABLE worker (
    worker_id      TEXT PRIMARY KEY,
    next_wakeup_at INTEGER NOT NULL,    -- moved on by a claim; the doc keeps the true value
    version        INTEGER NOT NULL,
    doc            TEXT NOT NULL
);
CREATE INDEX worker_due ON worker (next_wakeup_at);

CREATE TABLE history (
    seq     INTEGER PRIMARY KEY AUTOINCREMENT,
    flow_id TEXT NOT NULL,
    doc     TEXT NOT NULL               -- without seq
);
CREATE INDEX history_by_flow ON history (flow_id);

CREATE TABLE audit (
    position INTEGER PRIMARY KEY,
    flow_id  TEXT NOT NULL,
    doc      TEXT NOT NULL
);
CREATE INDEX audit_by_flow ON audit (flow_id);

CREATE TABLE event_queue (
    position   INTEGER PRIMARY KEY AUTOINCREMENT,
    event_id   TEXT NOT NULL UNIQUE,
    attempts   INTEGER NOT NULL DEFAULT 0,
    not_before INTEGER,
    doc        TEXT NOT NULL
);

CREATE TABLE telemetry_buffer (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    doc      TEXT NOT NULL
);

CREATE TABLE dead_letter (
    position  INTEGER PRIMARY KEY AUTOINCREMENT,
    letter_id TEXT NOT NULL UNIQUE,
    doc       TEXT NOT NULL
);
