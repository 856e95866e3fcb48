"""Mutation testing: does a test fail when one small thing in the library is wrong? `make mutation`.

    python -m tools.mutation                          every mutant of src/pawl; started again, it goes on
    python -m tools.mutation --sample 300 --seed 1    a random sample of sessions, wire formats and identities
    python -m tools.mutation --since origin/main      the functions that a change touches

mutmut makes the mutants, in a copy below mutants/, and runs for each the tests that call its function. Here is what
goes around it: which mutants are tried, the score, and that each survivor has a reason in tests/survivors.toml.

Exit codes: 0 holds; 1 the score is under 90 %, a survivor has no reason, or a reason no survivor; 2 usage; 3 mutmut or
the tests without any mutant failed; 4 incomplete.
"""

from __future__ import annotations

import argparse
import fcntl
import math
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

from mutmut.mutation.data import SourceFileMutationData
from mutmut.stats import status_by_exit_code

from tools.examples import ROOT
from tools.mutants import NOT_CHECKED, Mutant, functions_at, mutants_of, verdicts

LIBRARY: Final = Path("src/pawl")
ROOMS: Final = ("session/", "wire/", "identity.py")
"""What the sample is drawn from: the protocol itself."""

WORK: Final = ROOT / "mutants"
"""Where mutmut has its copy and its verdicts."""

SURVIVORS: Final = ROOT / "tests" / "survivors.toml"

LEAST_SCORE: Final = 0.9
"""Of a sample or of all. A change is too small for a share: there each survivor needs its reason, that is all."""

CAUGHT: Final = ("killed", "timeout", "caught by type check")
"""As mutmut counts: a mutant that never ends is noticed."""

WORDS: Final = "only the words of a refusal: tests hold its type and its code, the text is for people"
"""The one reason that needs no entry, because it can be seen from the mutant."""

HUNK: Final = re.compile(r"^@@ -\d+(?:,(\d+))? \+(\d+)(?:,(\d+))? @@", re.MULTILINE)
"""How many lines went, at which line others came, and how many. A number that is left out is 1."""


class UsageError(Exception):
    """What was asked for cannot be done; the text says why."""


@dataclass(frozen=True, slots=True)
class Reason:
    """Why some mutants of one function may survive."""

    function: str
    changes: frozenset[tuple[str, str]]
    """The lines before and after, as in `Mutant`."""
    why: str


@dataclass(frozen=True, slots=True)
class Choice:
    """Which mutants are tried."""

    what: str
    """In words."""
    tried: list[Mutant]
    there: list[Mutant]
    """All mutants of the same files: what a reason may be for."""
    least: float
    """The share that has to be killed."""
    everything: bool = False


# -- which mutants ----------------------------------------------------------------------------------------------------


def sources(rooms: Iterable[str] = ("",)) -> list[Path]:
    """The files of the library that are mutated: all, or those of some rooms."""
    starts = tuple(f"{LIBRARY}/{room}" for room in rooms)
    found = sorted(path.relative_to(ROOT) for path in (ROOT / LIBRARY).rglob("*.py"))
    return [path for path in found if str(path).startswith(starts) and not path.name.endswith("_pb2.py")]


def sample(mutants: list[Mutant], count: int, seed: int) -> list[Mutant]:
    """`count` of them by chance. Each has its own place in the order of a seed, whatever other mutants there are."""
    return sorted(mutants, key=lambda each: sha256(f"{seed} {each.name}".encode()).digest())[:count]


def base_of(references: list[str]) -> str | None:
    """The commit that the library grew from, by the first reference that is there and is not this very state."""
    head = git("rev-parse", "HEAD")
    for reference in references:
        base = git("merge-base", reference, "HEAD")
        if base and (base != head or git("status", "--porcelain", "--", str(LIBRARY))):
            say(f"what changed since {reference}, {base[:12]}")
            return base
        say(f"{reference} is {'this very commit' if base else 'not there'}")
    return None


def touched(base: str) -> dict[Path, set[str]]:
    """The functions of the library that the working tree has otherwise than the commit `base`, by file."""
    new = git("ls-files", "--others", "--exclude-standard", "--", str(LIBRARY)).splitlines()
    found: dict[Path, set[str]] = {}
    for path in sources():
        source = (ROOT / path).read_text("utf-8")
        lines = set(range(1, source.count("\n") + 2)) if str(path) in new else set()
        for removed, start, added in HUNK.findall(git("diff", "--unified=0", base, "--", str(path))):
            # Where lines went, the ones around them count: they may have stood at the end of a function.
            around = int(removed != "0")
            lines |= set(range(int(start) - around, int(start) + int(added or 1) + around))
        if functions := functions_at(source, ".".join(path.with_suffix("").parts[1:]), lines):
            found[path] = functions
    return found


def git(*arguments: str) -> str:
    """What git says, or nothing where it refuses."""
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()


# -- running ----------------------------------------------------------------------------------------------------------


def run_mutmut(mutants: list[Mutant], *, everything: bool, jobs: int) -> int:
    """Let mutmut judge these mutants, or with `everything` whatever has no verdict; its exit code."""
    names = [] if everything else [each.name for each in mutants]
    # The tests that need published vectors look beside the checkout; the copy lies one folder deeper.
    vectors = ROOT.parent / "shared" / "vectors"
    environment = ({"PAWL_VECTORS": str(vectors)} if vectors.is_dir() else {}) | os.environ
    # A peer that is missing in CI is a failure of its own tests, which do not run here.
    environment.pop("CI", None)
    command = [str(Path(sys.executable).with_name("mutmut")), "run", "--max-children", str(jobs), *names]
    log = WORK / "mutmut.log"
    with log.open("wb") as out, subprocess.Popen(command, cwd=ROOT, env=environment, stdout=out, stderr=out) as process:
        told = 0
        while process.poll() is None:
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                judged = sum(status != NOT_CHECKED for status in verdicts(mutants).values())
                if judged != told:
                    say(f"{judged} of {len(mutants)} judged")
                    told = judged
            except KeyboardInterrupt:
                # mutmut hears it too, writes down what it knows and ends.
                say("stopped; started again it goes on")
    if process.returncode != 0:
        words = log.read_text("utf-8", errors="replace")[-2000:]
        say(f"mutmut ended with {process.returncode}; {log.relative_to(ROOT)} ends with:\n{words}")
    return process.returncode


@contextmanager
def alone() -> Iterator[None]:
    """Two runs at once would take the tests from under each other, and a mutant without tests looks killed.

    Raises: UsageError.
    """
    WORK.mkdir(exist_ok=True)
    with (WORK / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError("another run is at work in mutants/") from None
        yield


def forget_all() -> None:
    """Start afresh: no verdict, no copy."""
    for path in WORK.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != "lock":
            path.unlink()


def forget_survivors() -> None:
    """Where the tests are not those of the last run, what survived is tried again; what was killed stays killed."""
    tests = sorted((ROOT / "tests").rglob("*.py"))
    digest = sha256(b"".join(sha256(path.read_bytes()).digest() for path in tests)).hexdigest()
    stamp = WORK / "tests-digest"
    if stamp.is_file() and stamp.read_text() == digest:
        return
    for path in sources():
        data = SourceFileMutationData(path=path)
        data.load()
        for name, code in data.exit_code_by_key.items():
            if status_by_exit_code[code] != "killed":
                data.exit_code_by_key[name] = None
        if data.exit_code_by_key:
            data.save()
    # Which test calls which function is found out once for a test, and a test that went stays in the copy.
    shutil.rmtree(WORK / "tests", ignore_errors=True)
    (WORK / "mutmut-stats.json").unlink(missing_ok=True)
    stamp.write_text(digest)


# -- judging ----------------------------------------------------------------------------------------------------------


def read_reasons(text: str) -> list[Reason]:
    """The reasons in `tests/survivors.toml`. Raises: UsageError."""
    try:
        entries = tomllib.loads(text).get("survivor", [])
        return [
            Reason(each["function"], frozenset((before, after) for before, after in each["changes"]), each["why"])
            for each in entries
        ]
    except (tomllib.TOMLDecodeError, KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{SURVIVORS.name} cannot be read: {error!r}") from None


def reason_for(mutant: Mutant, reasons: list[Reason]) -> str | None:
    """Why this mutant may survive, if it may."""
    for reason in reasons:
        if reason.function == mutant.function and (mutant.before, mutant.after) in reason.changes:
            return reason.why
    return WORDS if mutant.words_only else None


def outdated(reasons: list[Reason], there: list[Mutant], killed: list[Mutant]) -> list[str]:
    """Reasons for what is no mutant of the files that `there` is from, or is killed now."""
    modules = {each.name.rpartition(".")[0] for each in there}
    changes = Counter((each.function, each.before, each.after) for each in there)
    # Where a function has one line twice, a reason is for either.
    not_needed = {named for each in killed if changes[named := (each.function, each.before, each.after)] == 1}
    lines = []
    for reason in reasons:
        if not any(reason.function.startswith(f"{module}.") for module in modules):
            continue
        for before, after in sorted(reason.changes):
            named = (reason.function, before, after)
            if named not in changes:
                lines.append(f"a reason for no mutant: {reason.function}\n    - {before}\n    + {after}")
            elif named in not_needed:
                lines.append(f"a reason for a mutant that is killed: {reason.function}\n    - {before}\n    + {after}")
    return lines


def wilson(part: int, whole: int) -> tuple[float, float]:
    """The 95 % interval of a share that was `part` of `whole` in a sample. Source: Wilson, 1927."""
    z = 1.959964
    middle = (part + z * z / 2) / (whole + z * z)
    reach = z / (whole + z * z) * math.sqrt(part * (whole - part) / whole + z * z / 4)
    return max(middle - reach, 0.0), min(middle + reach, 1.0)


def judge(choice: Choice, found: dict[str, str], reasons: list[Reason]) -> int:
    """Print the score and what is wrong; the exit code. `found` are the verdicts by name."""
    whole = len(choice.tried)
    statuses = Counter(found[each.name] for each in choice.tried)
    for status, count in statuses.most_common():
        print(f"  {status:<12} {count:>5}")
    if statuses[NOT_CHECKED]:
        print(f"incomplete: {statuses[NOT_CHECKED]} of {whole} mutants have no verdict")
        return 4
    caught = sum(statuses[status] for status in CAUGHT)
    low, high = wilson(caught, whole)
    print(f"score {caught / whole:.1%}, 95 % interval {low:.1%} to {high:.1%}")

    wrong = outdated(reasons, choice.there, [each for each in choice.tried if found[each.name] == "killed"])
    told: Counter[str] = Counter()
    for each in choice.tried:
        if found[each.name] in CAUGHT:
            continue
        why = reason_for(each, reasons)
        if why is None:
            wrong.append(f"{found[each.name]}, without a reason: {each.name}\n    - {each.before}\n    + {each.after}")
        else:
            told[why] += 1
    for why, count in told.most_common():
        print(f"  {count:>3} with the reason: {why}")
    if caught < choice.least * whole:
        wrong.append(f"the score is under {choice.least:.0%}")
    for line in wrong:
        print(line)
    return 1 if wrong else 0


# -- the command ------------------------------------------------------------------------------------------------------


def choose(since: list[str], count: int | None, seed: int) -> Choice:
    """What the options ask for. Raises: UsageError."""
    if since:
        base = base_of(since)
        if base is None and count is None:
            raise UsageError(f"none of these is an earlier commit: {', '.join(since)}")
        functions = touched(base) if base else {}
        there = [each for path in functions for each in mutants_of(ROOT, path)]
        changed = [each for each in there if each.function in functions[each.path]]
        if changed or count is None:
            tried = changed if count is None else sample(changed, count, seed)
            return Choice(f"{len(tried)} of the {len(changed)} mutants of what changed", tried, there, least=0.0)
        say("no function with mutants changed: a few of all instead")
    there = [each for path in sources(("",) if count is None else ROOMS) for each in mutants_of(ROOT, path)]
    if count is None:
        return Choice(f"all {len(there)} mutants of src/pawl", there, there, LEAST_SCORE, everything=True)
    tried = sample(there, count, seed)
    what = f"{len(tried)} of the {len(there)} mutants of {', '.join(ROOMS)}, seed {seed}"
    return Choice(what, tried, there, least=0.0 if since else LEAST_SCORE)


def main(arguments: list[str]) -> int:
    """Choose, run, judge."""
    parser = argparse.ArgumentParser(prog="tools.mutation", description="Mutation testing of src/pawl.")
    parser.add_argument("--sample", type=positive, metavar="N", help="at most N mutants, by chance")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="which sample (1)")
    parser.add_argument(
        "--since",
        action="append",
        default=[],
        metavar="COMMIT",
        help="what changed since then; of several the first that is there. With --sample: that, where nothing changed",
    )
    parser.add_argument("--jobs", type=positive, default=1, metavar="N", help="mutants at a time (1)")
    parser.add_argument("--fresh", action="store_true", help="forget former verdicts, those of killed mutants too")
    options = parser.parse_args(arguments)
    # mutmut reads its settings and finds its copy from here.
    os.chdir(ROOT)
    try:
        reasons = read_reasons(SURVIVORS.read_text("utf-8"))
        with alone():
            if options.fresh:
                forget_all()
            forget_survivors()
            return run(choose(options.since, options.sample, options.seed), reasons, options.jobs)
    except UsageError as error:
        say(str(error))
        return 2


def run(choice: Choice, reasons: list[Reason], jobs: int) -> int:
    """Have judged what is not, and print what came of all; the exit code."""
    print(f"mutation: {choice.what}", flush=True)
    if not choice.tried:
        return 0
    found = verdicts(choice.tried)
    unknown = [each for each in choice.tried if found[each.name] == NOT_CHECKED]
    if unknown and run_mutmut(unknown, everything=choice.everything, jobs=jobs) != 0:
        return 3
    return judge(choice, verdicts(choice.tried), reasons)


def positive(text: str) -> int:
    """An argument that counts something."""
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def say(text: str) -> None:
    """Progress goes to stderr."""
    print(f"mutation: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
