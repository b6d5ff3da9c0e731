-- The order in which requests start: by priority, then by turn, then by seq. Turns are dealt at submit so that owners take
-- turns: an owner's next request comes a turn after its last one that waits, and never before the one in front.
ALTER TABLE requests ADD COLUMN turn BIGINT NOT NULL DEFAULT 0;
-- Not started by then, it ends cancelled.
ALTER TABLE requests ADD COLUMN start_by BIGINT;
-- Whom to tell of the end, and whether of the start too.
ALTER TABLE requests ADD COLUMN webhook TEXT;
ALTER TABLE requests ADD COLUMN webhook_intermediate INTEGER NOT NULL DEFAULT 0 CHECK (webhook_intermediate IN (0, 1));
-- The most urgent priority that a token may ask for.
ALTER TABLE tokens ADD COLUMN ceiling INTEGER NOT NULL DEFAULT 1;

DROP INDEX requests_waiting;
CREATE INDEX requests_waiting ON requests (model_id, ready, priority, turn, seq) WHERE state = 'in_queue';
CREATE INDEX requests_turns ON requests (owner, model_id, priority, turn) WHERE state = 'in_queue';
CREATE INDEX requests_start_by ON requests (start_by) WHERE state = 'in_queue' AND start_by IS NOT NULL;
CREATE INDEX requests_low ON requests (created_at) WHERE state = 'in_queue' AND priority = 2;

-- How many wait in each block of 16 turns (level 4) and of 4096 (level 12), so that a position costs short sums instead of
-- a long count.
CREATE TABLE waiting (
    model_id TEXT NOT NULL,
    priority INTEGER NOT NULL,
    level    INTEGER NOT NULL CHECK (level IN (4, 12)),
    block    BIGINT NOT NULL,
    slot     INTEGER NOT NULL,
    count    BIGINT NOT NULL,
    PRIMARY KEY (model_id, priority, level, block, slot)
) WITH (fillfactor = 50);

CREATE FUNCTION count_waiting(model TEXT, urgency INTEGER, at BIGINT, more BIGINT) RETURNS VOID LANGUAGE sql AS $$
    INSERT INTO waiting AS kept VALUES (model, urgency, 4, at >> 4, slot(), more), (model, urgency, 12, at >> 12, slot(), more)
        ON CONFLICT (model_id, priority, level, block, slot) DO UPDATE SET count = kept.count + excluded.count
$$;
CREATE FUNCTION requests_count() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN
    IF TG_OP = 'UPDATE' AND OLD.state = 'in_queue' THEN
        PERFORM count_waiting(OLD.model_id, OLD.priority, OLD.turn, -1);
    END IF;
    IF NEW.state = 'in_queue' THEN
        PERFORM count_waiting(NEW.model_id, NEW.priority, NEW.turn, 1);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER requests_come AFTER INSERT ON requests FOR EACH ROW EXECUTE FUNCTION requests_count();
CREATE TRIGGER requests_leave AFTER UPDATE OF state ON requests FOR EACH ROW
    WHEN (OLD.state = 'in_queue' AND NEW.state <> 'in_queue') EXECUTE FUNCTION requests_count();
CREATE TRIGGER requests_move AFTER UPDATE OF priority, turn ON requests FOR EACH ROW
    WHEN (OLD.state = 'in_queue' AND NEW.state = 'in_queue' AND (OLD.priority <> NEW.priority OR OLD.turn <> NEW.turn))
    EXECUTE FUNCTION requests_count();

-- Puts slots of the counters together, some at a time, so that there are few of them to sum up; how many it took. Slot -1
-- is its own. It waits for nobody: what is being counted at this moment is left for the next time.
CREATE FUNCTION fold_counters(most BIGINT) RETURNS BIGINT LANGUAGE plpgsql AS $$
DECLARE
    folded BIGINT;
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtext('gesso: fold_counters')) THEN
        RETURN 0;
    END IF;
    WITH free AS (SELECT * FROM waiting WHERE slot >= 0 LIMIT most FOR UPDATE SKIP LOCKED),
    gone AS (DELETE FROM waiting USING free WHERE (waiting.model_id, waiting.priority, waiting.level, waiting.block,
        waiting.slot) = (free.model_id, free.priority, free.level, free.block, free.slot) RETURNING waiting.*),
    kept AS (INSERT INTO waiting AS kept SELECT model_id, priority, level, block, -1, sum(count) FROM gone
        GROUP BY model_id, priority, level, block
        ON CONFLICT (model_id, priority, level, block, slot) DO UPDATE SET count = kept.count + excluded.count)
    SELECT count(*) INTO folded FROM gone;
    DELETE FROM waiting WHERE slot = -1 AND count = 0;
    WITH free AS (SELECT * FROM usage WHERE slot >= 0 LIMIT most FOR UPDATE SKIP LOCKED),
    gone AS (DELETE FROM usage USING free WHERE (usage.owner, usage.slot) = (free.owner, free.slot) RETURNING usage.*),
    kept AS (INSERT INTO usage AS kept SELECT owner, -1, sum(open), sum(stored_bytes) FROM gone GROUP BY owner
        ON CONFLICT (owner, slot) DO UPDATE
        SET open = kept.open + excluded.open, stored_bytes = kept.stored_bytes + excluded.stored_bytes)
    SELECT folded + count(*) INTO folded FROM gone;
    DELETE FROM usage WHERE slot = -1 AND open = 0 AND stored_bytes = 0;
    RETURN folded;
END $$;
