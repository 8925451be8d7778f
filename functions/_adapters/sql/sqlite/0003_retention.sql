-- Ended flows go after a while, and their dead letters with them. (Positions of flows and tickets may be used again
-- only once the newest of all have gone: nobody reads on from a position for that long.)
ALTER TABLE dead_letter ADD COLUMN flow_id TEXT;
UPDATE dead_letter SET flow_id = json_extract(doc, '$.flow_id');
CREATE INDEX dead_letter_by_flow ON dead_letter (flow_id) WHERE flow_id IS NOT NULL;
