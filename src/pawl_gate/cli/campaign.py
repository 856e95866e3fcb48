"""The verb `campaign`."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pawl_gate.cli.common import BROKEN, Usage, Verbs, jobs, print_json, print_text, seed, write
from pawl_gate.cli.fuzz import UNIT_SECONDS, chosen, count, duration

if TYPE_CHECKING:
    from pawl_gate.fuzzing.campaign import Campaign, Moment

FOLDER: Final = Path("build", "campaign")


def add(verbs: Verbs) -> None:
    """Its options."""
    one = verbs.add_parser(
        "campaign", help="fuzz in rounds, for a night or on many machines, and report", allow_abbrev=False
    )
    one.add_argument("entry", nargs="*", metavar="ENTRY", help="entry points (default: all)")
    one.add_argument("--time", type=duration, metavar="TIME", help="how long, such as 10m or 8h (default: 10m)")
    one.add_argument("--rounds", type=count, metavar="N", help="so many rounds in all, in place of a time")
    one.add_argument(
        "--engine",
        default="local",
        metavar="WHERE",
        help="local (the default), or dask://HOST:PORT of a Dask scheduler",
    )
    one.add_argument(
        "--jobs", type=jobs, default=os.cpu_count() or 1, metavar="N", help="local units at once (default: the cores)"
    )
    one.add_argument(
        "--unit", type=duration, default=UNIT_SECONDS, metavar="TIME", help=f"of a unit (default: {UNIT_SECONDS}s)"
    )
    one.add_argument(
        "--unit-runs", type=count, default=0, metavar="N", help="executions of a unit, in place of a time: repeatable"
    )
    one.add_argument("--lanes", type=count, default=0, metavar="N", help="units of each entry point in a round")
    one.add_argument("--seed", type=seed, default=0, metavar="N", help="of the search (default: 0)")
    one.add_argument(
        "--corpus", type=Path, metavar="DIR", help="begin with DIR/ENTRY (default: corpus/ of the checkout)"
    )
    one.add_argument("--out", type=Path, default=FOLDER, metavar="DIR", help=f"its folder (default: {FOLDER})")
    one.add_argument("--resume", action="store_true", help="go on with the campaign in the folder")
    one.add_argument("--report", type=Path, metavar="FILE", help="the page (default: report/index.html in the folder)")
    one.add_argument("--json", action="store_true", help="print the figures as JSON")
    one.set_defaults(verb=campaign)


def campaign(args: argparse.Namespace) -> int:
    """Begin a campaign or go on with one. Exit codes: 0 nothing was found, 1 something was, 3 units were given up."""
    from pawl_gate.fuzzing.campaign import Campaign, Unfit, plan, starting_corpora
    from pawl_gate.fuzzing.entries import ENTRIES
    from pawl_gate.fuzzing.executors import NoEngine, engine

    seconds = None if args.rounds and args.time is None else args.time or 600
    try:
        with engine(args.engine, args.jobs) as there:
            if args.resume:
                if args.entry:
                    raise Usage("--resume goes on with the entry points of the campaign; name none")
                made = Campaign.resume(args.out, ENTRIES)
            else:
                entries = chosen(args.entry or ["all"])
                if not entries:
                    raise Usage("there is nothing to fuzz")
                made = Campaign.begin(
                    args.out,
                    entries,
                    plan(
                        entries,
                        seed=args.seed,
                        unit_seconds=args.unit,
                        unit_runs=args.unit_runs,
                        jobs=there.jobs,
                        lanes=args.lanes,
                    ),
                    starting_corpora(entries, args.corpus),
                )
            print(f"campaign: {len(made.plan.entries)} entry points on {there.words}", file=sys.stderr)
            made.run(there, seconds=seconds, rounds=args.rounds, progress=show)
    except (Unfit, NoEngine) as error:
        raise Usage(str(error)) from None
    return conclude(made, json=args.json, report=args.report or args.out / "report" / "index.html")


def carry_out(made: Campaign, where: str, at_once: int, *, seconds: int | None, rounds: int | None) -> None:
    """Run a campaign, and show how it goes."""
    from pawl_gate.fuzzing.executors import engine

    with engine(where, at_once) as there:
        made.run(there, seconds=seconds, rounds=rounds, progress=show)


def show(moment: Moment) -> None:
    """A line on stderr."""
    minutes, seconds = divmod(int(moment.seconds), 60)
    stage = f"round {moment.round + 1}" if moment.round >= 0 else "running the corpus"
    print(
        f"campaign: {minutes // 60:02}:{minutes % 60:02}:{seconds:02} {stage} · {moment.done}/{moment.due} units · "
        f"{moment.executions:,} executions, {moment.rate:,.0f}/s · {moment.features:,} features · "
        f"{moment.findings} findings",
        file=sys.stderr,
        flush=True,
    )


def conclude(made: Campaign, *, json: bool, report: Path) -> int:
    """Say what came of it, and write the page."""
    from pawl_gate.fuzzing.report import document, text
    from pawl_gate.page.campaign import render
    from pawl_gate.verify import Exit

    told = document(made)
    page = write(report, render(told))
    if json:
        print_json(told)
    else:
        print_text(text(told, page))
    return BROKEN if made.given_up else Exit.VIOLATED if told["findings"] else Exit.HOLDS
