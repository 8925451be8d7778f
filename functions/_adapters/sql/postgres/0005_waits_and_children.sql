-- Tickets of the machine's own wait (WAITING) and may be left out (SKIPPED). The new list contains the old one, so every
-- row fits it and none has to be looked at.
ALTER TABLE ticket DROP CONSTRAINT ticket_status_check;
ALTER TABLE ticket ADD CONSTRAINT ticket_status_check CHECK (status IN (
    'PENDING', 'ASSIGNED', 'RUNNING', 'WAITING', 'COMPLETED', 'SKIPPED', 'FAILED', 'CANCELLED', 'COMPENSATING',
    'COMPENSATED')) NOT VALID;

-- Children are found by the ticket that they are of; all other tickets are absent from the index.
ALTER TABLE ticket ADD COLUMN parent text COLLATE "C";
CREATE INDEX ticket_by_parent ON ticket (parent, position) WHERE parent IS NOT NULL;
