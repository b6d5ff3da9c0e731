-- What each owner takes up, kept by the rows themselves, so that a limit costs one point read.
CREATE TABLE usage (
    owner        TEXT PRIMARY KEY,
    open         INTEGER NOT NULL DEFAULT 0,  -- requests that have not ended
    stored_bytes INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
INSERT INTO usage (owner, open) SELECT owner, count(*) FROM requests WHERE finished_at IS NULL GROUP BY owner;
INSERT INTO usage (owner, stored_bytes) SELECT owner, sum(size_bytes) FROM files WHERE true GROUP BY owner
    ON CONFLICT (owner) DO UPDATE SET stored_bytes = excluded.stored_bytes;

CREATE TRIGGER usage_opens AFTER INSERT ON requests BEGIN
    INSERT INTO usage (owner, open) VALUES (NEW.owner, 1) ON CONFLICT (owner) DO UPDATE SET open = open + 1;
END;
CREATE TRIGGER usage_ends AFTER UPDATE OF finished_at ON requests WHEN OLD.finished_at IS NULL AND NEW.finished_at IS NOT NULL BEGIN
    UPDATE usage SET open = open - 1 WHERE owner = NEW.owner;
END;
CREATE TRIGGER usage_grows AFTER INSERT ON files BEGIN
    INSERT INTO usage (owner, stored_bytes) VALUES (NEW.owner, NEW.size_bytes)
        ON CONFLICT (owner) DO UPDATE SET stored_bytes = stored_bytes + NEW.size_bytes;
END;
CREATE TRIGGER usage_shrinks AFTER DELETE ON files BEGIN
    UPDATE usage SET stored_bytes = stored_bytes - OLD.size_bytes WHERE owner = OLD.owner;
END;
