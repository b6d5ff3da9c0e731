"""PostgreSQL in the place of the SQLite file. Imported only where it was chosen: it needs the extra `postgres`."""
