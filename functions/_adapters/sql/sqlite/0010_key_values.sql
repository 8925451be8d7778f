-- Small records that belong to no flow: keys, subscriptions, token buckets.
CREATE TABLE key_value (
    space      TEXT NOT NULL,
    key        TEXT NOT NULL,
    value      BLOB NOT NULL,
    version    INTEGER NOT NULL,
    expires_at INTEGER,
    PRIMARY KEY (space, key)
) WITHOUT ROWID;
CREATE INDEX key_value_expiry ON key_value (expires_at) WHERE expires_at IS NOT NULL;
