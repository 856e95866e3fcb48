"""Drivers to begin with: `pawl driver template` prints one. Each runs as it is, and is run so by the tests."""
