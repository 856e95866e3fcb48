#!/usr/bin/env python3
"""Write the JSON Schema of traces from the table of operations; with --check, prove that the file is up to date.

Exit codes: 0 written or up to date, 1 out of date, 2 usage.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from pawl_spec import schema

PATH = Path(schema.__file__).with_name(schema.FILE)


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if the file is out of date")
    options = parser.parse_args(arguments)
    text = schema.schema_text()
    if not options.check:
        PATH.write_text(text, encoding="utf-8")
    elif not PATH.is_file() or PATH.read_text(encoding="utf-8") != text:
        print(f"{PATH.name} is out of date: run `python -m tools.write_schema`", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
