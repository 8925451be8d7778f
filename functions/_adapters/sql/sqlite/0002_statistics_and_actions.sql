-- Ended flows are counted and timed from an index; flows under way are not in it.
ALTER TABLE flow ADD COLUMN ended_at INTEGER;
ALTER TABLE flow ADD COLUMN outcome TEXT;
ALTER TABLE flow ADD COLUMN duration_ms INTEGER;    -- from its arrival to its end
UPDATE flow
SET outcome = json_extract(doc, '$.outcome'),
    ended_at = CAST(round((julianday(json_extract(doc, '$.ended_at')) - 2440587.5) * 86400000) AS INTEGER),
    duration_ms = CAST(round(
        (julianday(json_extract(doc, '$.ended_at')) - julianday(json_extract(doc, '$.received_at'))) * 86400000
    ) AS INTEGER)
WHERE json_extract(doc, '$.ended_at') IS NOT NULL;
CREATE INDEX flow_ended ON flow (ended_at, outcome, duration_ms) WHERE ended_at IS NOT NULL;

-- Beside validations the table now holds what people did. Only what is rare is indexed: the rest is found by walking
-- back from the newest.
ALTER TABLE audit ADD COLUMN kind TEXT NOT NULL DEFAULT 'validation';
ALTER TABLE audit ADD COLUMN valid INTEGER;         -- of validations
UPDATE audit SET valid = json_extract(doc, '$.valid');
CREATE INDEX audit_actions ON audit (kind) WHERE kind = 'action';
CREATE INDEX audit_refusals ON audit (valid) WHERE valid = 0;
