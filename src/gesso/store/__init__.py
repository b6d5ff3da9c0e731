"""Rows: requests, files, tokens, in one database."""
