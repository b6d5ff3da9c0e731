-- An owner whose pictures are many must not be passed by, request by request, for those of others; and what is being
-- fetched is little among what waits.
CREATE INDEX requests_intake_of_owner ON requests (owner, seq) WHERE state = 'in_queue' AND ready = 0;
CREATE INDEX requests_taken_in ON requests (intake_until)
    WHERE state = 'in_queue' AND ready = 0 AND intake_until IS NOT NULL;
