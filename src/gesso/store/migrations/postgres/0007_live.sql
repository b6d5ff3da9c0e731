-- How far each running request is: one row, overwritten by its worker a few times a second, gone when the request ends.
-- `event` counts the writes of an attempt; `preview_event` is that of the last preview. Unlogged: nothing here lasts, and
-- no write of it waits for a disk.
CREATE UNLOGGED TABLE progress (
    request       BYTEA PRIMARY KEY CHECK (length(request) = 16),
    attempt       INTEGER NOT NULL,
    event         INTEGER NOT NULL,
    fraction      DOUBLE PRECISION NOT NULL CHECK (fraction BETWEEN 0 AND 1),
    step          INTEGER,
    steps         INTEGER,
    left_us       BIGINT,
    preview_event INTEGER,
    preview       BYTEA CHECK (length(preview) <= 65536),
    width         INTEGER,
    height        INTEGER,
    at            BIGINT NOT NULL,
    CHECK ((preview_event IS NULL) = (preview IS NULL))
) WITH (fillfactor = 50);
CREATE FUNCTION progress_over() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN
    DELETE FROM progress WHERE request = NEW.id;
    RETURN NULL;
END $$;
CREATE TRIGGER progress_ends AFTER UPDATE OF finished_at ON requests FOR EACH ROW
    WHEN (OLD.finished_at IS NULL AND NEW.finished_at IS NOT NULL) EXECUTE FUNCTION progress_over();

-- Which worker processes live. Each writes its row every few seconds, and takes it away when it ends; `models` says how
-- many lanes it has for each model. Unlogged, as above.
CREATE UNLOGGED TABLE workers (
    name       TEXT PRIMARY KEY,
    place      TEXT NOT NULL,
    models     TEXT NOT NULL,
    started_at BIGINT NOT NULL,
    seen_at    BIGINT NOT NULL,
    metrics    TEXT NOT NULL
);

-- When the last of its pictures was frozen, where that was not at its submit.
ALTER TABLE requests ADD COLUMN ready_at BIGINT;

-- Own requests, newest first, of one state or all, of one model or all: each answer is a few probes of one of these.
CREATE INDEX requests_of_owner ON requests (owner, state, seq);
CREATE INDEX requests_of_model ON requests (owner, model_id, state, seq);
-- The last runs of a model, for what the next is expected to take.
CREATE INDEX requests_runs ON requests (model_id, finished_at) WHERE state = 'completed' AND started_at IS NOT NULL;
