"""The report in a real browser: it opens offline, is readable in light and dark and on a phone, and needs no mouse.

The ids in it are examples.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.gate import pages
from tests.gate.browser import opened, started

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

OPEN_ALL = "() => document.querySelectorAll('details').forEach(one => { one.open = true })"

BOTH = pytest.mark.parametrize("scheme", ["light", "dark"])
EVERY = pytest.mark.parametrize("name", pages.PAGES)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for the tests of this file."""
    with started() as browser:
        yield browser


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages, as files."""
    folder = tmp_path_factory.mktemp("pages")
    for name, make in pages.PAGES.items():
        (folder / f"{name}.html").write_text(make(), "utf-8")
    return folder


# -- alone ------------------------------------------------------------------------------------------------------------


@EVERY
def test_it_opens_from_its_file_and_asks_for_nothing(browser: Browser, folder: Path, name: str) -> None:
    """Issue: "opens offline". The only request is the file itself, and the console stays empty."""
    path = folder / f"{name}.html"
    with opened(browser, path) as (page, seen):
        page.evaluate(OPEN_ALL)
        page.wait_for_load_state("networkidle")
        assert seen.requests == [path.as_uri()]
        assert seen.complaints == []
        assert page.locator("h1").is_visible()


def test_hostile_text_does_nothing(browser: Browser, folder: Path) -> None:
    """A target that says <script>: no element comes of it, no title changes, no dialog opens."""
    with opened(browser, folder / "hostile.html") as (page, seen):
        assert page.locator("script, img, iframe, svg[onload]").count() == 0
        assert page.title() != "owned"
        assert pages.HOSTILE[0] in page.locator("h1").inner_text()
        assert seen.complaints == []


def test_the_policy_stops_what_was_not_escaped(browser: Browser, folder: Path, tmp_path: Path) -> None:
    """Control: markup planted in the page by hand neither runs, nor loads, nor styles; the browser complains of each."""
    planted = (
        "<script>document.title = 'owned'</script><img src='https://elsewhere.invalid/x.png' onerror='alert(1)'>"
        "<style>h1 { display: none }</style><p style='position: fixed'>x</p>"
    )
    path = tmp_path / "planted.html"
    path.write_text((folder / "green.html").read_text("utf-8").replace("</main>", planted + "</main>"), "utf-8")
    with opened(browser, path) as (page, seen):
        page.wait_for_load_state("networkidle")
        assert page.title() != "owned"
        assert page.locator("h1").is_visible()
        assert page.locator("main > p").evaluate("one => getComputedStyle(one).position") == "static"
        assert seen.failed == {"https://elsewhere.invalid/x.png": "csp"}
        assert seen.dialogs == []
        assert len([one for one in seen.console if "Content Security Policy" in one]) >= 4


# -- light and dark ---------------------------------------------------------------------------------------------------

CONTRASTS = """() => {
  const light = text => {
    const [r, g, b] = text.match(/[\\d.]+/g).map(Number).map(part => part / 255)
      .map(part => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = one => {
    for (; one; one = one.parentElement) {
      const colour = getComputedStyle(one).backgroundColor;
      if (colour !== 'rgba(0, 0, 0, 0)') return colour;
    }
  };
  const found = {};
  const words = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node; (node = words.nextNode());) {
    const one = node.parentElement;
    if (!node.data.trim() || one.closest('svg')) continue;
    const [high, low] = [light(getComputedStyle(one).color), light(ground(one))].sort((a, b) => b - a);
    const name = one.tagName.toLowerCase() + '.' + one.className;
    found[name] = Math.min(found[name] ?? 99, (high + 0.05) / (low + 0.05));
  }
  for (const one of document.querySelectorAll('svg text')) {
    const under = one.closest('svg').querySelector('.band');
    const grounds = [ground(one)].concat(under ? [getComputedStyle(under).fill] : []);
    for (const colour of grounds) {
      const [high, low] = [light(getComputedStyle(one).fill), light(colour)].sort((a, b) => b - a);
      const name = 'text.' + one.getAttribute('class');
      found[name] = Math.min(found[name] ?? 99, (high + 0.05) / (low + 0.05));
    }
  }
  return found;
}"""


@BOTH
@EVERY
def test_every_word_stands_out(browser: Browser, folder: Path, name: str, scheme: str) -> None:
    """WCAG 2.2, 1.4.3 (AA): text against its ground has a contrast of at least 4.5 to 1; computed from what is drawn."""
    with opened(browser, folder / f"{name}.html", color_scheme=scheme) as (page, _):
        page.evaluate(OPEN_ALL)
        contrasts = page.evaluate(CONTRASTS)
        assert len(contrasts) > 10
        assert {what: round(ratio, 2) for what, ratio in contrasts.items() if ratio < 4.5} == {}


def test_light_is_light_and_dark_is_dark(browser: Browser, folder: Path) -> None:
    """prefers-color-scheme is followed: the ground is light in one and dark in the other."""
    grounds = {}
    for scheme in ("light", "dark"):
        with opened(browser, folder / "red.html", color_scheme=scheme) as (page, _):
            colour = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
            grounds[scheme] = sum(int(part) for part in colour[4:-1].split(",")) / 3
    assert grounds["light"] > 200
    assert grounds["dark"] < 50


@pytest.mark.parametrize(
    ("name", "scheme"),
    [
        ("green", "dark"),
        ("red", "light"),
        ("expected", "dark"),
        ("hostile", "light"),
        # The largest by far; what differs in the dark are its contrasts, which are computed for every page above.
        ("trace", "light"),
        ("trace-missing", "light"),
        ("table", "light"),
        ("table", "dark"),
        ("table-hostile", "light"),
        ("interop", "light"),
        ("interop", "dark"),
        ("interop-hostile", "light"),
    ],
)
def test_axe_finds_nothing(browser: Browser, folder: Path, name: str, scheme: str) -> None:
    """The rules of axe-core, with everything open: names, roles, landmarks, headings, contrast."""
    from axe_playwright_python.sync_playwright import Axe

    with opened(browser, folder / f"{name}.html", color_scheme=scheme) as (page, _):
        page.evaluate(OPEN_ALL)
        results = Axe().run(page)
        assert results.violations_count == 0, results.generate_report()


# -- on a phone -------------------------------------------------------------------------------------------------------

WIDER = """() => [...document.body.querySelectorAll('*')]
  .filter(one => one.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
  .filter(one => !one.closest('.scroll') && !one.closest('.skip'))
  .map(one => one.outerHTML.slice(0, 90))"""


@pytest.mark.parametrize("width", [320, 360])
@EVERY
def test_the_page_is_as_wide_as_a_phone(browser: Browser, folder: Path, name: str, width: int) -> None:
    """No sideways scrolling of the page at 360 pixels (nor at 320: WCAG 2.2, 1.4.10); wide things scroll in their box."""
    with opened(browser, folder / f"{name}.html", viewport={"width": width, "height": 700}) as (page, _):
        for _ in range(2):
            assert page.evaluate(WIDER) == []
            assert page.evaluate("() => document.documentElement.scrollWidth") <= width
            page.evaluate("() => window.scrollTo(1000, 0)")
            assert page.evaluate("() => window.scrollX") == 0
            page.evaluate(OPEN_ALL)


def test_a_chart_scrolls_in_its_box_and_unfolds_as_a_list(browser: Browser, folder: Path) -> None:
    """On a phone the chart is wider than the screen and scrolls alone; its three lanes fit; the list says the same."""
    with opened(browser, folder / "red.html", viewport={"width": 360, "height": 700}) as (page, _):
        box = page.locator("figure.chart").first
        assert box.evaluate("one => one.scrollWidth > one.clientWidth")
        assert box.evaluate("one => { one.scrollLeft = 200; return one.scrollLeft }") > 0
        box.evaluate("one => { one.scrollLeft = 0 }")
        edge = box.evaluate("one => one.getBoundingClientRect().right")
        lanes = box.locator("rect.lane").evaluate_all("all => all.map(one => one.getBoundingClientRect().right)")
        assert max(lanes[:3]) <= edge
        steps = page.locator("article").first.locator(".steps")
        assert not steps.is_visible()
        page.locator("article").first.locator("summary").click()
        assert steps.is_visible()


OVERLAPS = """() => [...document.querySelectorAll('svg')].flatMap(svg => {
  const inside = { width: +svg.getAttribute('width'), height: +svg.getAttribute('height') };
  const boxes = [...svg.querySelectorAll('text')].map(one => [one.textContent, one.getBBox()]);
  const out = boxes.filter(([, box]) =>
    box.x < 0 || box.y < 0 || box.x + box.width > inside.width || box.y + box.height > inside.height);
  const over = boxes.flatMap(([text, box], at) => boxes.slice(at + 1).filter(([, other]) =>
    box.x < other.x + other.width && other.x < box.x + box.width &&
    box.y + 2 < other.y + other.height && other.y + 2 < box.y + box.height).map(([other]) => [text, other]));
  return [...out.map(([text]) => ['outside', text]), ...over];
})"""


@EVERY
def test_no_word_of_a_chart_covers_another(browser: Browser, folder: Path, name: str) -> None:
    """The places of words are worked out without a browser: measured in one, none overlaps and none is cut off."""
    with opened(browser, folder / f"{name}.html") as (page, _):
        assert page.evaluate(OVERLAPS) == []


# -- without a mouse --------------------------------------------------------------------------------------------------

FOCUS = """() => {
  const one = document.activeElement;
  const box = one.getBoundingClientRect();
  return {
    number: [...document.querySelectorAll('*')].indexOf(one),
    tag: one.tagName.toLowerCase(),
    text: one.innerText || '',
    outline: getComputedStyle(one).outlineStyle,
    seen: box.width > 0 && box.right > 0 && box.bottom > 0 && box.left < innerWidth && box.top < innerHeight,
    open: one.parentElement && one.parentElement.open,
  };
}"""

STOPS = (
    """() => [...document.querySelectorAll('a, summary, [tabindex="0"]')].filter(one => one.checkVisibility()).length"""
)


def stop(page: Page, key: str = "Tab") -> dict[str, Any]:
    """Press a key; what has the focus then."""
    page.keyboard.press(key)
    found: dict[str, Any] = page.evaluate(FOCUS)
    return found


@pytest.mark.parametrize("name", ["red", "trace", "table", "interop"])
def test_tab_finds_everything_in_order(browser: Browser, folder: Path, name: str) -> None:
    """Tab goes through every link, fold and scrolling box in the order of the page; each is seen, with a frame."""
    with opened(browser, folder / f"{name}.html") as (page, _):
        visited = [stop(page)]
        assert visited[0]["text"] == "Skip to the verdict"
        while (now := stop(page))["tag"] != "body":
            visited.append(now)
        numbers = [one["number"] for one in visited]
        assert numbers == sorted(set(numbers))
        assert len(visited) == page.evaluate(STOPS)
        assert [one for one in visited if not one["seen"] or one["outline"] == "none"] == []


def test_the_skip_link_skips(browser: Browser, folder: Path) -> None:
    """Enter on the skip link goes past the menu: the next stop lies in the page's main part."""
    with opened(browser, folder / "red.html") as (page, _):
        stop(page)
        stop(page, "Enter")
        stop(page)
        assert page.evaluate("() => document.activeElement.closest('main') !== null")


def test_enter_opens_and_closes_each_fold(browser: Browser, folder: Path) -> None:
    """Every fold that Tab comes to opens with Enter and closes with Enter."""
    with opened(browser, folder / "red.html") as (page, _):
        page.evaluate("() => document.querySelectorAll('details').forEach(one => { one.open = false })")
        folds = 0
        while (now := stop(page))["tag"] != "body":
            if now["tag"] == "summary":
                assert stop(page, "Enter")["open"] is True, now["text"]
                assert stop(page, "Enter")["open"] is False, now["text"]
                folds += 1
        assert folds == page.locator("summary:visible").count() > 50


def test_a_link_to_an_invariant_opens_it(browser: Browser, folder: Path) -> None:
    """From a counterexample to the invariant and back: what the link leads to is unfolded and in sight."""
    with opened(browser, folder / "red.html") as (page, _):
        place = page.locator("#ctr-03")
        assert not place.is_visible()
        page.get_by_role("link", name="More on CTR-03").press("Enter")
        place.wait_for(state="visible")
        assert page.evaluate("() => location.hash") == "#ctr-03"
        page.get_by_role("link", name="The counterexample of CTR-03").press("Enter")
        assert page.locator("#found-ctr-03").evaluate("one => Math.abs(one.getBoundingClientRect().top) < innerHeight")


@BOTH
def test_a_cell_of_the_table_opens_its_counterexample(browser: Browser, folder: Path, scheme: str) -> None:
    """Issue 9: "A page shows the table target x invariant with the counterexample behind each cell": by click and by key."""
    for press in ("click", "key"):
        with opened(browser, folder / "table.html", color_scheme=scheme) as (page, seen):
            place = page.locator("#target-2-ctr-03")
            assert not place.is_visible()
            cell = page.get_by_role("link", name="CTR-03 on control:duplicate-accepted")
            assert cell.inner_text().split("\n")[-2:] == ["violated", "expected, peer"]
            if press == "click":
                cell.click()
            else:
                cell.press("Enter")
            place.wait_for(state="visible")
            chart = place.get_by_role("region", name="CTR-03: sequence chart")
            assert chart.is_visible()
            assert chart.locator("text.broken").count() >= 1
            assert "pawl finding export control:duplicate-accepted CTR-03" in place.inner_text()
            assert page.evaluate("() => location.hash") == "#target-2-ctr-03"
            # And back, to its row.
            place.get_by_role("link", name="CTR-03 in the table").press("Enter")
            assert page.locator("tr#ctr-03").evaluate("one => Math.abs(one.getBoundingClientRect().top) < innerHeight")
            assert seen.complaints == []
            assert len(seen.requests) == 1


def test_every_open_cell_of_the_table_leads_somewhere(browser: Browser, folder: Path) -> None:
    """No link of the page is dead, and every violated cell has one."""
    with opened(browser, folder / "table.html") as (page, _):
        dead = page.evaluate(
            "() => [...document.querySelectorAll('a')].map(one => one.getAttribute('href'))"
            ".filter(to => !document.getElementById(to.slice(1)))"
        )
        assert dead == []
        cells = page.evaluate(
            "() => [...document.querySelectorAll('.grid td')].map(one => [one.innerText.split('\\n').slice(-2, -1)[0],"
            " one.querySelector('a') !== null])"
        )
        assert {word for word, _ in cells} >= {"holds", "violated", "vanished", "not judged"}
        assert [word for word, has_link in cells if has_link != (word in ("violated", "vanished"))] == []


def test_from_a_line_to_the_code_and_the_evidence(browser: Browser, folder: Path) -> None:
    """Issue: "a reviewer clicks from a threat to the lines of code and to the last evidence": without a mouse."""
    with opened(browser, folder / "trace.html") as (page, _):
        line = page.locator("#line-replay-counters")
        line.get_by_role("link", name="T-REPLAY").press("Enter")
        assert page.evaluate("() => location.hash") == "#t-replay"
        page.locator("#t-replay").get_by_role("link", name="CTR-06", exact=True).press("Enter")
        place = page.locator("#ctr-06")
        place.wait_for(state="visible")
        code = place.get_by_role("region", name="CTR-06: src/pawl/session/prekeys.py")
        assert "def find_prekey(" in code.inner_text()
        (named,) = code.locator("mark").all_inner_texts()
        assert "(CTR-06)" in named
        assert "holds; checked 1,234 times; scenarios: 1,000 times on 56 traces" in place.inner_text()
        # And back to the lines.
        place.get_by_role("link", name="counter checks and rejection").press("Enter")
        assert line.evaluate("one => Math.abs(one.getBoundingClientRect().top) < innerHeight")


def test_what_a_link_opens_shows_its_name(browser: Browser, folder: Path) -> None:
    """The id and the claim stand above what is unfolded: they are in sight too."""
    with opened(browser, folder / "trace.html") as (page, _):
        page.evaluate("() => { location.hash = '#ctr-06' }")
        page.locator("#ctr-06").wait_for(state="visible")
        summary = page.locator("summary", has_text="CTR-06").first
        assert summary.evaluate("one => one.getBoundingClientRect().top >= 0")


# -- the interop matrix -----------------------------------------------------------------------------------------------


def test_a_cell_opens_its_transcript(browser: Browser, folder: Path) -> None:
    """Issue: "a self-contained HTML page on which a cell opens the transcript", without a mouse; each cell its own."""
    with opened(browser, folder / "interop.html") as (page, seen):
        section = page.locator("#scenarios")
        link = section.get_by_role("link", name="pass: pawl with pawl-earlier, loss")
        assert not page.locator(f"[id='{link.get_attribute('href')[1:]}']").is_visible()
        link.press("Enter")
        place = page.locator(f"[id='{link.get_attribute('href')[1:]}']")
        place.wait_for(state="visible")
        said = place.inner_text()
        assert "Alice is pawl; Bob is pawl-earlier." in said
        assert "alice starts a session from bob's bundle" in said
        assert "the network loses m" in said
        # What was opened has its name above it, in sight.
        summary = place.locator("xpath=preceding-sibling::summary")
        assert summary.inner_text().startswith("loss pass")
        assert summary.evaluate("one => one.getBoundingClientRect().top >= 0")
        assert seen.complaints == []


def test_every_cell_leads_to_its_own_transcript(browser: Browser, folder: Path) -> None:
    """Whatever a link of the tables says is what the place that it leads to says."""
    with opened(browser, folder / "interop.html") as (page, _):
        page.evaluate(OPEN_ALL)
        cells = page.locator("#scenarios a.cell, #failures a.cell").evaluate_all(
            "all => all.map(one => [one.getAttribute('aria-label'), one.getAttribute('href')])"
        )
        assert len(cells) > 36
        for label, href in cells:
            word, rest = label.split(": ", 1)
            pair, scenario = rest.rsplit(", ", 1)
            summary = page.locator(f"details:has(> [id='{href[1:]}']) > summary").inner_text()
            assert summary.startswith(f"{scenario} {word} {pair}"), label


def test_a_failed_cell_shows_the_chart_and_how_to_see_it_again(browser: Browser, folder: Path) -> None:
    """A counterexample is a sequence chart with the step that broke; the reason of a known one stands there."""
    with opened(browser, folder / "interop.html") as (page, _):
        link = page.locator("#failures").get_by_role(
            "link", name="known fail: control:counter-from-one with pawl, loss"
        )
        link.press("Enter")
        place = page.locator(f"[id='{link.get_attribute('href')[1:]}']")
        place.wait_for(state="visible")
        assert place.locator("figure.chart svg .band").count() == 1
        said = place.inner_text()
        assert "Expected: it is a control" in said
        assert "No better with itself: control:counter-from-one." in said
        assert "pawl interop --target control:counter-from-one --target pawl --scenario loss --jobs 1" in said
        words = place.locator("details")
        assert not words.locator("ol").is_visible()
        words.locator("summary").press("Enter")
        assert "Broken here" in words.inner_text()


def test_what_was_understood_with_findings_is_told_from_a_failure(browser: Browser, folder: Path) -> None:
    """By its word, not by colour alone: in the list, in the tables, in the overview and in the legend; its chart shows
    where something was found, and its text does not say that it failed."""
    control = "control:encoding-not-canonical"
    with opened(browser, folder / "interop.html") as (page, _):
        assert page.locator("#failures").get_by_role("link", name=f"{control} with pawl").count() == 0
        link = page.locator("#findings").get_by_role("link", name=f"known findings: {control} with pawl-earlier, loss")
        link.press("Enter")
        place = page.locator(f"[id='{link.get_attribute('href')[1:]}']")
        place.wait_for(state="visible")
        said = place.inner_text()
        assert "Understood, and found: step 1" in said
        assert "Not understood" not in said
        assert f"No better with itself: {control}." in said
        assert place.locator("figure.chart svg .band").count() == 1
        assert (
            page.locator("#matrix").get_by_role("link", name=f"4/4, 2 with findings: {control} with pawl").count() == 1
        )
        legend = page.locator("#matrix dl.states")
        words = legend.locator(".chip").all_inner_texts()
        assert words == ["pass", "findings", "known findings", "fail", "known fail", "gap", "broken"]
        assert "better than listed" in page.locator("#verdict").inner_text().lower()
        assert (
            f"{control} x pawl, loss: understood PAR-02, listed as fail PAR-02" in page.locator("#verdict").inner_text()
        )


def test_the_overview_leads_to_a_pair(browser: Browser, folder: Path) -> None:
    """From the table of all to the transcripts of one pair, by Enter; new failures and vanished ones are at the top."""
    with opened(browser, folder / "interop.html") as (page, _):
        page.locator("#matrix").get_by_role("link", name="4/4: pawl with pawl", exact=True).press("Enter")
        place = page.locator(page.evaluate("() => location.hash"))
        assert place.inner_text() == "pawl with pawl"
        assert place.evaluate("one => Math.abs(one.getBoundingClientRect().top) < innerHeight")
        verdict = page.locator("#verdict").inner_text()
        assert "control:counter-from-one x pawl, establish-with-prekey" in verdict
        assert "pawl x pawl, group" in verdict
        assert "another. run make setup" in verdict


def test_a_hostile_implementation_in_the_matrix(browser: Browser, folder: Path) -> None:
    """Names, reasons and refusals that want to be markup stay text."""
    with opened(browser, folder / "interop-hostile.html") as (page, seen):
        page.evaluate(OPEN_ALL)
        assert page.locator("script, img, iframe, svg[onload]").count() == 0
        assert page.title() != "owned"
        assert seen.complaints == []
