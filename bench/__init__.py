"""Benchmarks: `make bench`. No part of the distribution, and no test: they print, they do not judge."""
