-- How much of their SLA is left to the flows that need it most is read from an index, one entry for each risk band.
ALTER TABLE flow ADD COLUMN risk_band TEXT;
ALTER TABLE flow ADD COLUMN deadline INTEGER;       -- set while the time of the SLA runs
UPDATE flow
SET risk_band = json_extract(doc, '$.risk_band'),
    deadline = CAST(round((julianday(json_extract(doc, '$.sla_deadline')) - 2440587.5) * 86400000) AS INTEGER)
WHERE json_extract(doc, '$.outcome') IS NULL;
CREATE INDEX flow_deadline ON flow (risk_band, deadline) WHERE deadline IS NOT NULL;
