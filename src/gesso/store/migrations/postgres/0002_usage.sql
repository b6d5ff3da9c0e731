-- What each owner takes up, kept by the rows themselves, so that a limit costs a short sum.
CREATE TABLE usage (
    owner        TEXT NOT NULL,
    slot         INTEGER NOT NULL,
    open         BIGINT NOT NULL DEFAULT 0,  -- requests that have not ended
    stored_bytes BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (owner, slot)
) WITH (fillfactor = 50);

CREATE FUNCTION count_usage(whose TEXT, more_open BIGINT, more_bytes BIGINT) RETURNS VOID LANGUAGE sql AS $$
    INSERT INTO usage AS kept VALUES (whose, slot(), more_open, more_bytes) ON CONFLICT (owner, slot)
        DO UPDATE SET open = kept.open + excluded.open, stored_bytes = kept.stored_bytes + excluded.stored_bytes
$$;
CREATE FUNCTION usage_of_requests() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN
    PERFORM count_usage(NEW.owner, CASE TG_OP WHEN 'INSERT' THEN 1 ELSE -1 END, 0);
    RETURN NULL;
END $$;
CREATE FUNCTION usage_of_files() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN
    IF TG_OP = 'INSERT' THEN
        PERFORM count_usage(NEW.owner, 0, NEW.size_bytes);
    ELSE
        PERFORM count_usage(OLD.owner, 0, -OLD.size_bytes);
    END IF;
    RETURN NULL;
END $$;
-- Triggers of an event run in the order of their names: what they lock, they lock in this order.
CREATE TRIGGER usage_opens AFTER INSERT ON requests FOR EACH ROW EXECUTE FUNCTION usage_of_requests();
CREATE TRIGGER usage_ends AFTER UPDATE OF finished_at ON requests FOR EACH ROW
    WHEN (OLD.finished_at IS NULL AND NEW.finished_at IS NOT NULL) EXECUTE FUNCTION usage_of_requests();
CREATE TRIGGER usage_grows AFTER INSERT ON files FOR EACH ROW EXECUTE FUNCTION usage_of_files();
CREATE TRIGGER usage_shrinks AFTER DELETE ON files FOR EACH ROW EXECUTE FUNCTION usage_of_files();
