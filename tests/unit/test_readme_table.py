"""What the README says to people who come from MOFA exists under the name it says."""

import re
from pathlib import Path

import pytest

import mofa_bayes as mb
from mofa_bayes import plot

ROOT = Path(__file__).parents[2]
HEADING = "## Coming from MOFA2 or mofax"
OWNERS = {"mb": mb, "plot": plot, "post": mb.Posterior, "views": mb.MultiView}


@pytest.fixture(scope="module")
def section() -> str:
    texts = [path.read_text(encoding="utf-8") for path in sorted(ROOT.glob("README*.md"))]
    return next(text.split(HEADING)[1].split("\n## ")[0] for text in texts if HEADING in text)


def test_names_of_the_table_exist(section):
    named = re.findall(r"\b(mb|plot|post|views)\.(\w+)", section)
    assert len(named) > 40
    assert [f"{owner}.{name}" for owner, name in named if not hasattr(OWNERS[owner], name)] == []


def test_every_row_of_the_table_has_three_cells(section):
    rows = [line for line in section.splitlines() if line.startswith("|")]
    assert {row.count("|") for row in rows} == {4}


def test_every_name_that_mofa_users_know_is_in_the_table(section):
    known = (
        "plot_data_overview plot_variance_explained plot_factor plot_factors plot_weights plot_top_weights "
        "plot_weights_heatmap plot_weights_scatter plot_data_heatmap plot_data_scatter plot_factor_cor "
        "correlate_factors_with_covariates run_enrichment plot_enrichment plot_dimred impute predict "
        "calculate_variance_explained get_factors get_weights get_data run_mofa create_mofa plot_r2 project_data"
    )
    assert [name for name in known.split() if f"`{name}`" not in section] == []
