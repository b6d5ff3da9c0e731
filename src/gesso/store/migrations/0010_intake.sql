-- An owner whose pictures are many must not be passed by, request by request, for those of others; and what is being
-- fetched is little among what waits.
CREATE INDEX requests_intake_of_owner ON requests (owner, seq) WHERE state = 'in_queue' AND ready = 0;
CREATE INDEX requests_taken_in ON requests (intake_until)
    WHERE state = 'in_queue' AND ready = 0 AND intake_until IS NOT NULL;

-- Each level by itself: of a list of pairs SQLite looks through all the blocks of a model.
DROP TRIGGER requests_leave;
DROP TRIGGER requests_move;
CREATE TRIGGER requests_leave AFTER UPDATE OF state ON requests WHEN OLD.state = 'in_queue' AND NEW.state <> 'in_queue' BEGIN
    UPDATE waiting SET count = count - 1 WHERE model_id = OLD.model_id AND priority = OLD.priority
        AND level = 4 AND block = OLD.turn >> 4;
    DELETE FROM waiting WHERE model_id = OLD.model_id AND priority = OLD.priority
        AND level = 4 AND block = OLD.turn >> 4 AND count = 0;
    UPDATE waiting SET count = count - 1 WHERE model_id = OLD.model_id AND priority = OLD.priority
        AND level = 12 AND block = OLD.turn >> 12;
    DELETE FROM waiting WHERE model_id = OLD.model_id AND priority = OLD.priority
        AND level = 12 AND block = OLD.turn >> 12 AND count = 0;
END;
CREATE TRIGGER requests_move AFTER UPDATE OF priority, turn ON requests
WHEN OLD.state = 'in_queue' AND NEW.state = 'in_queue' AND (OLD.priority <> NEW.priority OR OLD.turn <> NEW.turn) BEGIN
    UPDATE waiting SET count = count - 1 WHERE model_id = OLD.model_id AND priority = OLD.priority
        AND level = 4 AND block = OLD.turn >> 4;
    DELETE FROM waiting WHERE model_id = OLD.model_id AND priority = OLD.priority
        AND level = 4 AND block = OLD.turn >> 4 AND count = 0;
    UPDATE waiting SET count = count - 1 WHERE model_id = OLD.model_id AND priority = OLD.priority
        AND level = 12 AND block = OLD.turn >> 12;
    DELETE FROM waiting WHERE model_id = OLD.model_id AND priority = OLD.priority
        AND level = 12 AND block = OLD.turn >> 12 AND count = 0;
    INSERT INTO waiting VALUES (NEW.model_id, NEW.priority, 4, NEW.turn >> 4, 1)
        ON CONFLICT (model_id, priority, level, block) DO UPDATE SET count = count + 1;
    INSERT INTO waiting VALUES (NEW.model_id, NEW.priority, 12, NEW.turn >> 12, 1)
        ON CONFLICT (model_id, priority, level, block) DO UPDATE SET count = count + 1;
END;
