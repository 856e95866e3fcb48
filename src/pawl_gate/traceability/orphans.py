"""Orphans: links of the chain that lead nowhere, or from nowhere. Each names the place where it is to be mended."""

from __future__ import annotations

import inspect
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from pawl_gate import controls
from pawl_gate.controls import Control
from pawl_gate.explain import Around, Place
from pawl_gate.report_text import FAMILIES
from pawl_gate.traceability.answers import ANCHOR, PAGE
from pawl_gate.traceability.chain import Chain, heading_slug, line_of
from pawl_spec.registry import Predicate
from pawl_spec.threat_model import EDGED, Edge, Line, Sort

LINES_FILE: Final = "spec/pawl_spec/threat_model.py"
THREATS_FILE: Final = "spec/pawl_spec/registry.py"
LIBRARY: Final = "src/pawl/"

ELSEWHERE: Final = {
    **dict.fromkeys(
        ("src/pawl/storage/sqlite.py", "src/pawl/storage/postgres.py"),
        "the corpus runs over a memory store; tests/storage runs this one",
    ),
    **dict.fromkeys(
        (
            "src/pawl/workers/desk.py",
            "src/pawl/workers/device.py",
            "src/pawl/workers/foresight.py",
            "src/pawl/workers/job.py",
            "src/pawl/workers/messages.py",
            "src/pawl/workers/permitted.py",
            "src/pawl/workers/pool.py",
            "src/pawl/workers/settings.py",
            "src/pawl/workers/step.py",
        ),
        "the corpus runs without workers; tests/workers and `pawl store trial drill` run these",
    ),
}
"""Files of the library that no input of a corpus can run, and why."""

ATTACKED_ELSEWHERE: Final[dict[str, str]] = {}
"""Boundaries without an entry point, and what attacks them instead."""

TO_COME: Final[frozenset[str]] = frozenset()
"""Judged invariants whose controls are still to be written: declared gaps. One that has a control must go from here."""

NOWHERE: Final = "99"
"""The number that no invariant gets: tests ask for such an id on purpose."""


@dataclass(frozen=True, slots=True)
class Orphan:
    """A missing or a dangling link."""

    where: str
    """File and line at which it is to be mended."""
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


def orphans(chain: Chain) -> list[Orphan]:
    """Every orphan, in the order of the chain."""
    return [orphan for rule in RULES for orphan in rule(chain)]


# -- the threat model's lines -----------------------------------------------------------------------------------------


def lines_are_answered(chain: Chain) -> Iterator[Orphan]:
    """Each line names invariants that there are, or says where it is documented and which tests show its edge."""
    for line in chain.lines:
        where = _of_line(chain, line)
        for id_ in line.invariants:
            if id_ not in chain.known:
                yield Orphan(where, f"{line.anchor}: there is no invariant {id_}")
        if line.threat and line.threat not in chain.threats:
            yield Orphan(where, f"{line.anchor}: there is no threat {line.threat}")
        # What is not built has no edge that a test could show.
        planned = line.invariants and not any(chain.is_judged(id_) for id_ in line.invariants)
        if line.edge is not None:
            yield from _edge(chain, line, line.edge, where)
            if not line.edge.tests and not planned:
                yield Orphan(where, f"{line.anchor}: no test shows its edge")
        elif line.sort in EDGED:
            yield Orphan(where, f"{line.anchor}: it has no edge: where it is documented, and what test shows it")
        elif not line.invariants:
            yield Orphan(where, f"{line.anchor}: no invariant answers it")


def _edge(chain: Chain, line: Line, edge: Edge, where: str) -> Iterator[Orphan]:
    file, _, anchor = edge.documented.partition("#")
    page = chain.root / file
    if not page.is_file():
        yield Orphan(where, f"{line.anchor}: it is documented in {file}, which is not there")
    elif anchor and anchor not in _anchors(page.read_text("utf-8")):
        yield Orphan(where, f"{line.anchor}: {file} has no heading or anchor {anchor!r}")
    for test in edge.tests:
        file, _, name = test.partition("::")
        if name.replace("::", ".") not in _names(chain.root / file):
            yield Orphan(where, f"{line.anchor}: there is no test {test}")


@cache
def _names(path: Path) -> frozenset[str]:
    """The classes and functions of a file; none where there is no such file."""
    return Around(path.read_text("utf-8")).names if path.is_file() else frozenset()


def _anchors(text: str) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", text, re.M)
    return {heading_slug(heading) for heading in headings} | set(ANCHOR.findall(text))


def lines_are_on_the_page(chain: Chain) -> Iterator[Orphan]:
    """The page in prose answers the same lines, in the same order, by the same invariants."""
    page = chain.root / PAGE
    answered = {answer.anchor: answer for answer in chain.answers}
    for line in chain.lines:
        answer = answered.pop(line.anchor, None)
        if answer is None:
            at = line_of(page, f'"{line.anchor}"')
            yield Orphan(f"{PAGE}:{at}", f"{line.anchor}: no answer, or not in three parts (does, invariants, remains)")
        elif answer.invariants != line.invariants:
            said, due = (", ".join(ids) or "none" for ids in (answer.invariants, line.invariants))
            yield Orphan(f"{PAGE}:{answer.line}", f"{line.anchor}: the page says {said}, {LINES_FILE} {due}")
        elif answer.links != tuple(id_.lower() for id_ in answer.invariants):
            yield Orphan(f"{PAGE}:{answer.line}", f"{line.anchor}: an id links to another one")
    for answer in answered.values():
        yield Orphan(f"{PAGE}:{answer.line}", f"{answer.anchor}: the threat model has no such line")
    twice = [anchor for anchor, count in Counter(answer.anchor for answer in chain.answers).items() if count > 1]
    for anchor in twice:
        yield Orphan(f"{PAGE}:{line_of(page, anchor)}", f"{anchor}: answered twice")


# -- threats and invariants -------------------------------------------------------------------------------------------


def threats_are_linked(chain: Chain) -> Iterator[Orphan]:
    """Each threat stands behind a line, and invariants answer it."""
    behind = {threat for line in chain.lines for threat in chain.threats_of(line)}
    against = {entry.threat for entry in chain.invariants}
    for threat in chain.threats:
        where = f"{THREATS_FILE}:{line_of(chain.root / THREATS_FILE, threat)}"
        if threat not in against:
            yield Orphan(where, f"{threat}: no invariant answers it")
        if threat not in behind:
            yield Orphan(where, f"{threat}: no line of the threat model leads to it")


def invariants_are_linked(chain: Chain) -> Iterator[Orphan]:
    """Each invariant answers a line; one that is judged has code that makes it true, a test, and a control."""
    for entry in chain.invariants:
        if not chain.lines_of(entry.id):
            where = f"{LINES_FILE}:{line_of(chain.root / LINES_FILE, 'LINES: Final')}"
            yield Orphan(where, f"{entry.id}: no line of the threat model is answered by it")
        if entry.predicate is None:
            continue
        if not chain.code.get(entry.id):
            mark = f"no place in {LIBRARY} says that it makes it true: end the sentence with ({entry.id})"
            yield Orphan(_predicate(chain, entry.predicate), f"{entry.id}: {mark}")
        if not chain.tests.get(entry.id):
            yield Orphan(_tests(chain, entry.predicate), f"{entry.id}: no test names it")
        controlled = bool(chain.controls_of(entry.id))
        if not controlled and entry.id not in TO_COME:
            what = f"{entry.id}: no control breaks it, so nothing shows that it is seen"
            yield Orphan(_no_control(chain, entry.predicate), what)
        if controlled and entry.id in TO_COME:
            at = line_of(Path(__file__), f'"{entry.id}"')
            yield Orphan(f"{_shown(chain, Path(__file__))}:{at}", f"{entry.id} has a control: take it off TO_COME")


# -- code, controls, tests, pages -------------------------------------------------------------------------------------


def code_names_what_is_judged(chain: Chain) -> Iterator[Orphan]:
    """The library names only invariants that are judged, and only in brackets, where `grep` and this find them."""
    for id_, places in chain.code.items():
        for place in places:
            if id_ not in chain.known:
                yield Orphan(str(place), f"there is no invariant {id_}")
            elif not chain.is_judged(id_):
                yield Orphan(str(place), f"{id_} is not yet judged: the code claims what nothing checks")
    for mention in chain.mentions:
        if mention.file.startswith(LIBRARY) and not mention.in_brackets and _is_id(mention.id):
            yield Orphan(str(mention), f"{mention.id} is named outside the convention: write ({mention.id})")


def code_is_executed(chain: Chain) -> Iterator[Orphan]:
    """The function that a place is in runs on an input of some corpus: a claim in dead code is none."""
    for id_, places in chain.code.items():
        for place in places:
            if place.where and place.file not in ELSEWHERE and not _runs(chain, place):
                yield Orphan(str(place), f"{id_}: no input of a corpus runs {place.where}")


def _runs(chain: Chain, place: Place) -> bool:
    inside = f"{place.where}."
    return any(file == place.file and f"{name}.".startswith(inside) for file, name in chain.executed)


def controls_name_what_is_judged(chain: Chain) -> Iterator[Orphan]:
    """A control breaks an invariant that there is, and that is judged."""
    for control in chain.controls:
        if not chain.is_judged(control.breaks):
            why = "is not yet judged" if control.breaks in chain.known else "is none that there is"
            yield Orphan(_control(chain, control), f"control {control.name}: {control.breaks} {why}")


def mentions_are_known(chain: Chain) -> Iterator[Orphan]:
    """No text of the tree names an invariant that there is not."""
    for mention in chain.mentions:
        # In brackets in the library: said above.
        if mention.file.startswith(LIBRARY) and mention.in_brackets:
            continue
        if _is_id(mention.id) and mention.id not in chain.known:
            yield Orphan(str(mention), f"there is no invariant {mention.id}")


def _is_id(text: str) -> bool:
    """Whether it looks like an id of a family that there is ("UTF-16" does not), and not like one for nothing."""
    family, number = text.split("-")
    return number != NOWHERE and family in FAMILIES


# -- fuzzers ----------------------------------------------------------------------------------------------------------


def entries_are_linked(chain: Chain) -> Iterator[Orphan]:
    """Each entry point names its boundaries, has a corpus, and each input of that checks something."""
    boundaries = {line.anchor for line in chain.lines if line.sort is Sort.BOUNDARY}
    for entry in chain.entries:
        where = f"{entry.file}:{entry.line}"
        if not entry.boundaries:
            yield Orphan(
                where, "it names no trust boundary: put the line's anchor in brackets, as in (boundary-message)"
            )
        for anchor in entry.boundaries:
            if anchor not in boundaries:
                yield Orphan(where, f"the threat model has no trust boundary {anchor!r}")
        if not entry.listed:
            yield Orphan(where, "it is not in the registry of entry points: nothing says which invariants it checks")
        elif not any(one.checks for one in entry.inputs):
            yield Orphan(f"{entry.corpus}:1", f"{entry.file} has no input that checks an invariant")
        for one in entry.inputs:
            if not one.checks:
                yield Orphan(f"{entry.corpus}/{one.name}:1", "it checks no invariant")


def corpora_have_entries(chain: Chain) -> Iterator[Orphan]:
    """Each folder of corpus/ belongs to an entry point."""
    folders = sorted(path for path in (chain.root / "corpus").glob("*") if path.is_dir())
    for folder in folders:
        name = folder.relative_to(chain.root).as_posix()
        if name not in {entry.corpus for entry in chain.entries}:
            yield Orphan(f"fuzz/{folder.name}.py:1", f"{name} has no entry point")


def boundaries_are_fuzzed(chain: Chain) -> Iterator[Orphan]:
    """A trust boundary that a judged invariant holds is attacked by an entry point."""
    attacked = {anchor for entry in chain.entries for anchor in entry.boundaries} | ATTACKED_ELSEWHERE.keys()
    for line in chain.lines:
        judged = any(chain.is_judged(id_) for id_ in line.invariants)
        if line.sort is Sort.BOUNDARY and judged and line.anchor not in attacked:
            yield Orphan(_of_line(chain, line), f"{line.anchor}: no entry point in fuzz/ names it")


Rule = Callable[[Chain], Iterator[Orphan]]

RULES: Final[tuple[Rule, ...]] = (
    lines_are_answered,
    lines_are_on_the_page,
    threats_are_linked,
    invariants_are_linked,
    code_names_what_is_judged,
    code_is_executed,
    controls_name_what_is_judged,
    mentions_are_known,
    entries_are_linked,
    corpora_have_entries,
    boundaries_are_fuzzed,
)


# -- where it would go ------------------------------------------------------------------------------------------------


def _of_line(chain: Chain, line: Line) -> str:
    named = f'"{line.anchor}"'
    return f"{LINES_FILE}:{line_of(chain.root / LINES_FILE, named)}"


def _predicate(chain: Chain, predicate: Predicate) -> str:
    return f"{_shown(chain, Path(inspect.getfile(predicate)))}:{inspect.getsourcelines(predicate)[1]}"


def _tests(chain: Chain, predicate: Predicate) -> str:
    """The end of the tests of the invariant's own module."""
    path = chain.root / "tests" / "spec" / f"test_invariants_{predicate.__module__.split('.')[-1]}.py"
    return f"{_shown(chain, path)}:{line_of(path, _NO_SUCH_TEXT)}"


def _no_control(chain: Chain, predicate: Predicate) -> str:
    """The end of the controls of the invariant's own family."""
    path = CONTROLS / f"{predicate.__module__.split('.')[-1]}.py"
    return f"{_shown(chain, path)}:{line_of(path, _NO_SUCH_TEXT)}"


def _control(chain: Chain, control: Control) -> str:
    """Where a control is registered."""
    named = f'"{control.name}"'
    modules = (*sorted(CONTROLS.glob("*.py")), CONTROLS.parent / "trials" / "broken_pools.py")
    holders = (one for one in modules if named in one.read_text("utf-8"))
    path = next(holders, CONTROLS / "__init__.py")
    return f"{_shown(chain, path)}:{line_of(path, named)}"


CONTROLS: Final = Path(inspect.getfile(controls)).parent
"""The folder of the controls: a module for each family of invariants, named like that of the specification."""
_NO_SUCH_TEXT: Final = "\0"


def _shown(chain: Chain, path: Path) -> str:
    return path.relative_to(chain.root).as_posix()
