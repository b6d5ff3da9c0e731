"""Gesso: a self-hosted model API for image editing, drop-in compatible with RunComfy's Model API."""

__version__ = "0.1.0"
