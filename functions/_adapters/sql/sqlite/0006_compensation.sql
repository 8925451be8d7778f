-- Compensations are tickets, but not of the plan: counts by status leave them out, and read nothing but the index.
ALTER TABLE ticket ADD COLUMN compensates TEXT;     -- the ticket whose work it undoes
DROP INDEX ticket_by_flow;
CREATE INDEX ticket_by_flow ON ticket (flow_id, status, compensates);

CREATE INDEX audit_incidents ON audit (kind) WHERE kind = 'incident';
