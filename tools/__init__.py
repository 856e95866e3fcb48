"""Scripts that `make` calls; no part of the distribution."""
