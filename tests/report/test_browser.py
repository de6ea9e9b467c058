"""The page of a report in a real browser: what a reader clicks, presses and prints."""

import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from support.run_folders import metric_about, write_run

from seewhy.report import write_report

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs a chromium on the path")
EXPLAINERS = ["grad_cam", "a_method_with_quite_a_long_name", "saliency", "x<b>y", *(f"method_{i}" for i in range(5))]
N = 8


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    """A page of nine explainers, one of which failed for a metric, and six metrics."""
    random = np.random.default_rng(0)
    families = {"gain": "ordering", "srg": "ordering", "drop": "masking", "mass": "localization", "size": "complexity"}
    abouts = {name: metric_about({"drop": False, "size": None}.get(name, True), family) for name, family in families.items()}
    abouts["gain"]["axes"] = ["share of pixels", "probability"]
    numbers = {m: {e: (random.random(N) + i / 5).tolist() for i, e in enumerate(EXPLAINERS)} for m in abouts}
    numbers["gain"]["saliency"] = [*[0.0] * (N - 1), 9.0]  # its median is far from its mean
    del numbers["mass"]["saliency"]
    curves = {"gain": {e: random.random((N, 5)).tolist() for e in EXPLAINERS}}
    folder = write_run(
        tmp_path_factory.mktemp("browser") / "run",
        numbers,
        abouts,
        ids=[f"<script>alert({i})</script>/a/very/long/path/that/does/not/end/{i}.jpg" for i in range(N)],
        curves=curves,
        places={"gain": [0, 0.25, 0.5, 0.75, 1]},
        pictures=N,
    )
    return write_report([folder])[0]


@pytest.fixture(scope="module")
def browser() -> Iterator["playwright.Browser"]:
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def page(browser, file) -> Iterator["playwright.Page"]:
    """The page, opened; at the end nothing may have been said on the console, and nothing asked for outside it."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme="light")
    opened = context.new_page()
    opened.set_default_timeout(5000)
    said, asked = [], []
    opened.on("console", lambda message: said.append(message.text))
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
    opened.on("request", lambda request: asked.append(request.url))
    opened.goto(file.as_uri())
    yield opened
    context.close()
    assert said == []
    assert {url for url in asked if not url.startswith("data:")} == {file.as_uri()}


BOARD = "#run1-leaderboard table"


def rows(page) -> list[str]:
    return page.locator(f"{BOARD} tbody th").all_inner_texts()


def values(page, column: int) -> list[float | None]:
    cells = page.locator(f"{BOARD} tbody tr > :nth-child({column + 1})").evaluate_all("all => all.map(c => c.dataset.mean)")
    return [None if v is None else float(v) for v in cells]


def heading(page, name: str):
    return page.locator(f"{BOARD} thead tr:last-child th").filter(has_text=name)


def test_a_click_sorts_best_first_and_the_next_the_other_way(page):
    assert heading(page, "gain").get_attribute("aria-sort") == "descending"
    assert values(page, 1) == sorted(values(page, 1), reverse=True)
    for sort, sign in (("ascending", 1), ("descending", -1)):
        heading(page, "drop").get_by_role("button").click()
        assert heading(page, "drop").get_attribute("aria-sort") == sort
        assert values(page, 3) == sorted(values(page, 3), key=lambda v: sign * v)
        assert page.locator(f"{BOARD} [aria-sort]").count() == 1


def test_the_keyboard_sorts_too(page):
    heading(page, "explainer").get_by_role("button").focus()
    page.keyboard.press("Enter")
    assert rows(page) == sorted(rows(page))
    page.keyboard.press("Space")
    assert rows(page) == sorted(rows(page), reverse=True)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert heading(page, "gain").get_attribute("aria-sort") == "descending"
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid", "the focus shows"


def test_what_was_not_measured_stays_last(page):
    for _ in range(2):
        heading(page, "mass").get_by_role("button").click()
        assert rows(page)[-1] == "saliency"


def test_the_median_replaces_the_mean_and_its_order(page):
    assert page.locator(f"{BOARD} tr:has-text('saliency') .of-mean").first.is_visible()
    before = rows(page).index("saliency")
    page.get_by_label("median").check()
    cell = page.locator(f"{BOARD} tr:has-text('saliency') td").first
    assert cell.locator(".of-median").inner_text().split()[0] == "0.00"
    assert not cell.locator(".of-mean").is_visible()
    assert rows(page).index("saliency") == len(EXPLAINERS) - 1 > before


def test_families_can_be_hidden(page):
    assert heading(page, "drop").is_visible()
    page.get_by_label("masking").uncheck()
    assert not heading(page, "drop").is_visible()
    assert page.locator(f"{BOARD} td[data-family=masking]:visible").count() == 0
    assert heading(page, "gain").is_visible()
    page.get_by_label("masking").check()
    assert heading(page, "drop").is_visible()


def test_the_theme_follows_the_system_until_the_button_is_pressed(page):
    paper = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(paper)
    page.emulate_media(color_scheme="dark")
    dark = page.evaluate(paper)
    assert dark != light
    page.get_by_role("button", name="Switch between light and dark").click()
    assert page.evaluate(paper) == light
    page.reload()
    assert page.evaluate(paper) == light, "the choice is remembered"


def test_a_phone_never_scrolls_sideways(page):
    page.set_viewport_size({"width": 360, "height": 780})
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    first = page.locator(f"{BOARD} tbody th").first
    before = first.bounding_box()["x"]
    box = page.locator("#run1-leaderboard .scroll")
    box.evaluate("box => box.scrollLeft = 200")
    assert box.evaluate("box => box.scrollLeft") == 200
    assert first.bounding_box()["x"] == pytest.approx(before, abs=1), "the name stays in view"


def test_a_wide_table_says_that_it_scrolls_until_its_end_is_reached(page):
    box = page.locator("#run1-leaderboard .scroll").first
    hint = page.locator("#run1-leaderboard .more").first
    page.set_viewport_size({"width": 360, "height": 780})
    page.wait_for_selector("#run1-leaderboard .scroll[data-more]")
    assert hint.is_visible()
    assert "linear-gradient" in box.evaluate("box => getComputedStyle(box).maskImage")
    box.evaluate("box => box.scrollLeft = box.scrollWidth")
    page.wait_for_function("!document.querySelector('#run1-leaderboard .scroll').hasAttribute('data-more')")
    assert not hint.is_visible()
    page.set_viewport_size({"width": 1900, "height": 900})
    assert not hint.is_visible(), "it fits"


def test_one_curve_is_drawn_at_its_normal_size(page):
    """A letter of the drawing is as large as it says, whatever the width of the window, and no name is cut."""
    page.set_viewport_size({"width": 1900, "height": 900})
    chart = page.locator("#run1-curves svg.chart")
    box, inner = chart.bounding_box(), chart.evaluate("svg => svg.viewBox.baseVal.width")
    assert box["width"] == pytest.approx(inner, rel=0.02)
    ends = chart.locator("text").evaluate_all("all => all.map(t => t.getBoundingClientRect().right)")
    assert max(ends) <= box["x"] + box["width"] + 1


def test_the_first_screen_has_the_verdict_and_pictures(page):
    for part in (".conclusion", ".sure", ".glance img"):
        shown = page.locator(f"#run1-verdict {part}")
        assert shown.first.is_visible()
        box = shown.first.bounding_box()
        assert box["y"] + box["height"] < 900
    assert page.locator("#run1-verdict .glance figure").count() == N


def test_a_wide_leaderboard_is_printed_in_parts_that_fit(browser, tmp_path):
    random = np.random.default_rng(0)
    names = ["deletion:baseline=black,players=patches,size=8", *(f"metric_{i}" for i in range(8))]
    abouts = {name: metric_about(True, "ordering") for name in names}
    numbers = {m: {e: random.random(4).tolist() for e in ("grad_cam", "a_method_with_quite_a_long_name")} for m in abouts}
    page = browser.new_page(viewport={"width": 1032, "height": 700})  # 273 mm, as wide as the paper without its margins
    page.goto(write_report([write_run(tmp_path / "run", numbers, abouts)])[0].as_uri())
    assert page.locator("#run1-leaderboard table.board:visible").count() == 1
    page.emulate_media(media="print")
    printed = page.locator("#run1-leaderboard table.board:visible")
    assert printed.count() == 2
    assert sum(printed.nth(i).locator("thead tr:last-child th").count() - 1 for i in range(2)) == len(names)
    assert page.evaluate("document.documentElement.scrollWidth") <= 1032
    page.close()


def test_print_shows_the_results_and_leaves_the_controls_out(page):
    page.emulate_media(media="print", color_scheme="dark")
    for hidden in (".bar", ".controls", ".legend"):
        assert not page.locator(hidden).first.is_visible()
    assert page.locator(BOARD).is_visible()
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
    assert page.locator("#run1-leaderboard .scroll").first.evaluate("box => getComputedStyle(box).overflowX") == "visible"
    assert page.pdf(prefer_css_page_size=True).startswith(b"%PDF")


def test_a_select_shows_one_of_several(page):
    for select, parts in (("#run1-case", ".cases"), ("#run1-scatter", "figure.wide")):
        assert page.locator(f"{parts}:visible").count() == 1
        page.select_option(select, "1")
        assert page.locator(f"{parts}:visible").get_attribute("data-value") == "1"


def test_the_legend_picks_curves(page):
    button = page.locator(".legend").get_by_role("button", name="saliency")
    button.focus()
    page.keyboard.press("Enter")
    assert button.get_attribute("aria-pressed") == "true"
    assert page.locator(".series.picked").count() == 1
    assert "saliency" in page.locator(".series.picked text").text_content()
    page.keyboard.press("Enter")
    assert page.locator(".picking").count() == 0


def test_headings_images_and_tables_are_named(page):
    assert page.locator("table:not(:has(caption))").count() == 0
    assert page.locator("img:not([alt])").count() == 0
    assert page.locator("thead th:not([scope]), tbody th:not([scope])").count() == 0
    assert page.locator("svg.chart:not([aria-label])").count() == 0
    levels = [int(level[1]) for level in page.locator("h1, h2, h3, h4, h5").evaluate_all("all => all.map(h => h.tagName)")]
    assert all(below <= above + 1 for above, below in pairwise(levels))
    assert page.locator("img").evaluate_all("all => all.every(i => i.naturalWidth > 0)")


def test_without_scripts_it_can_be_read(browser, file):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(file.as_uri())
    assert not page.locator(".controls").is_visible()
    assert not page.locator("#theme").is_visible()
    assert page.locator(".cases:visible").count() == page.locator(".cases").count() > 1
    context.close()
