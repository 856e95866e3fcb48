"""The report as a page: everything is on it, nothing is fetched by it, and what a target says stays text.

What a browser makes of it is in test_page_in_browser.py. The ids in it are examples.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections import Counter
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from itertools import pairwise

import pytest

from pawl_gate import page
from pawl_gate.chart import Note, Step, layout
from pawl_gate.expect import Expected
from pawl_gate.explain import explain
from pawl_gate.page.picture import picture
from pawl_gate.report_text import FAMILIES, family
from pawl_gate.verify import Exit
from pawl_gate.visible import visible
from pawl_spec.history import Observe
from pawl_spec.invariants import INVARIANTS
from pawl_spec.judge import Tally, Verdict
from pawl_spec.registry import THREATS
from tests.gate import pages

VOID = {"meta", "link", "br", "rect", "line", "path", "circle"}


@dataclass
class Element:
    tag: str
    attributes: dict[str, str]
    text: str = ""
    inside: list[str] = field(default_factory=list)
    """Tags of what it is in."""


class Reader(HTMLParser):
    """All elements of a page, with the text under each. Fails where tags are not well nested."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[Element] = []
        self._open: list[Element] = []
        self._pieces: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs}, inside=[one.tag for one in self._open])
        self.elements.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(Element(tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self._open, f"</{tag}> closes nothing"
        assert self._open.pop().tag == tag

    def handle_data(self, data: str) -> None:
        for element in self._open:
            element.text += data
        if "body" in {element.tag for element in self._open}:
            self._pieces.append(data)

    def all(self, *tags: str) -> list[Element]:
        return [element for element in self.elements if element.tag in tags]

    def words(self) -> str:
        """All text of the body, a space between two elements."""
        return " ".join(" ".join(self._pieces).split())


@pytest.fixture(params=pages.PAGES)
def html(request: pytest.FixtureRequest) -> str:
    """Each kind of page."""
    return pages.PAGES[request.param]()


# -- nothing from elsewhere -------------------------------------------------------------------------------------------


def test_the_page_is_one_file_without_scripts(html: str) -> None:
    """Issue: "One self-contained HTML file that opens offline". Nothing is loaded, nothing runs, no style is inline."""
    reader = Reader(html)
    loading = {"script", "link", "img", "iframe", "object", "embed", "base", "form", "image", "use", "audio", "video"}
    assert reader.all(*loading) == []
    for element in reader.elements:
        assert not {name for name in element.attributes if name.startswith("on") or name == "style"}
        assert "src" not in element.attributes
        assert element.attributes.get("href", "#").startswith("#")
    (css,) = reader.all("style")
    assert "url(" not in css.text
    assert "@import" not in css.text


def test_the_policy_allows_its_own_style_and_nothing_else(html: str) -> None:
    """A Content-Security-Policy: even what was left unescaped could neither run nor load. It stands before the style."""
    reader = Reader(html)
    (policy,) = [one for one in reader.all("meta") if one.attributes.get("http-equiv") == "Content-Security-Policy"]
    (css,) = reader.all("style")
    assert reader.elements.index(policy) < reader.elements.index(css)
    digest = base64.b64encode(hashlib.sha256(css.text.encode()).digest()).decode()
    rules = dict(rule.split(" ", 1) for rule in policy.attributes["content"].split("; "))
    assert rules == {
        "default-src": "'none'",
        "style-src": f"'sha256-{digest}'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }


def test_hostile_text_is_shown_as_text() -> None:
    """Everything that comes from a target is hostile text: it is on the page, letter by letter, as text."""
    html = pages.hostile()
    reader = Reader(html)
    words = reader.words()
    for text in pages.HOSTILE:
        shown = " ".join(visible(text).split())
        assert shown in words
        assert shown in "".join(one.text for one in reader.all("h1", "dd", "p"))
    assert pages.HOSTILE[0] in reader.all("title")[0].text
    assert "<script" not in html
    assert "{{ 7 * 7 }}" in words
    # Own words of a target stand in the chart and in the list of its steps.
    for tag in ("svg", "li"):
        assert any("<img src=https://elsewhere.invalid/x" in " ".join(one.text.split()) for one in reader.all(tag))


def test_what_cannot_be_seen_is_spelled_out() -> None:
    """Marks that turn a line round, cursor movements and lone surrogates are spelled; the page can be encoded."""
    html = pages.hostile()
    assert not [one for one in html if not one.isprintable() and one != "\n"]
    assert html.encode()
    assert r"\u202eturned round\u202c\x1b[2J\x00\ud800" in html


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("é 語 🔑", "é 語 🔑"),
        ("a\tb\nc", "a\tb\nc"),
        ("\x1b[31m", r"\x1b[31m"),
        ("\u202e", r"\u202e"),
        ("\u2028", r"\u2028"),
        ("\ud800", r"\ud800"),
        ("\x85", r"\x85"),
        ("\U000e0001", r"\U000e0001"),
    ],
)
def test_visible(text: str, shown: str) -> None:
    """Letters of any language stay; what has no picture of its own is spelled."""
    assert visible(text) == shown


# -- a page that works ------------------------------------------------------------------------------------------------


def test_links_ids_and_headings(html: str) -> None:
    """Every link leads to a place of the page, ids are unique, headings follow each other without a gap."""
    reader = Reader(html)
    ids = Counter(one.attributes["id"] for one in reader.elements if "id" in one.attributes)
    assert [name for name, count in ids.items() if count > 1] == []
    named = [one.attributes["href"][1:] for one in reader.all("a")]
    for attribute in ("aria-labelledby", "aria-describedby"):
        named += [one.attributes[attribute] for one in reader.elements if attribute in one.attributes]
    assert [name for name in named if name not in ids] == []
    levels = [int(one.tag[1]) for one in reader.all("h1", "h2", "h3", "h4", "h5", "h6")]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_landmarks(html: str) -> None:
    """A skip link first, then header, navigation, main and footer, each once."""
    reader = Reader(html)
    body = [one for one in reader.elements if one.inside and one.inside[0] == "html" and "body" in one.inside]
    assert (body[0].tag, body[0].attributes["href"]) == ("a", "#main")
    for tag in ("header", "nav", "main", "footer"):
        assert len(reader.all(tag)) == 1
    assert reader.all("html")[0].attributes["lang"] == "en"


def test_same_input_same_bytes() -> None:
    """The page depends on its arguments alone."""
    assert [one() for one in pages.PAGES.values()] == [one() for one in pages.PAGES.values()]


# -- what is on it ----------------------------------------------------------------------------------------------------


def test_the_verdict_comes_first() -> None:
    """Verdict first: holds, broken by which invariants, or incomplete; and what to do next."""
    for html, word, says, then in (
        (pages.green(), "holds", "holds: all", "--budget pr --seed 0"),
        (pages.incomplete(), "incomplete", "the run is incomplete", "never reached, so nothing is known of it: "),
        (pages.red(), "does not hold", "does not hold: ATM-02, CTR-03", "pawl replay build/findings/"),
    ):
        reader = Reader(html)
        assert reader.all("title")[0].text.startswith(f"{word}: ")
        assert says in reader.all("h1")[0].text
        verdict = reader.all("section")[0]
        assert verdict.attributes["id"] == "verdict"
        assert then in " ".join(verdict.text.split())


@pytest.mark.parametrize("name", ["green", "red"])
def test_every_invariant_is_there(name: str) -> None:
    """By family, with verdict, evidence, level, what is not covered, needs, refusals, and what `pawl explain` says."""
    report = pages.run_of("pawl" if name == "green" else "control:duplicate-accepted")
    reader = Reader(pages.PAGES[name]())
    entries = [one for one in reader.all("details") if one.attributes.get("class") == "invariant"]
    assert len(entries) == len(INVARIANTS)
    by_id = {one.text.split()[0]: " ".join(one.text.split()) for one in entries}
    for invariant in INVARIANTS:
        text = by_id[invariant.id]
        verdict = report.tally.verdict(invariant)
        known = explain(invariant)
        said = [invariant.claim, invariant.pending]
        said += [{Verdict.PENDING: "not yet judged", Verdict.NOT_REACHED: "not reached"}.get(verdict, verdict.value)]
        said += [f"{control.target} {control.what}" for control in known.controls]
        said += [source.code for source in known.predicate]
        said += [f"{place.file}:{place.line}" for place in (*known.code, *(known.tests or ()))]
        if count := report.tally.checked[invariant.id]:
            said.append(f"{count:,}" if count > 1 else "once")
        assert [one for one in said if " ".join(one.split()) not in text] == []
    # The predicate's code says some of this too, so it is looked for in the list of facts alone.
    lists = [" ".join(one.text.split()) for one in reader.all("dl") if "details" in one.inside]
    shown = [invariant for name in FAMILIES for invariant in INVARIANTS if family(invariant.id) == name]
    for invariant, facts in zip(shown, lists, strict=True):
        assert f"Threat{invariant.threat}. {THREATS[invariant.threat]}" in facts
        assert invariant.source in facts
        if invariant.predicate is not None:
            assert f"at observation level L{invariant.level.value}" in facts
            assert f"Needs{', '.join(sorted(invariant.needs)) or 'no capability'}" in facts
            assert ", ".join(invariant.refusals) in facts
            assert f"Not covered{' '.join(invariant.not_covered.split()) or 'nothing is named'}" in facts


def test_the_evidence_adds_up() -> None:
    """What each engine checked is, together, what was checked; on no more traces than it ran."""
    report = pages.run_of("pawl")
    for invariant in INVARIANTS:
        assert sum(engine.checked[invariant.id] for engine in report.engines) == report.tally.checked[invariant.id]
        for engine in report.engines:
            # What is put on trial plays no traces: it counts as one.
            most = engine.traces if " on " not in engine.name else 1
            assert engine.checked_on[invariant.id] <= min(most, engine.checked[invariant.id])


def test_what_nothing_is_said_of_says_why() -> None:
    """Unsupported, not reached, not yet judged: each with its reason, and never as holding."""
    report = pages.run_of("pawl")
    hello = replace(report.hello, level=Observe.WIRE, capabilities=report.hello.capabilities - {"approve"})
    report = replace(report, hello=hello, tally=Tally(hello), engines=[])
    entries = [
        one for one in Reader(pages.page_of(report)).all("details") if one.attributes.get("class") == "invariant"
    ]
    by_id = {one.text.split()[0]: " ".join(one.text.split()) for one in entries}
    assert "KEY-01 unsupported" in by_id["KEY-01"]
    assert "needs observation level L2, the target offers L0" in by_id["KEY-01"]
    assert "needs approve, which the target declares that it lacks" in by_id["IDC-08"]
    missed = report.with_verdict(Verdict.NOT_REACHED)[0]
    assert f"{missed.id} not reached" in by_id[missed.id]
    assert "Nothing is said of it: no trace came to a place where it could be checked" in by_id[missed.id]
    for pending in report.with_verdict(Verdict.PENDING):
        assert f"{pending.id} not yet judged" in by_id[pending.id]
        assert f"Nothing is said of it: {pending.pending}" in by_id[pending.id]


def test_what_was_reached_is_there() -> None:
    """Operations, refusals by code, ratchet steps, crashes, engines; and what was never met."""
    report = pages.run_of("pawl")
    reader = Reader(pages.green())
    words = reader.words()
    for name, count in (*report.reached.operations.items(), *report.reached.refusals.items()):
        assert f" {name} {count:,} " in words
    for name, count in (("ratchet steps", report.reached.ratchet_steps), ("crashes, as asked", report.reached.crashes)):
        assert f" {name} {count:,} " in words
    for engine in report.engines:
        assert f" {engine.name} {engine.traces:,} {engine.steps:,} " in words
    assert "Never carried out: " in words


def test_the_run_is_there() -> None:
    """Versions, target, seed, budget, the time that was stated, and the command for the same run."""
    words = Reader(pages.red()).words()
    assert "pawl verify --target control:duplicate-accepted --budget smoke --seed 0" in words
    assert "2026-11-01 12:00 UTC" in words
    for name in ("pawl-signal", "cryptography", "PyNaCl", "protobuf", "hypothesis", "CPython"):
        assert re.search(rf"{name} ?\d", words)


def test_each_counterexample_is_a_chart_a_list_and_a_command() -> None:
    """Drawn from the same layout as in the terminal: as many arrows, rows and broken rows, and every word of it."""
    report = pages.run_of("control:duplicate-accepted")
    html = pages.red()
    reader = Reader(html)
    charts = reader.all("svg")
    assert len(charts) == len(report.found) > 1
    lists = [one for one in reader.all("ol") if one.attributes.get("class") == "steps"]
    for (id_, found), drawn, listed in zip(report.by_size(), charts, lists, strict=True):
        what = layout(found.history, broken=found.broken.violation, rows=40)
        assert id_ in drawn.text
        squeezed, listing = "".join(drawn.text.split()), " ".join(listed.text.split())
        for row in what.rows:
            assert "".join(row.text.split()) in squeezed
            assert row.text in listing
        assert f"pawl replay build/findings/{id_}.json --target control:duplicate-accepted" in reader.words()
        assert found.broken.violation.what in listing


def test_expected_findings_have_their_reasons() -> None:
    """Where --expect was given: each finding with its reason, what is new, and what vanished."""
    words = Reader(pages.expected()).words()
    assert "is not as expected" in words
    assert "CTR-03 found, as expected it is a control" in words
    assert "GRP-01 vanished it was there once" in words
    assert "ATM-02 new Not on the list." in words
    assert "New: ATM-02 does not hold; mend it" in words
    assert "--seed 0 --expect 'expected list.json'" in words


def test_as_expected_is_not_called_holding() -> None:
    """Known violations are violations: the page says "as expected" and gives the reasons, never "nothing to mend"."""
    report = pages.run_of("control:duplicate-accepted")
    known = Expected(report.target, dict.fromkeys(report.found, "known"))
    reader = Reader(pages.page_of(report, known, Exit.HOLDS))
    assert reader.all("title")[0].text.startswith("as expected: ")
    assert "Every violation is a known one" in reader.words()
    assert "--budget pr --seed 0 --expect 'expected list.json'" in reader.words()
    assert "Nothing needs to be mended" not in reader.words()


def test_findings_that_were_not_saved_have_no_command() -> None:
    """No command that would fail."""
    report = pages.run_of("control:duplicate-accepted")
    words = Reader(page.render(report, {}, None, Exit.VIOLATED, made=pages.MADE)).words()
    assert "pawl replay" not in words
    assert "The trace could not be saved." in words


# -- the picture ------------------------------------------------------------------------------------------------------


def test_everything_lies_inside_the_picture() -> None:
    """No arrow, word or band reaches over the edge."""
    for report in (pages.run_of("control:duplicate-accepted"), pages.hostile_run()):
        for found in report.found.values():
            what = layout(found.history, broken=found.broken.violation)
            drawn = picture(what)
            for words in drawn.words:
                assert 0 < words.y < drawn.height
                if words.kind in ("text", "broken"):
                    assert words.x + 7.3 * len(words.text) <= drawn.width
            for shaft in drawn.shafts:
                assert 0 < min(shaft.x1, shaft.x2) < max(shaft.x1, shaft.x2) < drawn.width
            rows = [row for row in what.rows if isinstance(row, Step)]
            assert len(drawn.shafts) == sum(len(row.arrows) for row in rows)
            assert len(drawn.dots) == sum(row.at is not None for row in rows)
            assert len(drawn.bands) == sum(row.broken is not None for row in rows) == 1
            assert sum(one.kind == "note" for one in drawn.words) == sum(isinstance(row, Note) for row in what.rows)
            for top, height in drawn.bands:
                assert 0 < top < top + height < drawn.height


def test_refused_arrows_end_before_the_lane_in_a_cross() -> None:
    """As `--x` in the terminal: what was refused does not arrive; what was accepted does."""
    shafts = set()
    for report in (pages.hostile_run(), pages.run_of("control:duplicate-accepted")):
        for found in report.found.values():
            drawn = picture(layout(found.history, broken=found.broken.violation))
            for shaft in drawn.shafts:
                distance = min(abs(shaft.x2 - lane.x) for lane in drawn.lanes)
                shafts.add((shaft.arrives, distance > 5))
    assert shafts == {(True, False), (False, True)}
