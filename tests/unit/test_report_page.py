"""The report in a browser: headless Chromium of the system opens the file, and a reader clicks, types and tabs."""

import shutil
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from reports import read_data, write_full_report

import mofa_bayes as mb

sync_api = pytest.importorskip("playwright.sync_api")
axe = pytest.importorskip("axe_playwright_python.sync_playwright")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]
EVIL = "</script><script>document.title='owned'</script>"

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine (apt-get install chromium)")


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        own = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield own
        own.close()


@pytest.fixture(scope="module")
def report(post, cohort, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report.html"
    write_full_report(post, cohort, path)
    return path


@pytest.fixture
def visit(browser):
    """Open a file as a reader would, note what goes wrong or out, and fail at the end if anything did."""
    contexts, noted = [], []

    def open_page(path, *, width=1200, scheme="light"):
        context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("console", lambda message: noted.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: noted.append(f"error: {error}"))
        page.on("request", lambda request: request.url.startswith(("file:", "data:")) or noted.append(request.url))
        page.goto(path.as_uri())
        page.wait_for_selector("html[data-ready]")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert noted == []


def column(page, table, name):
    """Texts of a column of the shown rows of a table."""
    k = page.locator(f"{table} thead th").all_text_contents().index(name)
    return page.locator(f"{table} tbody tr td:nth-child({k + 1})").all_text_contents()


def values_of(page, table, k):
    """What column k (from 1) of a small table sorts by."""
    return page.locator(f"{table} tbody td:nth-child({k})").evaluate_all("cells => cells.map(c => c.dataset.value)")


def sort_by(page, table, name):
    header = page.locator(f"{table} thead th", has=page.get_by_role("button", name=name, exact=True))
    header.get_by_role("button").click()
    return header.get_attribute("aria-sort")


def shown_tab(page):
    return page.locator("[role=tabpanel]:visible").get_attribute("id")


def test_tabs_switch_by_mouse_and_by_arrow_keys(visit, report):
    page = visit(report)
    assert shown_tab(page) == "fit"
    page.get_by_role("tab", name="Which features?").click()
    assert shown_tab(page) == "features"
    assert page.locator("[role=tab][aria-selected=true]").inner_text() == "Which features?"
    page.keyboard.press("ArrowRight")
    assert shown_tab(page) == "risk"
    page.keyboard.press("ArrowRight")
    assert shown_tab(page) == "fit"
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Home")
    page.keyboard.press("End")
    assert shown_tab(page) == "risk"
    focused = page.evaluate("document.activeElement.id")
    assert focused == "tab-risk"
    assert page.locator("[role=tab][tabindex='0']").count() == 1
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "risk"


def test_small_tables_sort_with_what_is_absent_last(visit, report):
    page = visit(report)
    page.get_by_role("tab", name="Should I believe it?").click()
    table = "#belief table"
    assert sort_by(page, table, "value") == "descending"
    values = [float(text) for text in values_of(page, table, 2)]
    assert values == sorted(values, reverse=True)
    assert sort_by(page, table, "threshold") == "descending"
    assert sort_by(page, table, "threshold") == "ascending"
    held = values_of(page, table, 3)
    known = [float(v) for v in held if v]
    assert known == sorted(known)
    assert "" not in held[: len(known)]
    assert page.locator(f"{table} th[aria-sort]").count() == 1


def test_features_are_searched_sorted_and_filtered(visit, report, post):
    page = visit(report)
    page.get_by_role("tab", name="Which features?").click()
    n_all = len(read_data(report)["features"]["mean"])
    assert page.locator("#count").inner_text() == f"{n_all:,} loadings"
    page.get_by_label("Search features").fill("RNA_1")
    names = column(page, "#loadings", "feature")
    assert names
    assert all("rna_1" in name for name in names)
    page.get_by_label("Search features").fill("")
    assert sort_by(page, "#loadings", "mean") == "descending"
    means = [float(text) for text in column(page, "#loadings", "mean")]
    assert means == sorted(means, reverse=True)
    largest = mb.biomarkers(post)["mean"].max()
    assert means[0] == pytest.approx(largest, abs=0.01)
    assert sort_by(page, "#loadings", "feature") == "ascending"
    page.get_by_label("False discovery rate").select_option("500")
    n_found = int((mb.biomarkers(post)["fdr"] <= 0.05).sum())
    assert page.locator("#count").inner_text() == f"{n_found:,} loadings"
    page.get_by_label("View", exact=True).select_option(label="meth")
    assert set(column(page, "#loadings", "view")) == {"meth"}
    page.get_by_label("Search features").fill("nobody")
    assert page.locator("#count").inner_text() == "0 loadings"
    assert page.locator("[data-plot=forest]").inner_text() == "No loading is like this."


def test_pages_of_the_table_turn(visit, report):
    page = visit(report)
    page.get_by_role("tab", name="Which features?").click()
    first = column(page, "#loadings", "feature")
    assert len(first) == 50
    assert page.get_by_role("button", name="Previous").is_disabled()
    page.get_by_role("button", name="Next").click()
    assert page.locator("#page").inner_text().startswith("51 to 100 of")
    assert column(page, "#loadings", "feature") != first


def test_choosing_a_factor_filters_table_and_plots(visit, report, post):
    page = visit(report)
    page.get_by_role("tab", name="What explains what?").click()
    page.get_by_role("button", name="meth, F2").click()
    assert shown_tab(page) == "features"
    assert set(column(page, "#loadings", "factor")) == {"F2"}
    assert set(column(page, "#loadings", "view")) == {"meth"}
    labels = page.locator("[data-plot=forest] text").all_text_contents()
    assert sum(label.endswith("(F2)") for label in labels) == 20
    page.locator("#chips").get_by_role("button", name="F1").click()
    assert set(column(page, "#loadings", "factor")) == {"F1"}
    assert page.locator("#chips [aria-pressed=true]").inner_text() == "F1"
    n_points = page.locator("[data-plot=ranks] circle").count()
    assert n_points == len(post.features("meth"))
    page.locator("[data-plot=ranks] circle").last.click()
    assert page.get_by_label("Search features").input_value().startswith("meth_")
    assert page.locator("#chips [aria-pressed=true]").inner_text() == "all"


def test_figures_are_drawn_for_every_question(visit, report):
    page = visit(report)
    drawn = Counter()
    for tab in page.get_by_role("tab").all():
        tab.click()
        for plot in page.locator(".plot:visible").all():
            drawn[plot.get_attribute("data-plot")] += plot.locator("svg, table").count()
    kinds = {"bound", "heatmap", "forest", "ranks", "effects", "scores", "calibration", "decision"}
    assert set(drawn) == kinds
    assert all(drawn.values())
    assert drawn["calibration"] == 2  # one for each horizon
    shapes = page.locator("svg path, svg circle, svg line, svg rect").evaluate_all("s => s.map(e => e.outerHTML)")
    assert shapes
    assert not [shape for shape in shapes if "NaN" in shape or "undefined" in shape]


@pytest.mark.parametrize("width", [390, 1200])
def test_nothing_is_wider_than_the_screen(visit, report, width):
    page = visit(report, width=width)
    for tab in page.get_by_role("tab").all():
        tab.click()
        assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize(("scheme", "options"), [("light", {}), ("dark", {"runOnly": ["color-contrast"]})])
def test_axe_finds_nothing_serious(visit, report, scheme, options):
    page = visit(report, scheme=scheme)
    # All answers at once, and few rows of loadings, which are alike: each look takes axe its time.
    page.evaluate("for (const tab of TABS) document.getElementById(tab.getAttribute('aria-controls')).hidden = false")
    page.evaluate("chooseFeatures({search: 'rna_1'}); drawAll()")
    found = axe.Axe().run(page, options={"resultTypes": ["violations"], **options}).response["violations"]
    assert [(v["id"], v["nodes"][0]["html"]) for v in found if v["impact"] in ("serious", "critical")] == []


def test_dark_and_light_differ(visit, report):
    grounds = {
        scheme: visit(report, scheme=scheme).evaluate("getComputedStyle(document.body).backgroundColor")
        for scheme in ("light", "dark")
    }
    assert grounds == {"light": "rgb(255, 255, 255)", "dark": "rgb(19, 22, 26)"}


def test_hostile_names_are_shown_and_not_run(visit, tmp_path):
    rng = np.random.default_rng(1)
    ids = [f"p{n}" for n in range(30)]
    values = rng.standard_normal((30, 1)) @ np.ones((1, 4)) + 0.3 * rng.standard_normal((30, 4))
    names = [EVIL, "a\"b'c", "<img src=x onerror=alert(1)>", "\u2028`${document.title='owned'}`"]
    groups = pd.Series(np.where(np.arange(30) % 2, EVIL, "other"), ids)
    views = mb.MultiView.from_frames({"lab": pd.DataFrame(values, ids, names)}, groups=groups)
    post = mb.fit(views, mb.FactorModel(n_factors=1), n_draws=30, progress=False)
    mb.write_report(post, tmp_path / "report.html", views=views)
    page = visit(tmp_path / "report.html")
    page.get_by_role("tab", name="Which features?").click()
    assert sorted(column(page, "#loadings", "feature")) == sorted(views.features("lab"))
    page.get_by_label("Search features").fill("onerror")
    assert page.locator("#count").inner_text() == "1 loading"
    assert page.title() == "lab: 1 factor"
    assert page.locator("img").count() == 0


def test_the_policy_stops_a_script_that_is_not_ours(browser, report, tmp_path):
    path = tmp_path / "altered.html"
    path.write_text(report.read_text().replace("</main>", "</main><script>document.title = 'owned'</script>"))
    context = browser.new_context()
    page = context.new_page()
    page.goto(path.as_uri())
    page.wait_for_selector("html[data-ready]")
    assert page.title() != "owned"
    fetched = page.evaluate("fetch('https://127.0.0.1:9/').then(() => 'reached', error => error.message)")
    assert fetched == "Failed to fetch"
    context.close()
