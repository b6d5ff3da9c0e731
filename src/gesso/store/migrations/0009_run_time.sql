-- How long an owner's runs took, of those that ended since a given time.
CREATE INDEX requests_runs_of_owner ON requests (owner, finished_at) WHERE finished_at IS NOT NULL;
