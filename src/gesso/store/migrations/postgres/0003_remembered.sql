-- What an engine wants to know again on the next attempt: the id of a job that goes on elsewhere.
ALTER TABLE requests ADD COLUMN remembered TEXT;
