"""What a report costs: seconds to make, bytes, and milliseconds until Chromium can be clicked in it.

`PYTHONPATH=. python tests/benchmarks/report.py`: 5,000 features of 500 subjects, with views. Must hold: under 10 s
to make, under 5 MB, interactive within 2 s (medians of three visits).
"""

import argparse
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import mofa_bayes as mb

SHARING = [("rna", "meth", "ehr")] * 3 + [("rna", "meth")] * 3 + [("rna",)] * 2 + [("meth",)] * 2


def make_fit(n_features, n_subjects, n_draws):
    counts = {"rna": 6 * n_features // 10, "meth": 3 * n_features // 10, "ehr": n_features // 10}
    design = mb.Design(
        n_subjects=n_subjects,
        n_features=counts,
        sharing=SHARING,
        bernoulli={"ehr": counts["ehr"] // 5},
        absent_view=0.1,
        missing=0.02,
    )
    views = mb.simulate_cohort(design, seed=1).views
    return views, mb.fit(views, mb.FactorModel(n_factors=10), seed=0, n_draws=n_draws, progress=False)


def visit(path):
    """Milliseconds from asking for the page until it can be used, and of a sort of the whole table."""
    from playwright.sync_api import sync_playwright

    ready, sorting = [], []
    arguments = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=arguments)
        for _ in range(3):
            page = browser.new_page()
            page.goto(path.as_uri())
            page.wait_for_selector("html[data-ready]")
            ready.append(float(page.locator("html").get_attribute("data-ready")))
            page.get_by_role("tab", name="Which features?").click()
            script = "() => { const start = performance.now(); update(); return performance.now() - start; }"
            page.locator("#loadings th button").nth(2).click()
            sorting.append(page.evaluate(script))
            page.close()
        browser.close()
    return statistics.median(ready), statistics.median(sorting)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--features", type=int, default=5000)
    parser.add_argument("--subjects", type=int, default=500)
    parser.add_argument("--draws", type=int, default=500)
    chosen = parser.parse_args()
    views, post = make_fit(chosen.features, chosen.subjects, chosen.draws)
    print(post)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "report.html"
        for name, given in {"without views": None, "with views": views}.items():
            wall, cpu = time.perf_counter(), time.process_time()
            mb.write_report(post, path, views=given)
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            print(f"{name}: {wall:.1f} s ({cpu:.1f} s CPU), {path.stat().st_size / 1e6:.2f} MB")
        if shutil.which("chromium"):
            ready, sorting = visit(path)
            print(f"interactive after {ready:.0f} ms; a sort of all rows takes {sorting:.0f} ms")


if __name__ == "__main__":
    main()
