-- Labels by which people find flows and tickets, as `name:value`; records without labels have no rows here.
CREATE TABLE flow_label (
    label    TEXT NOT NULL,
    position INTEGER NOT NULL CHECK (typeof(position) = 'integer'),     -- of the flow
    PRIMARY KEY (label, position)
) WITHOUT ROWID;
CREATE INDEX flow_label_of ON flow_label (position);
CREATE TRIGGER flow_label_gone AFTER DELETE ON flow BEGIN
    DELETE FROM flow_label WHERE position = old.position;
END;

CREATE TABLE ticket_label (
    label    TEXT NOT NULL,
    position INTEGER NOT NULL CHECK (typeof(position) = 'integer'),     -- of the ticket
    PRIMARY KEY (label, position)
) WITHOUT ROWID;
CREATE INDEX ticket_label_of ON ticket_label (position);
CREATE TRIGGER ticket_label_gone AFTER DELETE ON ticket BEGIN
    DELETE FROM ticket_label WHERE position = old.position;
END;
