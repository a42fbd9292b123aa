"""Plots draw what explain and risk computed, on the axes they are given, and never call show."""

from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

import mofa_bayes as mb
from mofa_bayes.checking import Calibration
from mofa_bayes.errors import DataError
from mofa_bayes.plot import (
    plot_chain_ranks,
    plot_factor,
    plot_loadings,
    plot_pareto_k,
    plot_predictive,
    plot_ranks,
    plot_variance,
    save_figure,
)

mpl.use("Agg")


@pytest.fixture
def ax():
    return Figure().add_subplot()


def test_variance_figure_shows_every_share(post, ax):
    assert plot_variance(post, ax=ax) is ax
    shares = mb.variance_explained(post)["by_factor"].mean(("chain", "draw")).transpose("factor", "view") * 100
    shown = [float(text.get_text()) for text in ax.texts]
    np.testing.assert_allclose(shown, shares.values.ravel(), atol=0.051)
    assert [label.get_text() for label in ax.get_yticklabels()] == list(post.factor_names)


def test_loadings_figure_shows_the_largest_with_their_intervals(post, ax):
    assert plot_loadings(post, "rna", "F1", n_features=5, ax=ax) is ax
    table = mb.biomarkers(post, "rna", factors=["F1"])
    largest = table.loc[table["mean"].abs().nlargest(5).index]
    assert [label.get_text() for label in ax.get_yticklabels()] == list(largest["feature"])[::-1]
    points = ax.collections[-1].get_offsets()
    np.testing.assert_allclose(points[:, 0], largest["mean"].to_numpy()[::-1])
    ends = np.array([segment[:, 0] for segment in ax.collections[0].get_segments()])
    np.testing.assert_allclose(ends, largest[["lower", "upper"]].to_numpy()[::-1])


def test_factor_figure_has_a_panel_per_view(post):
    panels = plot_factor(post, "F1", n_features=4)
    assert [panel.get_title().split(":")[0] for panel in panels] == list(post.views)
    assert len({panel.figure for panel in panels}) == 1
    plt.close(panels[0].figure)


def test_saved_figure_is_a_picture_and_is_closed(post, tmp_path):
    before = plt.get_fignums()
    save_figure(plot_variance(post), tmp_path / "variance.png")
    assert plt.get_fignums() == before
    assert [path.name for path in tmp_path.iterdir()] == ["variance.png"]
    assert plt.imread(tmp_path / "variance.png").std() > 0.01


def test_predictive_figure_shows_each_feature_and_marks_those_outside(post, cohort, ax):
    diagnosis = mb.diagnose(post, cohort.views, n_draws=50)
    assert plot_predictive(diagnosis, "rna", statistic="mean", ax=ax) is ax
    table = diagnosis.predictive.table
    own = table[(table["view"] == "rna") & (table["statistic"] == "mean")].sort_values("replicated")
    np.testing.assert_allclose(ax.collections[-1].get_offsets()[:, 1], own["observed"])
    with pytest.raises(DataError, match="zeros"):
        plot_predictive(diagnosis, "rna", statistic="zeros")
    with pytest.raises(DataError, match="without views"):
        plot_predictive(mb.diagnose(post), "rna")


def test_pareto_figure_shows_every_subject_without_a_name(post, cohort, ax):
    diagnosis = mb.diagnose(post, cohort.views, n_draws=50)
    assert plot_pareto_k(diagnosis, ax=ax) is ax
    np.testing.assert_allclose(ax.collections[-1].get_offsets()[:, 1], np.sort(diagnosis.loo.pareto_k))
    assert not any(label.get_text() in post.subjects for label in ax.get_xticklabels())
    with pytest.raises(DataError, match="without"):
        plot_pareto_k(mb.diagnose(post))
    sparse = replace(diagnosis, loo=None, notes=("factors may be zero",))
    with pytest.raises(DataError, match=r"without leave-one-out \(factors may be zero\)"):
        plot_pareto_k(sparse)


def test_chain_ranks_are_flat_for_chains_that_agree(post, ax):
    assert plot_chain_ranks(post, "rna", ax=ax) is ax
    np.testing.assert_allclose(ax.lines[0].get_ydata(), 1.0)
    with pytest.raises(DataError, match="view"):
        plot_chain_ranks(post, "none")


def test_rank_figure_has_a_line_for_each_ranked_entry(ax):
    ranks = pd.DataFrame(
        [(r, "noise", which, rank, n) for r in range(10) for which, rank, n in ((0, r * 10, 99), (1, r, 9))],
        columns=["replicate", "quantity", "which", "rank", "n_draws"],
    )
    calibration = Calibration("vi", "", pd.DataFrame(), ranks, pd.DataFrame(), 10, 0, 0, 1.0, ())
    assert plot_ranks(calibration, ax=ax) is ax
    assert len(ax.lines) == 2
    assert max(abs(ax.lines[0].get_ydata())) < 0.11
    np.testing.assert_allclose(ax.lines[1].get_xdata(), np.arange(1, 11) / 10)
    np.testing.assert_allclose(ax.lines[1].get_ydata(), 0, atol=1e-12)
