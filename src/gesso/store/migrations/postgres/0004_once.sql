-- Which Idempotency-Key stands for which request. Written with the request; forgotten after a day.
CREATE TABLE once (
    owner       TEXT NOT NULL,
    key         TEXT NOT NULL,
    fingerprint BYTEA NOT NULL CHECK (length(fingerprint) = 32),
    request     BYTEA NOT NULL CHECK (length(request) = 16),
    created_at  BIGINT NOT NULL,
    PRIMARY KEY (owner, key)
);
CREATE INDEX once_by_age ON once (created_at);
