-- Small records that belong to no flow: keys, subscriptions, token buckets.
CREATE TABLE key_value (
    space      text COLLATE "C" NOT NULL,
    key        text COLLATE "C" NOT NULL,
    value      bytea NOT NULL,
    version    bigint NOT NULL,
    expires_at timestamptz,
    PRIMARY KEY (space, key)
);
CREATE INDEX key_value_expiry ON key_value (expires_at) WHERE expires_at IS NOT NULL;
