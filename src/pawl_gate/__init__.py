"""The gate: drives any implementation of the protocol against the specification in `pawl_spec`."""
