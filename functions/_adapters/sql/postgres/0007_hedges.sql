-- The second attempts at tickets that run, so that it is known what a worker holds; almost always there is none.
CREATE TABLE hedge (
    ticket_id  text COLLATE "C" PRIMARY KEY REFERENCES ticket (ticket_id) ON DELETE CASCADE,
    worker_id  text COLLATE "C" NOT NULL,
    held_since timestamptz NOT NULL
);
CREATE INDEX hedge_held ON hedge (worker_id, held_since, ticket_id);
