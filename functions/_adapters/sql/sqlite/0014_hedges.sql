-- The second attempts at tickets that run, so that it is known what a worker holds; almost always there is none.
CREATE TABLE hedge (
    ticket_id  TEXT PRIMARY KEY,
    worker_id  TEXT NOT NULL,
    held_since INTEGER NOT NULL CHECK (typeof(held_since) = 'integer')
) WITHOUT ROWID;
CREATE INDEX hedge_held ON hedge (worker_id, held_since, ticket_id);
CREATE TRIGGER hedge_gone AFTER DELETE ON ticket BEGIN
    DELETE FROM hedge WHERE ticket_id = old.ticket_id;
END;
