#!/usr/bin/env python3
"""Write the catalogue of planted faults: `make faults`; with --check, prove that it is up to date.

`docs/reference/faults.md` comes from the controls, the weakenings and the committed kill matrix.
Exit codes: 0 written or up to date, 1 out of date, 2 usage.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from itertools import groupby

from pawl_gate.controls import CONTROLS, Control
from pawl_gate.controls.weakenings import NOT_NEEDED, WEAKENINGS
from pawl_gate.mutants import BUDGETS, LEFT_OUT
from pawl_gate.mutants_text import committed, page
from pawl_gate.report_text import FAMILIES
from tools.make_catalogue import ROOT

PAGE = ROOT / "docs" / "reference" / "faults.md"

HEAD = """\
<!-- Written by tools/make_faults.py from src/pawl_gate/controls. Change the controls there, then run `make faults`. -->

# Planted faults

A green gate says something only where a broken implementation turns it red. So there are {faults} copies of Pawl,
each broken on purpose in one way that implementers get it wrong, and {weakenings} copies of the specification, each
blind in one way. `make mutants` plants them all: each fault must be killed by the invariant that names it, and each
blindness must let a fault through. [Add a fault](../how-to/add-a-fault.md) says how one comes to the list.

Try one: `pawl verify --target control:message-key-kept`.
"""

MATRIX = """\
## Which invariant sees which fault, by which engine

Each engine is given each fault alone, and stops at the first trace on which the invariant that names the fault is
violated. A cell lists every invariant that is violated on that trace; `-` means that the engine did not come to
one. The random engines search little here ({walks} walks, {examples} examples), so that the table is made in
minutes; `pawl mutants --budget pr` searches more. The matrix is committed, and CI holds it to what it makes
again: the directed scenarios' column at each commit, and of everything else one part of eight, chosen by the commit,
so that eight commits or so go round. `make mutants` makes the whole again, every night too.
"""

SPECIFICATION = """\
## Faults in the specification

A *weakening* changes a few words of a predicate, so that it sees less. It is told by a fault that gets past it: on
no trace about the invariant that it was seen on before it is seen now. *Left out* means that the whole invariant is
gone; then a fault must be seen by no other one, on any of those traces. Where nothing gets past, the reason is
written beside it.

| weakening | invariant | does not look at | lets through |
|---|---|---|---|
"""

SEEN_BY_NOBODY = """\
## What no planted fault can show

Both sides of a session run the same broken code here. A fault that both make alike, and that gives nothing away, is
not seen: a wrong label in a key derivation, another order of the agreements, a signature over other bytes on both
sides. Such faults are for [vectors and foreign implementations](../how-to/hold-my-implementation.md). Nor is a
fault seen that does no harm by itself, because a second check stands behind the first.
"""


def catalogue() -> str:
    """The page."""
    matrix = committed()
    parts = [HEAD.format(faults=len(CONTROLS), weakenings=len(WEAKENINGS))]
    ordered = sorted(CONTROLS.values(), key=lambda each: each.breaks)
    for family, entries in groupby(ordered, lambda each: each.breaks.split("-")[0]):
        parts.append(f"## {family}: {FAMILIES[family]}\n")
        parts += [_section(each) for each in entries]
    budget = BUDGETS["matrix"]
    parts += [MATRIX.format(walks=budget.walks, examples=budget.examples), page(matrix)]
    parts += [SPECIFICATION + "\n".join(_weakened(matrix["specification"])) + "\n", SEEN_BY_NOBODY]
    return "\n".join(parts)


def _section(control: Control) -> str:
    lines = [f"### {control.name}", "", control.what, ""]
    lines.append(f"Named by [{control.breaks}](invariants.md#{control.breaks.lower()}). {_how(control)}")
    for edit in control.edits:
        lines += ["", "```diff", *_marked("-", edit.old), *_marked("+", edit.new), "```"]
    return "\n".join(lines) + "\n"


def _how(control: Control) -> str:
    if not control.edits:
        return "A device, a store or a constant of its own."
    return (
        "Changed in " + ", ".join(f"`{place}`" for place in dict.fromkeys(edit.place for edit in control.edits)) + ":"
    )


def _marked(mark: str, text: str) -> Iterator[str]:
    return (f"{mark} {line}".rstrip() for line in text.strip().splitlines())


def _weakened(specification: dict[str, list[str]]) -> Iterator[str]:
    for name, faults in specification.items():
        said = ", ".join(f"`{fault}`" for fault in faults) or f"nothing: {NOT_NEEDED.get(name, 'not known')}"
        if name in WEAKENINGS:
            each = WEAKENINGS[name]
            yield f"| {name} | {each.invariant} | {each.what} | {said} |"
        else:
            yield f"| left out | {name.removeprefix(LEFT_OUT)} | Anything. | {said} |"


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if the page is out of date")
    if not parser.parse_args(arguments).check:
        PAGE.write_text(catalogue(), encoding="utf-8")
        return 0
    if PAGE.is_file() and PAGE.read_text("utf-8") == catalogue():
        return 0
    print(f"{PAGE.relative_to(ROOT)} is not what the controls say: run `make faults`")
    return 1


if __name__ == "__main__":
    sys.exit(main())
