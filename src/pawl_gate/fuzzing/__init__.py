"""What the fuzzers' entry points run: one prepared harness for each trust boundary, listed in `entries`."""
