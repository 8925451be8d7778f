-- The queues of webhook subscribers, and the log of what was delivered.
CREATE TABLE webhook_delivery (
    position        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    subscription_id text COLLATE "C" NOT NULL,
    delivery_id     text COLLATE "C" NOT NULL,
    due_at          timestamptz,            -- null: it has ended
    created_at      timestamptz NOT NULL,
    version         integer NOT NULL CHECK (version >= 1),
    doc             json NOT NULL,
    UNIQUE (subscription_id, delivery_id)
);
CREATE INDEX webhook_delivery_due ON webhook_delivery (subscription_id, due_at, position) WHERE due_at IS NOT NULL;
CREATE INDEX webhook_delivery_log ON webhook_delivery (subscription_id, position);
CREATE INDEX webhook_delivery_old ON webhook_delivery (created_at);
