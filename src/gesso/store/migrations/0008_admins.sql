-- Whose token may look at everybody's queue.
ALTER TABLE tokens ADD COLUMN admin INTEGER NOT NULL DEFAULT 0 CHECK (admin IN (0, 1));

-- Everybody's requests, newest first: as `requests_of_owner` and `requests_of_model`, without an owner.
CREATE INDEX requests_of_all ON requests (state, seq);
CREATE INDEX requests_of_all_of_model ON requests (model_id, state, seq);
