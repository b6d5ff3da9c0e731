-- Which Idempotency-Key stands for which request. Written with the request; forgotten after a day.
CREATE TABLE once (
    owner       TEXT NOT NULL,
    key         TEXT NOT NULL,
    fingerprint BLOB NOT NULL CHECK (length(fingerprint) = 32),
    request     BLOB NOT NULL CHECK (length(request) = 16),
    created_at  INTEGER NOT NULL,
    PRIMARY KEY (owner, key)
) WITHOUT ROWID;
CREATE INDEX once_by_age ON once (created_at);
