"""The pages that are written from the code, and the threat model answered line by line. `make docs` builds the site itself."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import pawl
from pawl_gate.traceability.answers import answers
from pawl_spec.invariants import INVARIANTS
from pawl_spec.threat_model import LINES
from tools import make_catalogue, make_site
from tools.examples import ROOT, documents

THREAT_MODEL = ROOT / "docs" / "explanation" / "threat-model.md"


def test_every_line_of_the_threat_model_is_answered() -> None:
    """Issue: "every line of the threat model answered: what we do, which invariant, what remains"."""
    page = THREAT_MODEL.read_text(encoding="utf-8")
    assert [answer.anchor for answer in answers(page)] == [line.anchor for line in LINES]
    assert page.count('<a id="') == len(LINES)


def test_answers_are_by_the_invariants_of_the_line() -> None:
    """Each answer links the ids that the line has in `pawl_spec.threat_model`, or says "none"."""
    page = THREAT_MODEL.read_text(encoding="utf-8")
    for answer, line in zip(answers(page), LINES, strict=True):
        assert answer.invariants == line.invariants, line.anchor
        assert answer.links == tuple(id_.lower() for id_ in line.invariants), line.anchor
    assert page.count("  Invariants: none.") == sum(not line.invariants for line in LINES)


def test_an_answer_without_its_parts_is_noticed() -> None:
    """Control: an answer that does not say what remains is no answer."""
    page = THREAT_MODEL.read_text(encoding="utf-8")
    at = page.index("  Remains:")
    broken = page[:at] + page[page.index("\n", at) + 1 :]
    assert len(answers(broken)) < len(LINES)


def seed() -> Path:
    return ROOT.parent / "shared" / "seed" / "threat-model.md"


@pytest.mark.skipif(not seed().is_file(), reason="the threat model lies outside of the project")
def test_no_line_of_the_threat_model_is_left_out() -> None:
    """Where it can be read: it has as many lines to answer as we have answers."""
    items = re.findall(r"^(?:- |\d+\. )", seed().read_text(encoding="utf-8"), re.M)
    assert len(items) == len(LINES)


def test_catalogue_is_the_registry() -> None:
    """`docs/reference/invariants.md` is what `make catalogue` writes."""
    assert make_catalogue.PAGE.read_text(encoding="utf-8") == make_catalogue.catalogue()


@pytest.mark.parametrize("entry", INVARIANTS, ids=lambda entry: entry.id)
def test_evidence_pages_show_code(entry: make_catalogue.Invariant) -> None:
    """A judged invariant's page shows its predicate and names its controls."""
    page = make_catalogue.evidence_page(entry)
    assert entry.claim in page
    assert ("@invariant(" in page) == (entry.predicate is not None)


def test_every_exported_name_is_on_the_api_page() -> None:
    """What `pawl` exports is on docs/reference/api.md: add `.. autoclass:: pawl.NAME` there."""
    page = (ROOT / "docs" / "reference" / "api.md").read_text(encoding="utf-8")
    shown = re.findall(r"^\.\. auto(?:class|function|data):: pawl\.(\w+)$", page, re.M)
    assert sorted(shown) == sorted(pawl.__all__)


def test_links_of_moved_pages_are_rewritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page outside of docs/ has another place on the site, and so have the links to it and in it."""
    monkeypatch.setattr(make_site, "SOURCE", tmp_path)
    places = {ROOT / "SECURITY.md": "project/security.md", THREAT_MODEL: "explanation/threat-model.md"}
    page = make_site.relinked(ROOT / "SECURITY.md", "project/security.md", places)
    assert "](../explanation/threat-model.md)" in page


def test_pages_load_nothing_from_elsewhere() -> None:
    """No page of ours embeds a picture, a script or a frame from the network."""
    embedded = re.compile(r"!\[[^]]*\]\(https?:|<(?:img|script|iframe|link)\b", re.I)
    assert [path.name for path in documents() if embedded.search(path.read_text(encoding="utf-8"))] == []
