"""Write fuzz/NAME.dict, the words of each entry point for libFuzzer, from the registries and schemas.

python -m tools.make_dictionaries [--check]
"""

from __future__ import annotations

import sys

from pawl_gate.fuzzing.dictionaries import text
from pawl_gate.fuzzing.entries import ENTRIES, ROOT


def main() -> int:
    """Exit code 1: with --check, a dictionary is another one, or is one of no entry point."""
    wrong = [path for path in (ROOT / "fuzz").glob("*.dict") if path.stem not in ENTRIES]
    for entry in ENTRIES.values():
        if not entry.dictionary.is_file() or entry.dictionary.read_text("ascii") != text(entry.name):
            wrong.append(entry.dictionary)
    if "--check" not in sys.argv[1:]:
        for path in wrong:
            path.write_text(text(path.stem), "ascii") if path.stem in ENTRIES else path.unlink()
        return 0
    for path in sorted(wrong):
        print(f"{path.relative_to(ROOT)} is not what the code says: python -m tools.make_dictionaries", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
