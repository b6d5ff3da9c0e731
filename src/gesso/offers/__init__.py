"""Models that need weights of one's own: not served until `gesso models enable` copies one. Data, no code."""
