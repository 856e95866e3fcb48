"""What a run of vectors came to, for people and for machines."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from pawl_gate.vectors.check import Checked, Verdict
from pawl_gate.verify import Exit
from pawl_spec.history import Hello


@dataclass(slots=True)
class Results:
    """Every test, by file."""

    hello: Hello
    files: dict[str, list[Checked]] = field(default_factory=dict)
    differences: list[str] | None = None
    """From what was expected of the target; None: nothing but what the vectors say."""

    def all(self) -> list[Checked]:
        """Every test."""
        return [each for checked in self.files.values() for each in checked]

    def count(self, verdict: Verdict) -> int:
        """How many tests went so."""
        return sum(each.verdict is verdict for each in self.all())

    @property
    def exit(self) -> Exit:
        """What the run comes to. A run in which no test could be run is not a success."""
        if self.differences or (self.differences is None and self.count(Verdict.FAILED)):
            return Exit.VIOLATED
        ran = self.count(Verdict.PASSED) + self.count(Verdict.FAILED)
        return Exit.HOLDS if ran else Exit.INCOMPLETE


def text(results: Results) -> str:
    """For people: the outcome first, then each file, then each failure."""
    hello, failed = results.hello, results.count(Verdict.FAILED)
    passed, unsupported = results.count(Verdict.PASSED), results.count(Verdict.UNSUPPORTED)
    counts = f"{passed} passed, {failed} failed, {unsupported} unsupported"
    if results.exit is Exit.INCOMPLETE:
        head = "no test could be run"
    elif results.differences is None:
        head = "every test that could be run went as it should" if not failed else "not as the vectors say"
    else:
        head = "exactly the expected deviations" if not results.differences else "not as expected"
    lines = [f"{hello.name} {hello.version}: {head} ({counts})", ""]
    width = max(map(len, results.files), default=0)
    for name, checked in results.files.items():
        lines.append(f"  {name:{width}}  {_counts(checked)}")
    reasons = Counter(each.why for each in results.all() if each.verdict is Verdict.UNSUPPORTED)
    if reasons:
        lines += ["", "unsupported (declared):"]
        lines += [f"  {count:4} {why}" for why, count in reasons.most_common()]
    if results.differences is None:
        failures = [f"{each.id}: {each.why}" for each in results.all() if each.verdict is Verdict.FAILED]
    else:
        failures = results.differences
    if failures:
        lines += ["", "FAILED", *(f"  {each}" for each in failures)]
    return "\n".join(lines) + "\n"


def _counts(checked: list[Checked]) -> str:
    parts = [
        f"{count} {verdict.value}" for verdict in Verdict if (count := sum(each.verdict is verdict for each in checked))
    ]
    partly = sum(each.partly for each in checked)
    return ", ".join(parts) + (f" ({partly} in part)" if partly else "")


def document(results: Results) -> dict[str, object]:
    """For machines."""
    return {
        "target": {"name": results.hello.name, "version": results.hello.version},
        "exit": int(results.exit),
        "counts": {verdict.value: results.count(verdict) for verdict in Verdict},
        "differences": results.differences,
        "files": {
            name: [
                {"id": each.id, "verdict": each.verdict.value, "why": each.why, "partly": each.partly}
                for each in checked
            ]
            for name, checked in results.files.items()
        },
    }
