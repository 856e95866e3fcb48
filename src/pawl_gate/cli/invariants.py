"""The verbs `invariants` and `explain`: what must hold, and what stands behind it."""

from __future__ import annotations

import argparse

from pawl_gate.cli.common import OK, Usage, Verbs, print_json, print_text


def add(verbs: Verbs) -> None:
    """Their options."""
    one = verbs.add_parser("invariants", help="list what must hold", allow_abbrev=False)
    one.add_argument("--json", action="store_true", help="print the registry as JSON")
    one.set_defaults(verb=invariants)

    one = verbs.add_parser("explain", help="show what stands behind one invariant", allow_abbrev=False)
    one.add_argument("id", metavar="ID", help="its id, such as CTR-03")
    one.add_argument("--json", action="store_true", help="print it as JSON")
    one.set_defaults(verb=explain)


def invariants(args: argparse.Namespace) -> int:
    """List the invariants."""
    from pawl_gate import report_text

    if args.json:
        print_json(report_text.invariants_document())
    else:
        print_text(report_text.invariants_text())
    return OK


def explain(args: argparse.Namespace) -> int:
    """Show what stands behind one invariant."""
    from pawl_gate import explain as explanations
    from pawl_gate import explain_text

    try:
        entry = explanations.find(args.id)
    except explanations.UnknownInvariant as error:
        raise Usage(str(error)) from None
    explained = explanations.explain(entry)
    if args.json:
        print_json(explain_text.explain_document(explained))
    else:
        print_text(explain_text.explain_text(explained))
    return OK
