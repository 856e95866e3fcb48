"""Engines: where traces come from. All of them run through `pawl_gate.runner` and are judged by `pawl_spec.judge`."""
