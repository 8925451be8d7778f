-- The queues of webhook subscribers, and the log of what was delivered.
CREATE TABLE webhook_delivery (
    position        INTEGER PRIMARY KEY AUTOINCREMENT,
    subscription_id TEXT NOT NULL,
    delivery_id     TEXT NOT NULL,
    due_at          INTEGER CHECK (typeof(due_at) IN ('integer', 'null')),   -- null: it has ended
    created_at      INTEGER NOT NULL CHECK (typeof(created_at) = 'integer'),
    version         INTEGER NOT NULL CONSTRAINT webhook_delivery_version CHECK (typeof(version) = 'integer' AND version >= 1),
    doc             TEXT NOT NULL CHECK (json_valid(doc)),
    UNIQUE (subscription_id, delivery_id)
);
CREATE INDEX webhook_delivery_due ON webhook_delivery (subscription_id, due_at, position) WHERE due_at IS NOT NULL;
CREATE INDEX webhook_delivery_log ON webhook_delivery (subscription_id, position);
CREATE INDEX webhook_delivery_old ON webhook_delivery (created_at);
