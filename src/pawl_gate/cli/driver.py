"""The verb `driver`: check a driver program itself, and begin one."""

from __future__ import annotations

import argparse
from importlib import resources
from typing import Final

from pawl_gate.cli.common import Verbs, print_all, print_json, print_text, seconds

TEMPLATES: Final = {"python": "driver.py", "javascript": "driver.js"}
"""By language: the file in `pawl_gate.templates`."""


def add(verbs: Verbs) -> None:
    """Its options."""
    one = verbs.add_parser("driver", help="check a driver program itself, or begin one", allow_abbrev=False)
    whats = one.add_subparsers(metavar="WHAT", title="what", required=True, parser_class=type(one))
    said = "does a driver keep to the contract? Put -- before its command"
    checks = whats.add_parser("check", help=said, description=said, allow_abbrev=False)
    checks.add_argument("command", metavar="COMMAND", nargs="+", help="the driver program and its arguments")
    checks.add_argument(
        "--seconds", type=seconds, default=10, metavar="N", help="how long one answer may take (default: 10)"
    )
    checks.add_argument("--json", action="store_true", help="print the outcome as JSON")
    checks.set_defaults(verb=check)
    said = "print a driver to begin with; it runs as it is"
    begin = whats.add_parser("template", help=said, description=said, allow_abbrev=False)
    begin.add_argument("language", choices=sorted(TEMPLATES))
    begin.set_defaults(verb=template)
    said = "print the JSON Schema of the contract, with every verb's requests and answers"
    shape = whats.add_parser("schema", help=said, description=said, allow_abbrev=False)
    shape.set_defaults(verb=schema)


def check(args: argparse.Namespace) -> int:
    """Check a driver."""
    from pawl_gate.driver_check import Check
    from pawl_gate.targets.contract import asked_of
    from pawl_gate.targets.driver import PROTOCOL
    from pawl_gate.verify import Exit
    from pawl_gate.visible import visible

    run = Check(args.command, float(args.seconds))
    outcomes = list(run.run())
    failed = [one for one in outcomes if one.state == "failed"]
    code = Exit.VIOLATED if failed else Exit.HOLDS
    name = visible(f"{run.hello.name} {run.hello.version}") if run.hello else visible(" ".join(args.command))
    if args.json:
        print_json(
            {
                "format": "pawl-driver-check",
                "version": 1,
                "protocol": PROTOCOL,
                "driver": None if run.hello is None else {"name": run.hello.name, "version": run.hello.version},
                "exit": int(code),
                "checks": [
                    {"name": one.name, "says": one.says, "state": one.state, "why": one.why} for one in outcomes
                ],
            }
        )
        return code
    wrong = ", ".join(one.name for one in failed)
    kept = f"keeps to the driver contract, version {PROTOCOL}"
    lines = [f"{name} does not keep to the contract: {wrong}" if failed else f"{name} {kept}"]
    if run.hello is not None:
        declared = ", ".join(sorted(run.hello.capabilities)) or "none"
        asked = len(asked_of(run.hello))
        lines.append(f"level L{run.hello.level.value}, asked {asked} verbs; declared: {declared}")
    lines.append("")
    for one in outcomes:
        lines.append(f"  {one.state:<9} {one.name:<14} {one.says}" + (f": {one.why}" if one.why else ""))
    print_text("\n".join(lines) + "\n")
    return code


def template(args: argparse.Namespace) -> int:
    """Print a template."""
    print_all(resources.files("pawl_gate.templates").joinpath(TEMPLATES[args.language]).read_text("utf-8"))
    return 0


def schema(args: argparse.Namespace) -> int:
    """Print the schema."""
    from pawl_gate.targets import contract

    print_all(contract.schema_text())
    return 0
