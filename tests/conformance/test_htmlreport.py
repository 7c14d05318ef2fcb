"""The page with the matrix: as text, and in a real browser."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest
from attrs import evolve, field, frozen

from ptipc.conformance import htmlreport
from ptipc.conformance.comparison import compare
from ptipc.conformance.htmlreport import page
from ptipc.conformance.report import write
from ptipc.conformance.runs import MARKS, Run, visible
from ptipc.conformance.verdicts import Outcome, Transcript
from tests.conformance.browser import Browser
from tests.conformance.samples import NASTY, TRANSCRIPT, quiet, samples, verdict

# --- what is compared -----------------------------------------------------------------------------


def names(*runs: Run) -> list[str]:
    return [group.name for group in compare(runs).groups]


def test_runs_of_one_program_that_judge_different_things_come_together() -> None:
    client = quiet(what="client a")
    server = evolve(client, what="server a", verdicts=[verdict("server.start.order")])
    matrix = compare([client, server])
    assert names(client, server) == ["good"]
    assert [column.name for column in matrix.columns] == ["good, PT 1"]
    assert [id for id, row in matrix.rows.items() if row == 3] == ["server.start.order"]


def test_versions_of_a_program_stand_side_by_side() -> None:
    assert names(quiet(version="2"), quiet(version="1")) == ["good 1", "good 2"]


def test_the_same_program_twice_is_told_apart() -> None:
    assert names(quiet(what="a"), quiet(what="b")) == ["good (a)", "good (b)"]
    assert names(quiet(time="1"), quiet(time="2")) == ["good (1)", "good (2)"]
    assert names(quiet(), quiet()) == ["good (1)", "good (2)"]


def test_what_judged_nothing_is_left_out() -> None:
    assert names(Run(program="pt", dialects=("1",)), quiet()) == ["good"]


def test_addresses_of_columns_are_unique() -> None:
    columns = compare([quiet("a b"), quiet("a/b")]).columns
    assert [column.slug for column in columns] == ["a-b-PT-1", "a-b-PT-1-1"]


def test_the_most_binding_cases_of_an_area_come_first() -> None:
    run = Run(
        program="pt",
        verdicts=[
            verdict("a.b.one", level="MAY"),
            verdict("a.b.two", level="MUST"),
            verdict("a.a.three", level="INTEROP"),
        ],
    )
    assert list(compare([run]).rows) == ["a.a.three", "a.b.two", "a.b.one"]


# --- the page as text -----------------------------------------------------------------------------


@frozen
class Element:
    tag: str
    attributes: dict[str, str]
    text: list[str] = field(factory=list)


class Elements(HTMLParser):
    """The elements of a page, flat, each with the text behind its start."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[Element] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append(Element(tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        if self.found:
            self.found[-1].text.append(data)


@pytest.fixture(scope="module")
def whole() -> str:
    return page(samples())


@pytest.fixture(scope="module")
def elements(whole: str) -> list[Element]:
    return Elements(whole).found


def test_the_page_asks_the_network_for_nothing(elements: list[Element]) -> None:
    assert not {"img", "iframe", "object", "embed", "base"} & {each.tag for each in elements}
    for each in elements:
        assert "src" not in each.attributes
        assert each.attributes.get("href", "#").startswith(("#", "data:,"))


def test_the_policy_allows_our_own_style_and_script_and_nothing_else(whole: str) -> None:
    found = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', whole)
    assert found is not None
    policy = dict(rule.split(" ", 1) for rule in found[1].split("; "))
    assert policy["default-src"] == "'none'"
    for tag in ("style", "script"):
        (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>", whole, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert policy[f"{tag}-src"] == f"'sha256-{digest}'"


def test_no_element_has_a_style_or_a_handler_of_its_own(elements: list[Element]) -> None:
    """The policy would refuse them."""
    for each in elements:
        assert not any(name == "style" or name.startswith("on") for name in each.attributes)


def test_nothing_of_a_program_is_markup(whole: str) -> None:
    assert whole.count("<script") == 1
    assert whole.count("<noscript") == whole.count("</noscript")
    assert "\x1b" not in whole
    assert visible(NASTY) in unescape(whole)
    whole.encode("utf-8")


def test_names_of_programs_and_cases_are_not_markup() -> None:
    run = Run(program=NASTY, what=NASTY, verdicts=[evolve(verdict("a.b"), title=NASTY, rule=NASTY)])
    assert page([run]).count("<script") == 1


def test_every_verdict_has_a_cell_and_details(elements: list[Element]) -> None:
    runs = samples()
    links = [
        each.attributes["href"][1:]
        for each in elements
        if re.fullmatch(r"#v\d+-\d+", each.attributes.get("href", ""))
        and "short" not in each.attributes.get("class", "")
    ]
    number = sum(len(run.verdicts) for run in runs)
    ids = [each.attributes["id"] for each in elements if "id" in each.attributes]
    assert len(links) == len(set(links)) == number
    assert set(links) < set(ids)
    assert len(ids) == len(set(ids))


def test_every_mark_is_a_word_and_explained(whole: str) -> None:
    for mark in MARKS:
        assert f">{mark.word}</a>" in whole
        assert f">{mark.word}</b><dd>{unescape(mark.meaning)}" in unescape(whole)


def test_every_case_can_be_linked_to(elements: list[Element]) -> None:
    articles = {each.attributes["id"] for each in elements if each.tag == "article"}
    assert articles == set(compare(samples()).rows)


def test_the_summary_names_the_worst_of_each_column(whole: str) -> None:
    table = whole[whole.index('<table class="summary">') : whole.index("</table>")]
    assert re.findall(r'class="short (\w+)"[^>]*>([^<]*)<', table) == [
        ("fail", "1 failed"),
        ("fail", "1 failed"),
        ("pass", "no findings"),
    ]


def test_a_log_of_what_passed_is_left_out_of_a_long_page(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(program="pt", verdicts=[verdict("a.b"), verdict("a.c", Outcome.FAILED)])
    assert page([run]).count("<ol class=log>") == 2
    monkeypatch.setattr(htmlreport, "LOGS", 1)
    assert page([run]).count("<ol class=log>") == 1
    assert page([run]).count("The log is left out here") == 1


def test_a_verdict_may_say_little() -> None:
    """Neither what was sent, nor how to see it again, nor what happened."""
    bare = evolve(verdict("a.b"), sent="", reproduce="", transcript=Transcript())
    assert "To see it again" not in page([Run(program="pt", verdicts=[bare])])
    told = evolve(bare, transcript=Transcript(launch=TRANSCRIPT.launch))
    assert "Started with" in page([Run(program="pt", verdicts=[told])])


def test_a_page_about_nothing() -> None:
    assert "Nothing was judged" in page([])
    assert '<table id="matrix"' not in page([])


# --- the page in a browser ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as found:
        yield found


@pytest.fixture
def opened(browser: Browser, report: Path) -> Browser:
    browser.open(report)
    return browser


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "matrix.html"
    write(samples(), path, "html")
    return path


FOCUSED = "document.activeElement.closest('td, th')?.parentElement.cells[0].textContent.trim() + "
FOCUSED += "' | ' + document.activeElement.textContent"
PANEL = "document.getElementById('panel')"


def shown(browser: Browser) -> list[str]:
    """The ids of the rows that are to be seen."""
    found: list[str] = browser.evaluate(
        "[...document.querySelectorAll('#matrix tr[data-level]')]"
        ".filter(row => row.checkVisibility()).map(row => row.querySelector('small').textContent)"
    )
    return found


def enter_matrix(browser: Browser) -> None:
    browser.evaluate("""document.querySelector('#matrix [tabindex="0"]').focus()""")


@pytest.mark.program("chromium")
def test_the_browser_has_nothing_to_complain_of(opened: Browser, report: Path) -> None:
    enter_matrix(opened)
    opened.press("ArrowRight", "Enter", "Escape", "/")
    opened.type("socks5")
    assert opened.errors == []
    assert opened.requests == [report.as_uri()]


@pytest.mark.program("chromium")
def test_complaints_are_heard(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "broken.html"
    path.write_text(
        page(samples()).replace("</body>", '<script>1</script><img src="http://a.invalid/"></body>')
    )
    browser.open(path)
    assert len(browser.errors) == 2
    assert all("Content Security Policy" in error for error in browser.errors)


@pytest.mark.program("chromium")
def test_arrow_keys_move_in_the_matrix(opened: Browser) -> None:
    enter_matrix(opened)
    start = opened.evaluate(FOCUSED)
    opened.press("ArrowRight")
    assert opened.evaluate(FOCUSED).endswith("| fail")
    opened.press("ArrowDown", "ArrowUp", "ArrowLeft")
    assert opened.evaluate(FOCUSED) == start
    opened.press("Control+End")
    assert "client.stop.skipped" in opened.evaluate(FOCUSED)
    opened.press("Home", "ArrowRight")
    assert opened.evaluate(FOCUSED).endswith("| skip")
    opened.press("PageUp", "Home")
    assert opened.evaluate(FOCUSED) == start
    stops = opened.evaluate("""document.querySelectorAll('#matrix [tabindex="0"]').length""")
    assert stops == 1


@pytest.mark.program("chromium")
def test_enter_opens_and_escape_returns(opened: Browser) -> None:
    enter_matrix(opened)
    opened.press("ArrowRight", "Enter")
    said = opened.evaluate(f"{PANEL}.open && {PANEL}.textContent")
    for fact in (
        "The title of client.proxy.answer",
        "The rule of client.proxy.answer.",
        "PT 1 3.3.2",
        "pt.one",
        "TOR_PT_PROXY=socks5:///x",
        "PROXY-ERROR",
        visible(NASTY),
        "ptipc check client a --select client.proxy.answer -- ./pt",
        "port 2 received",
        "3c 62 3e 48",
        "<b>HTTP/1.1 200",
    ):
        assert fact in said
    assert opened.evaluate("document.activeElement.id") == "panel-title"
    assert opened.evaluate("location.hash") == "#client.proxy.answer/pt.bin-1.0-PT-1"
    opened.press("Escape")
    opened.wait_for(f"!{PANEL}.open && location.hash === ''")
    assert opened.evaluate(FOCUSED).endswith("| fail")


@pytest.mark.program("chromium")
def test_tab_goes_through_the_panel_and_the_page(opened: Browser) -> None:
    """Everything that can be used is reached, and the focus can be seen."""
    enter_matrix(opened)
    opened.press("ArrowRight", "Enter")
    reached = []
    for _ in range(5):
        opened.press("Tab")
        reached.append(opened.evaluate("document.activeElement.textContent.trim()"))
        outline = opened.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid"
    assert reached == [
        *("client.proxy.answer", "Copy", "PT 1 fail", "PT 2 fail", "PT 1 pass"),
    ]


@pytest.mark.program("chromium")
def test_the_next_finding_is_one_key_away(opened: Browser) -> None:
    enter_matrix(opened)
    opened.press("ArrowRight", "Enter", "n")
    assert opened.evaluate("location.hash") == "#client.proxy.answer/pt.bin-1.0-PT-2"
    opened.press("n")
    assert opened.evaluate("location.hash") == "#client.socks5.known/pt.bin-1.0-PT-1"
    opened.press("p", "p")
    assert opened.evaluate("location.hash") == "#client.proxy.answer/pt.bin-1.0-PT-1"
    assert opened.evaluate("document.getElementById('earlier').disabled")


@pytest.mark.program("chromium")
def test_a_case_itself_can_be_opened(opened: Browser) -> None:
    enter_matrix(opened)
    opened.press("Enter")
    assert "./pt.bin 1.0 in PT 1, 2" in opened.evaluate(f"{PANEL}.textContent")


@pytest.mark.program("chromium")
@pytest.mark.parametrize(
    ("fragment", "said"),
    [
        ("#client.stop.broken", "What happened in each"),
        ("#client.stop.broken/pt.bin-1.0-PT-1", "TimeoutError: no port"),
    ],
)
def test_a_link_leads_to_a_case_or_a_verdict(
    browser: Browser, report: Path, fragment: str, said: str
) -> None:
    browser.open(report, fragment)
    assert browser.evaluate(f"{PANEL}.open")
    assert said in browser.evaluate(f"{PANEL}.textContent")
    assert browser.errors == []


@pytest.mark.program("chromium")
def test_a_slash_goes_to_the_search_and_escape_back(opened: Browser) -> None:
    opened.press("/")
    assert opened.evaluate("document.activeElement.id") == "search"
    opened.type("RULE of client.socks5")
    assert shown(opened) == [
        "client.socks5.known",
        "client.socks5.mended",
        "client.socks5.may",
        "client.socks5.interop",
    ]
    assert opened.evaluate("document.getElementById('shown').textContent") == "4 of 9 cases"
    opened.press("Escape")
    assert opened.evaluate(FOCUSED).startswith("The title of client.socks5.known")
    opened.press("ArrowDown", "ArrowDown", "ArrowDown", "ArrowDown", "ArrowDown")
    assert opened.evaluate(FOCUSED).startswith("The title of client.socks5.interop")


@pytest.mark.program("chromium")
def test_levels_outcomes_and_programs_can_be_filtered(opened: Browser) -> None:
    opened.evaluate("""document.querySelector('[name=level][value=MUST]').click()""")
    assert shown(opened) == ["client.socks5.may", "client.socks5.interop", "client.start.should"]
    opened.evaluate("""document.querySelector('[name=outcome][value=note]').click()""")
    assert shown(opened) == ["client.socks5.may", "client.start.should"]
    opened.evaluate("""document.querySelector('[type=reset]').click()""")
    opened.evaluate("new Promise(done => setTimeout(done))")
    assert len(shown(opened)) == 9
    opened.evaluate("document.getElementById('findings').click()")
    assert "client.start.order" not in shown(opened)
    assert "client.stop.skipped" not in shown(opened)
    opened.evaluate("""(choice => {
        choice.value = "1";
        choice.dispatchEvent(new InputEvent("input", { bubbles: true }));
    })(document.getElementById("program"))""")
    assert shown(opened) == []


@pytest.mark.program("chromium")
def test_the_matrix_is_a_grid_for_assistive_technology(opened: Browser) -> None:
    nodes = opened.call("Accessibility.getFullAXTree")["nodes"]
    roles = [node["role"]["value"] for node in nodes if not node["ignored"]]
    grid = next(node for node in nodes if node["role"]["value"] == "grid")
    assert grid["name"]["value"] == "Programs by case"
    assert roles.count("gridcell") == 9 * 3
    assert roles.count("rowheader") >= 9


@pytest.mark.program("chromium")
@pytest.mark.parametrize("width", [360, 1400])
def test_the_page_is_as_wide_as_the_screen(browser: Browser, report: Path, width: int) -> None:
    """What is wider scrolls by itself."""
    browser.call(
        "Emulation.setDeviceMetricsOverride",
        width=width,
        height=740,
        deviceScaleFactor=1,
        mobile=width < 500,
    )
    browser.open(report, "#client.proxy.answer/pt.bin-1.0-PT-1")
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    assert browser.evaluate(f"{PANEL}.scrollWidth <= {PANEL}.clientWidth")
    browser.call("Emulation.clearDeviceMetricsOverride")


@pytest.mark.program("chromium")
def test_without_scripts_everything_is_in_the_page(browser: Browser, report: Path) -> None:
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open(report, "#v0-0")
        seen = browser.call("DOMSnapshot.captureSnapshot", computedStyles=[])
        strings = " ".join(seen["strings"])
    finally:
        browser.call("Emulation.setScriptExecutionDisabled", value=False)
    assert "port 2 received" in strings
    assert browser.errors == []
