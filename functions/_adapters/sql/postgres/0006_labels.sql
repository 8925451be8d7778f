-- Labels by which people find flows and tickets, a list of `name:value`; null where there are none.
ALTER TABLE flow ADD COLUMN labels jsonb;
ALTER TABLE ticket ADD COLUMN labels jsonb;
CREATE INDEX flow_by_label ON flow USING gin (labels jsonb_path_ops) WHERE labels IS NOT NULL;
CREATE INDEX ticket_by_label ON ticket USING gin (labels jsonb_path_ops) WHERE labels IS NOT NULL;
