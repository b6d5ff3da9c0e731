"""The only place where parts meet: from settings to an API or a worker."""

from gesso.assembly.parts import (
    Parts,
    fetch_policy,
    make_credentials,
    make_outputs,
    make_signer,
    now,
    open_blobs,
    open_parts,
    public_url,
)
from gesso.assembly.serving import make_api
from gesso.assembly.working import WEBHOOKS, make_host, make_lanes, make_sender, open_worker

__all__ = [
    "WEBHOOKS",
    "Parts",
    "fetch_policy",
    "make_api",
    "make_credentials",
    "make_host",
    "make_lanes",
    "make_outputs",
    "make_sender",
    "make_signer",
    "now",
    "open_blobs",
    "open_parts",
    "open_worker",
    "public_url",
]
