"""A summary in Markdown: for the page of a workflow's run, or a comment on a change."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from typing import Final

from pawl_gate import outputs, report_text
from pawl_gate.outputs import Result, Run, State
from pawl_gate.report_text import FAMILIES, WORDS, family
from pawl_gate.visible import visible
from pawl_spec.registry import THREATS

MARKS: Final = re.compile(r"([\\`*_\[\]<>|~&]|:(?=\S)|^[-+#>]|(?<=^[0-9])[.)]|(?<=^[0-9]{2})[.)])")
"""What means something in Markdown, within a line or at its start. A colon before a word begins an emoji."""


def text(run: Run) -> str:
    """The summary of a run, ended by a newline."""
    report = run.report
    lines = [f"## {said(_sentence(report_text.verdict_line(report, run.expected, run.code)))}", ""]
    for line in report_text.differences(report, run.expected):
        lines.append(f"- {said(line.strip())}")
    lines += [f"- incomplete: {said(gap)}" for gap in report.gaps]
    if report.selection:
        lines += ["", *_selected(run)]
    lines += ["", *_table(run), ""]
    found = [result for result in outputs.results(run) if result.detail]
    order = {id_: number for number, (id_, _) in enumerate(report.by_size())}
    for result in sorted(found, key=lambda one: (one.state is State.KNOWN, order.get(one.entry.id, len(order)))):
        lines += _finding(result)
    lines.append(
        f"{report.traces:,} traces with {report.steps:,} steps judged in {report.seconds:.0f} s at level "
        f"L{report.hello.level.value}, budget {report.budget.name}, seed {report.seed}. To run it again: "
        f"{code(_command(run))}"
    )
    return "\n".join(lines) + "\n"


def broken(name: str, what: str, made: datetime) -> str:
    """The summary of a run that came to nothing."""
    return f"## {said(name)}: nothing was judged\n\n{said(what)}\n"


def _sentence(line: str) -> str:
    return line[:1].upper() + line[1:]


def _command(run: Run) -> str:
    report = run.report
    option = "--driver" if report.is_driver else "--target"
    return (
        f"pawl verify {option} {shlex.quote(report.target)} --budget {report.budget.name} --seed {report.seed}"
    )  # fmt: skip


def _selected(run: Run) -> Iterator[str]:
    selection = run.report.selection
    if selection is None:
        return
    yield f"{len(selection.files)} files changed since {code(selection.since)}: {said(selection.why)}."
    if selection.left_out:
        ids = ", ".join(sorted(selection.left_out))
        yield ""
        yield f"<details><summary>{len(selection.left_out)} invariants were left out</summary>\n"
        yield f"Their code was not changed: {ids}.\n\n</details>"


def _table(run: Run) -> Iterator[str]:
    """A line for each family: how many of its invariants are what."""
    verdicts = run.report.tally.verdicts()
    counts = {name: Counter(one for id_, one in verdicts.items() if family(id_) == name) for name in FAMILIES}
    shown = [verdict for verdict in WORDS if any(count[verdict] for count in counts.values())]
    yield f"| family | {' | '.join(WORDS[verdict] for verdict in shown)} |"
    yield f"|---|{'---:|' * len(shown)}"
    for name, words in FAMILIES.items():
        if counts[name]:
            numbers = " | ".join(str(counts[name][verdict] or "") for verdict in shown)
            yield f"| {name} {words} | {numbers} |"


def _finding(result: Result) -> Iterator[str]:
    entry = result.entry
    known = "as expected, " if result.state is State.KNOWN else ""
    yield f"### {entry.id} {known}does not hold"
    yield ""
    yield said(entry.claim)
    yield ""
    yield f"- threat: {said(THREATS[entry.threat])}"
    yield f"- source: {said(entry.source)}"
    yield from (f"- {said(line)}" for line in result.message.splitlines())
    yield ""
    yield "<details><summary>the shortest trace</summary>\n"
    yield fenced(result.detail)
    yield "</details>\n"


# -- text that stays text ---------------------------------------------------------------------------------------------


def said(words: str) -> str:
    """Text in which nothing is markup."""
    # A mention is made of what Markdown has left over: only what cannot be seen parts it.
    return MARKS.sub(r"\\\1", visible(" ".join(words.split()))).replace("@", "@\u200b")


def code(words: str) -> str:
    """Text as code within a line."""
    one = visible(" ".join(words.split()))
    ticks = "`" * (max((len(run) for run in re.findall("`+", one)), default=0) + 1)
    space = " " if one.startswith("`") or one.endswith("`") else ""
    return f"{ticks}{space}{one}{space}{ticks}"


def fenced(words: str) -> str:
    """Text as a block of code: its fence is longer than any run of backticks in it."""
    block = visible(words).rstrip("\n")
    ticks = "`" * max(3, max((len(run) for run in re.findall("`+", block)), default=0) + 1)
    return f"{ticks}text\n{block}\n{ticks}\n"
