-- The order in which requests start: by priority, then by turn, then by seq. Turns are dealt at submit so that owners take
-- turns: an owner's next request comes a turn after its last one that waits, and never before the one in front.
ALTER TABLE requests ADD COLUMN turn INTEGER NOT NULL DEFAULT 0;
-- Not started by then, it ends cancelled.
ALTER TABLE requests ADD COLUMN start_by INTEGER;
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
DROP TRIGGER requests_come;
DROP TRIGGER requests_leave;
DROP TABLE waiting;
CREATE TABLE waiting (
    model_id TEXT NOT NULL,
    priority INTEGER NOT NULL,
    level    INTEGER NOT NULL CHECK (level IN (4, 12)),
    block    INTEGER NOT NULL,
    count    INTEGER NOT NULL CHECK (count >= 0),
    PRIMARY KEY (model_id, priority, level, block)
) WITHOUT ROWID;
INSERT INTO waiting SELECT model_id, priority, 4, turn >> 4, count(*) FROM requests
    WHERE state = 'in_queue' GROUP BY model_id, priority, turn >> 4;
INSERT INTO waiting SELECT model_id, priority, 12, turn >> 12, count(*) FROM requests
    WHERE state = 'in_queue' GROUP BY model_id, priority, turn >> 12;

CREATE TRIGGER requests_come AFTER INSERT ON requests WHEN NEW.state = 'in_queue' BEGIN
    INSERT INTO waiting VALUES (NEW.model_id, NEW.priority, 4, NEW.turn >> 4, 1)
        ON CONFLICT (model_id, priority, level, block) DO UPDATE SET count = count + 1;
    INSERT INTO waiting VALUES (NEW.model_id, NEW.priority, 12, NEW.turn >> 12, 1)
        ON CONFLICT (model_id, priority, level, block) DO UPDATE SET count = count + 1;
END;
CREATE TRIGGER requests_leave AFTER UPDATE OF state ON requests WHEN OLD.state = 'in_queue' AND NEW.state <> 'in_queue' BEGIN
    UPDATE waiting SET count = count - 1 WHERE model_id = OLD.model_id AND priority = OLD.priority
        AND (level, block) IN ((4, OLD.turn >> 4), (12, OLD.turn >> 12));
    DELETE FROM waiting WHERE model_id = OLD.model_id AND priority = OLD.priority
        AND (level, block) IN ((4, OLD.turn >> 4), (12, OLD.turn >> 12)) AND count = 0;
END;
CREATE TRIGGER requests_move AFTER UPDATE OF priority, turn ON requests
WHEN OLD.state = 'in_queue' AND NEW.state = 'in_queue' AND (OLD.priority <> NEW.priority OR OLD.turn <> NEW.turn) BEGIN
    UPDATE waiting SET count = count - 1 WHERE model_id = OLD.model_id AND priority = OLD.priority
        AND (level, block) IN ((4, OLD.turn >> 4), (12, OLD.turn >> 12));
    DELETE FROM waiting WHERE model_id = OLD.model_id AND priority = OLD.priority
        AND (level, block) IN ((4, OLD.turn >> 4), (12, OLD.turn >> 12)) AND count = 0;
    INSERT INTO waiting VALUES (NEW.model_id, NEW.priority, 4, NEW.turn >> 4, 1)
        ON CONFLICT (model_id, priority, level, block) DO UPDATE SET count = count + 1;
    INSERT INTO waiting VALUES (NEW.model_id, NEW.priority, 12, NEW.turn >> 12, 1)
        ON CONFLICT (model_id, priority, level, block) DO UPDATE SET count = count + 1;
END;
