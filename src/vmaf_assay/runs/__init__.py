"""A training run as evidence: its files, their digests, and what follows from them."""
