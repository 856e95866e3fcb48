#!/usr/bin/env python3
"""Write the JSON Schemas of traces, vectors and the driver contract; with --check, prove that they are up to date.

Exit codes: 0 written or up to date, 1 out of date, 2 usage.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from pawl_gate.targets import contract
from pawl_spec import schema, vector_schema
from pawl_spec.vector_operations import SUITES

PATH = Path(schema.__file__).with_name(schema.FILE)
CONTRACT_PATH = Path(contract.__file__).with_name(contract.FILE)
VECTORS = Path(__file__).resolve().parent.parent / "vectors"


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if the file is out of date")
    options = parser.parse_args(arguments)
    out_of_date = False
    of_vectors = {VECTORS / suite.schema: vector_schema.schema_text(suite) for suite in SUITES}
    files = {PATH: schema.schema_text(), CONTRACT_PATH: contract.schema_text()} | of_vectors
    for path, text in files.items():
        if not options.check:
            path.write_text(text, encoding="utf-8")
        elif not path.is_file() or path.read_text(encoding="utf-8") != text:
            print(f"{path.name} is out of date: run `python -m tools.write_schema`", file=sys.stderr)
            out_of_date = True
    return int(out_of_date)


if __name__ == "__main__":
    sys.exit(main())
