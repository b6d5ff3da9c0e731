"""Open weights in our own process, by the diffusers library. Only `pipeline`, `memo` and `previews` import torch."""
