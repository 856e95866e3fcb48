"""The verb `finding`: the findings that are known of other implementations, and the scripts that show them."""

from __future__ import annotations

import argparse
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from pawl_gate.cli.common import Usage, Verbs, print_all, print_json, print_text

if TYPE_CHECKING:
    from pawl_gate.baselines import Baseline, Finding


def add(verbs: Verbs) -> None:
    """Its options."""
    said = "the known findings on other implementations, and the scripts that show them without the gate"
    one = verbs.add_parser("finding", help="list, print or run what shows the known findings", description=said)
    whats = one.add_subparsers(metavar="WHAT", title="what", required=True, parser_class=type(one))
    said = "list the known findings by target: what an attacker needs, and the script"
    listing = whats.add_parser("list", help=said, description=said, allow_abbrev=False)
    listing.add_argument("--target", metavar="NAME", help="of this target alone")
    listing.add_argument("--json", action="store_true", help="print the list as JSON")
    listing.set_defaults(verb=list_)
    said = "print the script that shows a finding by the target's own public API, as one file"
    printing = whats.add_parser("export", help=said, description=said, allow_abbrev=False)
    printing.add_argument("target", metavar="TARGET")
    printing.add_argument("id", metavar="ID", help="of the invariant, such as CTR-05")
    printing.add_argument("--script", metavar="NAME", help="where several show it: which one (default: the first)")
    printing.set_defaults(verb=export)
    said = "run the scripts; exit code 1 when one does not show its finding any more"
    running = whats.add_parser("check", help=said, description=said, allow_abbrev=False)
    running.add_argument("--target", metavar="NAME", help="of this target alone")
    running.set_defaults(verb=check)


def list_(args: argparse.Namespace) -> int:
    """List the findings."""
    from pawl_gate.baselines import findings
    from pawl_gate.expect import CLASSES

    chosen = _chosen(args.target)
    known = [finding for baseline in chosen.values() for finding in findings(baseline)]
    if args.json:
        print_json({"format": "pawl-findings", "version": 1, "findings": [_document(finding) for finding in known]})
        return 0
    lines = []
    for target, baseline in chosen.items():
        lines.append(f"{target}  ({_near(baseline.path)})")
        for finding in (one for one in known if one.target == target):
            apart = "" if finding.is_seen else ", not seen by the gate"
            lines.append(f"  {finding.id}  {finding.needs or 'class not said'}{apart}")
            lines.append(textwrap.fill(finding.reason, 100, initial_indent=" " * 10, subsequent_indent=" " * 10))
            lines += [f"{'':10}script: {script}" for script in finding.scripts or ("none",)]
        lines.append("")
    lines.append("an attacker needs")
    lines += [f"  {word:<12} {words}" for word, words in CLASSES.items()]
    print_text("\n".join(lines) + "\n")
    return 0


def export(args: argparse.Namespace) -> int:
    """Print a script."""
    from pawl_gate.baselines import NoScript, exported, findings

    (baseline,) = _chosen(args.target).values()
    shown = [
        (finding, script)
        for finding in findings(baseline)
        if finding.id == args.id.upper()
        for script in finding.scripts
    ]
    if not shown:
        known = ", ".join(sorted({finding.id for finding in findings(baseline) if finding.scripts})) or "none"
        raise Usage(f"{args.target} has no finding {args.id!r} with a script; there are {known}")
    if args.script is not None:
        named = [one for one in shown if args.script in _names(one[1])]
        if not named:
            raise Usage(f"no script of {args.id} is called {args.script!r}: {_listed(shown)}")
        shown = [named[0]]
    finding, script = shown[0]
    try:
        text = exported(finding, script)
    except NoScript as error:
        raise Usage(str(error)) from None
    print_all(text)
    if len(shown) > 1:
        print(f"pawl: there are {len(shown)} (--script NAME): {_listed(shown)}", file=sys.stderr)
    return 0


def check(args: argparse.Namespace) -> int:
    """Run the scripts."""
    from pawl_gate.baselines import NoScript, findings, reproduced
    from pawl_gate.targets.base import HarnessBroken
    from pawl_gate.verify import Exit

    due: dict[tuple[Path, str], Finding] = {}
    for baseline in _chosen(args.target).values():
        for finding in findings(baseline):
            for script in finding.scripts:
                due.setdefault((finding.folder, script), finding)
    if not due:
        raise Usage("no finding has a script")
    missed = []
    for (folder, script), finding in due.items():
        try:
            there, said = reproduced(folder, script)
        except NoScript as error:
            raise HarnessBroken(f"{finding.id} on {finding.target}: {error}") from None
        print_text(f"{'reproduced' if there else 'NOT THERE':<11} {finding.target}  {script}\n")
        if not there:
            missed.append(script)
            print_text(textwrap.indent(said.rstrip() + "\n", "    "))
    head = f"not reproduced any more: {', '.join(missed)}" if missed else f"all {len(due)} scripts show their findings"
    print_text(head + "\n")
    return Exit.VIOLATED if missed else Exit.HOLDS


def _chosen(target: str | None) -> dict[str, Baseline]:
    """The lists, or the one of a target. Raises: Usage."""
    from pawl_gate.baselines import baselines
    from pawl_gate.expect import ExpectError
    from pawl_gate.targets.registry import drivers_folder

    try:
        found = baselines()
    except ExpectError as error:
        raise Usage(str(error)) from None
    except OSError as error:
        raise Usage(f"cannot read {error.filename}: {error.strerror}") from None
    if not found:
        raise Usage(
            f"no list of findings in {drivers_folder()}; run in a checkout, or let PAWL_DRIVERS name its `drivers`"
        )
    if target is None:
        return found
    if target not in found:
        raise Usage(f"no findings are listed of {target!r}; there are lists of {', '.join(found)}")
    return {target: found[target]}


def _near(path: Path) -> Path:
    """From this folder, where it lies below it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _names(script: str) -> set[str]:
    """What a script may be called by."""
    path, _, part = script.partition("#")
    file = path.rsplit("/", 1)[-1]
    return {script, part or path, part or file, part or file.rsplit(".", 1)[0]}


def _listed(shown: list[tuple[Finding, str]]) -> str:
    return ", ".join(script for _, script in shown)


def _document(finding: Finding) -> dict[str, object]:
    return {
        "target": finding.target,
        "id": finding.id,
        "class": finding.needs,
        "seen_by_the_gate": finding.is_seen,
        "reason": finding.reason,
        "scripts": list(finding.scripts),
    }
