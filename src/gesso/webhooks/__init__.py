"""Tells others what became of a request."""
