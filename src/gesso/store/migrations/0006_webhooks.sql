-- The outbox: what is to be told to whom. A delivery is written by the very move that ends a request, whoever makes it, and
-- goes when the request goes.
CREATE TABLE deliveries (
    seq          INTEGER PRIMARY KEY AUTOINCREMENT,
    id           TEXT NOT NULL UNIQUE,
    request      BLOB NOT NULL CHECK (length(request) = 16),
    owner        TEXT NOT NULL,
    event        TEXT NOT NULL CHECK (event IN ('in_progress', 'finished')),
    url          TEXT NOT NULL,
    lane         TEXT NOT NULL,  -- host and owner: lanes take turns
    body         TEXT,           -- as it was first sent: every attempt sends the same bytes
    state        TEXT NOT NULL CHECK (state IN ('waiting', 'delivered', 'stopped', 'given_up')),
    attempts     INTEGER NOT NULL DEFAULT 0,
    failures     INTEGER NOT NULL DEFAULT 0,
    next_at      INTEGER NOT NULL DEFAULT 0,  -- of a waiting one; past the end of an attempt that is being made
    last_status  INTEGER,
    last_error   TEXT,
    created_at   INTEGER NOT NULL,
    delivered_at INTEGER,
    CHECK ((state = 'delivered') = (delivered_at IS NOT NULL))
);
CREATE INDEX deliveries_lanes ON deliveries (lane, next_at, seq) WHERE state = 'waiting';
CREATE INDEX deliveries_due ON deliveries (next_at) WHERE state = 'waiting';
CREATE INDEX deliveries_of_request ON deliveries (request);

-- An owner's secret is derived from the database's; each rotation counts one up.
CREATE TABLE rotations (
    owner      TEXT PRIMARY KEY,
    generation INTEGER NOT NULL,
    rotated_at INTEGER NOT NULL
) WITHOUT ROWID;

-- A receiver that said 410 to one delivery of a request gets no other of it.
CREATE TRIGGER deliveries_start AFTER UPDATE OF state ON requests
WHEN OLD.state = 'in_queue' AND NEW.state = 'in_progress' AND NEW.webhook_intermediate = 1 AND NEW.webhook IS NOT NULL BEGIN
    INSERT INTO deliveries (id, request, owner, event, url, lane, state, created_at) VALUES (
        'msg_' || lower(hex(randomblob(16))), NEW.id, NEW.owner, 'in_progress', NEW.webhook,
        substr(substr(NEW.webhook, instr(NEW.webhook, '//') + 2), 1,
            instr(substr(NEW.webhook, instr(NEW.webhook, '//') + 2), '/') - 1) || ' ' || NEW.owner,
        'waiting', NEW.started_at);
END;
CREATE TRIGGER deliveries_end AFTER UPDATE OF finished_at ON requests
WHEN OLD.finished_at IS NULL AND NEW.finished_at IS NOT NULL AND NEW.webhook IS NOT NULL BEGIN
    INSERT INTO deliveries (id, request, owner, event, url, lane, state, created_at) VALUES (
        'msg_' || lower(hex(randomblob(16))), NEW.id, NEW.owner, 'finished', NEW.webhook,
        substr(substr(NEW.webhook, instr(NEW.webhook, '//') + 2), 1,
            instr(substr(NEW.webhook, instr(NEW.webhook, '//') + 2), '/') - 1) || ' ' || NEW.owner,
        CASE WHEN EXISTS (SELECT 1 FROM deliveries WHERE request = NEW.id AND state = 'stopped') THEN 'stopped' ELSE 'waiting' END,
        NEW.finished_at);
END;
CREATE TRIGGER deliveries_go AFTER DELETE ON requests BEGIN
    DELETE FROM deliveries WHERE request = OLD.id;
END;
