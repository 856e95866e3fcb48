#!/usr/bin/env python3
"""Write the catalogue of invariants from the registry: `make catalogue`; with --check, prove that it is up to date.

`docs/reference/invariants.md` holds what changes seldom: claims, threats, sources, controls. The pages with the code
behind each invariant are written while the site is built (`tools.make_site`): they change with every line of code.
Exit codes: 0 written or up to date, 1 out of date, 2 usage.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from pawl_gate.explain import Explanation, Place, Source, excerpt, explain
from pawl_gate.explain_text import LEVELS, needs
from pawl_gate.report_text import FAMILIES
from pawl_spec.invariants import INVARIANTS
from pawl_spec.registry import THREATS, Invariant

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "reference" / "invariants.md"

HEAD = """\
<!-- Written by tools/make_catalogue.py from the registry in spec/pawl_spec. Change the docstrings there, then run
`make catalogue`. -->

# Invariants

An invariant is one thing that must hold, whatever the network, the attacker and the disk do. Its id is never given to
another one. This page is written from the registry of the specification.

There are {all}: {judged} are judged, {pending} are listed and not yet judged. *Judged* means that a predicate looks at
what happened in each trace. Whether an invariant *holds* on an implementation is what a run of `pawl verify` says, in
[its report](../how-to/read-the-report.md). *Not yet judged* is never counted as holding.

To see what stands behind an id (the predicate's code, the code of Pawl that makes it true, the broken variants that it
must catch, the tests that name it), follow *code and evidence* on the built site, or run `pawl explain CTR-06`.
"""


def catalogue(evidence: str = "") -> str:
    """The page. `evidence` is the folder of the pages with the code, if there is one."""
    judged = sum(entry.predicate is not None for entry in INVARIANTS)
    parts = [HEAD.format(all=len(INVARIANTS), judged=judged, pending=len(INVARIANTS) - judged)]
    for family, entries in groupby(INVARIANTS, lambda entry: entry.id.split("-")[0]):
        parts.append(f"## {family}: {FAMILIES[family]}\n")
        parts += [_section(explain(entry), evidence) for entry in entries]
    return "\n".join(parts)


def _section(explained: Explanation, evidence: str) -> str:
    entry = explained.invariant
    lines = [f"### {entry.id}", "", f"**{entry.claim}**", "", *(f"- {fact}" for fact in _facts(entry))]
    if entry.predicate is not None:
        names = ", ".join(f"`{one.target}`" for one in explained.controls)
        lines.append(f"- Controls: {names or 'none yet'}")
    if evidence:
        lines.append(f"- [Code and evidence]({evidence}/{entry.id}.md)")
    return "\n".join(lines) + "\n"


def _facts(entry: Invariant) -> Iterator[str]:
    anchor = entry.threat.lower()
    yield f"Threat: [{entry.threat}](../explanation/threat-model.md#{anchor}), {THREATS[entry.threat]}"
    yield f"Source: {entry.source}"
    if entry.predicate is None:
        yield f"Judged: not yet: {entry.pending}"
        return
    yield f"Judged: at level L{entry.level.value} or above ({LEVELS[entry.level]}); needs {needs(entry)}"
    refusals = ", ".join(f"[`{code}`](refusals.md)" for code in entry.refusals)
    yield f"Refusals that keep it: {refusals or 'none'}"
    yield f"Not covered: {entry.not_covered or 'nothing is named'}"


# -- the code behind one invariant ------------------------------------------------------------------------------------


def evidence_page(entry: Invariant) -> str:
    """What stands behind one invariant, as a page of the site."""
    explained = explain(entry)
    parts = [f"# {entry.id}: code and evidence", f"**{entry.claim}**"]
    facts = "\n".join(f"- {fact}" for fact in _facts(entry))
    # The page lies one folder deeper than the catalogue.
    facts = facts.replace("](../explanation", "](../../explanation").replace("](refusals", "](../refusals")
    parts.append(f"{facts}\n- [Catalogue](../invariants.md#{entry.id.lower()})")
    parts.append("## How it is judged")
    if explained.predicate:
        parts += [_code(source) for source in explained.predicate]
        parts += [f"It uses {_code(source)}" for source in explained.uses]
    else:
        parts.append(f"Not yet: {entry.pending}.")
    parts += ["## The code that makes it true", *_named(explained.code, "Nothing in the library names it yet.")]
    parts.append("## Controls that it must catch")
    parts.append("\n".join(f"- `{one.target}`: {one.what}" for one in explained.controls) or "None yet.")
    parts.append("## Tests that name it")
    tests = explained.tests or ()
    parts.append("\n".join(f"- `{place}` in `{place.where}`" for place in tests) or "None.")
    parts += ["## In a run", f"`pawl verify` says whether it holds; `pawl explain {entry.id}` prints this page."]
    return "\n\n".join(parts) + "\n"


def _code(source: Source) -> str:
    return f"`{source.name}`, {source}:\n\n```py\n{source.code.rstrip()}\n```"


def _named(places: tuple[Place, ...], otherwise: str) -> Iterator[str]:
    """Each place with its sentence, and the function around it."""
    if not places:
        yield otherwise
    for place in places:
        yield f"`{place}`" + (f" in `{place.where}`" if place.where else "") + f": {place.text}"
        if (around := excerpt(place, ROOT)) is not None:
            yield f"```py\n{around.code.rstrip()}\n```"


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if the page is out of date")
    if not parser.parse_args(arguments).check:
        PAGE.write_text(catalogue(), encoding="utf-8")
        return 0
    if PAGE.is_file() and PAGE.read_text("utf-8") == catalogue():
        return 0
    print(f"{PAGE.relative_to(ROOT)} is not what the registry says: run `make catalogue`")
    return 1


if __name__ == "__main__":
    sys.exit(main())
