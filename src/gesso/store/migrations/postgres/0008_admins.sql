-- Whose token may look at everybody's queue.
ALTER TABLE tokens ADD COLUMN admin INTEGER NOT NULL DEFAULT 0 CHECK (admin IN (0, 1));

-- Everybody's requests, newest first. By an expression, so that no other statement is ever planned by this index: the
-- queue's own, which look for a state too, must keep to theirs whatever the statistics say.
CREATE INDEX requests_of_all ON requests (lower(state), seq);
