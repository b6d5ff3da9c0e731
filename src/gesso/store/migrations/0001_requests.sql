-- Times are microseconds since 1970 in UTC. `seq` is the order of submit: an integer key keeps inserts cheap,
-- the random public id stands beside it.
CREATE TABLE requests (
    seq          INTEGER PRIMARY KEY AUTOINCREMENT,
    id           BLOB NOT NULL UNIQUE CHECK (length(id) = 16),
    owner        TEXT NOT NULL,
    model_id     TEXT NOT NULL,
    priority     INTEGER NOT NULL DEFAULT 1,
    state        TEXT NOT NULL DEFAULT 'in_queue' CHECK (state IN ('in_queue', 'in_progress', 'completed', 'cancelled')),
    language     TEXT NOT NULL DEFAULT 'en',
    input        TEXT NOT NULL,
    pictures     TEXT NOT NULL DEFAULT '[]',
    ready        INTEGER NOT NULL DEFAULT 1 CHECK (ready IN (0, 1)),
    intake_until INTEGER,
    attempt      INTEGER NOT NULL DEFAULT 0,
    losses       INTEGER NOT NULL DEFAULT 0,
    holder       TEXT,
    handed_back  INTEGER NOT NULL DEFAULT 0 CHECK (handed_back IN (0, 1)),
    lease_until  INTEGER,
    created_at   INTEGER NOT NULL,
    started_at   INTEGER,
    finished_at  INTEGER,
    outcome      TEXT,
    CHECK ((state = 'in_progress') = (lease_until IS NOT NULL)),
    CHECK (state <> 'completed' OR outcome IS NOT NULL),
    CHECK (outcome IS NULL OR state IN ('completed', 'cancelled')),
    CHECK ((state IN ('completed', 'cancelled')) = (finished_at IS NOT NULL)),
    CHECK (state <> 'in_progress' OR (ready = 1 AND attempt > 0))
);
CREATE INDEX requests_waiting ON requests (model_id, ready, priority, seq) WHERE state = 'in_queue';
CREATE INDEX requests_intake ON requests (seq) WHERE state = 'in_queue' AND ready = 0;
CREATE INDEX requests_leased ON requests (lease_until) WHERE state = 'in_progress';
CREATE INDEX requests_finished ON requests (finished_at) WHERE finished_at IS NOT NULL;

-- How many wait in each block of 1024 requests, so that a position costs a short sum instead of a long count.
CREATE TABLE waiting (
    model_id TEXT NOT NULL,
    priority INTEGER NOT NULL,
    block    INTEGER NOT NULL,
    count    INTEGER NOT NULL CHECK (count >= 0),
    PRIMARY KEY (model_id, priority, block)
) WITHOUT ROWID;

CREATE TRIGGER requests_come AFTER INSERT ON requests WHEN NEW.state = 'in_queue' BEGIN
    INSERT INTO waiting VALUES (NEW.model_id, NEW.priority, NEW.seq >> 10, 1)
        ON CONFLICT (model_id, priority, block) DO UPDATE SET count = count + 1;
END;
CREATE TRIGGER requests_leave AFTER UPDATE OF state ON requests WHEN OLD.state = 'in_queue' AND NEW.state <> 'in_queue' BEGIN
    UPDATE waiting SET count = count - 1 WHERE model_id = OLD.model_id AND priority = OLD.priority AND block = OLD.seq >> 10;
    DELETE FROM waiting WHERE model_id = OLD.model_id AND priority = OLD.priority AND block = OLD.seq >> 10 AND count = 0;
END;

-- Every blob that is kept: outputs, uploads, and the frozen pictures of requests. A blob without a row is an orphan.
CREATE TABLE files (
    key          TEXT PRIMARY KEY,
    kind         TEXT NOT NULL CHECK (kind IN ('input', 'output', 'upload')),
    owner        TEXT NOT NULL,
    request      BLOB,
    name         TEXT NOT NULL,
    content_type TEXT NOT NULL,
    size_bytes   INTEGER NOT NULL,
    sha256       TEXT NOT NULL,
    expires_at   INTEGER,
    CHECK ((kind = 'upload') = (request IS NULL)),
    CHECK ((kind = 'upload') = (expires_at IS NOT NULL))
) WITHOUT ROWID;
CREATE INDEX files_of_request ON files (request) WHERE request IS NOT NULL;
CREATE INDEX files_expiring ON files (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE tokens (
    id         TEXT PRIMARY KEY,
    owner      TEXT NOT NULL,
    hash       BLOB NOT NULL UNIQUE CHECK (length(hash) = 32),
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    revoked_at INTEGER
) WITHOUT ROWID;

CREATE TABLE secrets (
    name  TEXT PRIMARY KEY,
    value BLOB NOT NULL
) WITHOUT ROWID;
