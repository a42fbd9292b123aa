"""Figures of views, variance and factors show what was computed, and nothing of who a patient is."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from drawn import SENTINEL, ends_of, groups_of, points_of, rebuild, text_of, with_groups
from matplotlib.collections import EllipseCollection
from matplotlib.figure import Figure

import mofa_bayes as mb
from mofa_bayes import plot
from mofa_bayes.errors import DataError
from mofa_bayes.explain import correlate_factors, summarise

mpl.use("Agg")


@pytest.fixture
def ax():
    return Figure().add_subplot()


@pytest.fixture(scope="module")
def clinical(post) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    index = list(post.subjects)
    first = post.factors().mean(("chain", "draw")).sel(factor="F1").values
    return pd.DataFrame(
        {
            "age": 50 + 6 * first + rng.standard_normal(len(index)),
            "stage": pd.Series(np.where(first > 0, "late", "early"), index=index).where(rng.random(len(index)) > 0.2),
            "sex": rng.integers(0, 2, len(index)),
        },
        index=index,
    )


def test_views_figure_counts_and_names_no_subject(cohort, ax):
    assert plot.plot_views(cohort.views, ax=ax) is ax
    tiles = ax.images[0].get_array()
    assert tiles.shape == (3, 80, 3)
    is_grey = np.ptp(tiles, axis=2) < 1e-9
    for number, view in enumerate(cohort.views.names):
        present = int(cohort.views.has_view(view).sum())
        assert (
            ax.get_yticklabels()[number].get_text() == f"{view}\nN = {present}, D = {len(cohort.views.features(view))}"
        )
        assert (~is_grey[number]).sum() == present
    assert SENTINEL not in text_of(ax)


def test_views_figure_keeps_groups_together(cohort, ax):
    frames = {"rna": cohort.views["rna"].to_pandas()}
    groups = pd.Series(["b", "a"] * 40, index=frames["rna"].index)
    plot.plot_views(mb.MultiView.from_frames(frames, groups=groups), ax=ax)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["a\nN = 40", "b\nN = 40"]


@pytest.mark.parametrize(("kind", "what"), [("bars", "by_factor"), ("totals", "total")])
def test_variance_bars_have_the_shares_and_their_intervals(post, ax, kind, what):
    plot.plot_variance(post, kind=kind, level=0.9, ax=ax)
    table = summarise(mb.variance_explained(post)[what], level=0.9)
    heights = sorted(bar.get_height() for bar in ax.patches)
    np.testing.assert_allclose(heights, np.sort(100 * table["mean"]), atol=1e-6)
    np.testing.assert_allclose(np.sort(ends_of(ax, 1)[:, 1]), np.sort(100 * table["upper"]), atol=1e-6)
    assert "90%" in ax.get_title()
    with pytest.raises(DataError, match="heatmap, bars, totals"):
        plot.plot_variance(post, kind="pie")


def test_variance_by_group_is_that_of_each_group_alone(post, cohort, ax):
    """A posterior of two groups explains in each what the posterior of its subjects alone does."""
    names = np.where(np.arange(len(post.subjects)) % 2, "odd", "even")
    grouped = with_groups(post, names)
    shares = mb.variance_explained(grouped, by_group=True)
    assert shares["total"].dims == ("chain", "draw", "group", "view")
    for name in ("odd", "even"):
        own = groups_of(post)
        kept = list(np.array(post.subjects)[names == name])
        for key in ("posterior", "moments"):
            own[key] = own[key].sel(subject=kept)
        alone = mb.variance_explained(rebuild(post, own))
        for what in ("total", "by_factor", "alone"):
            np.testing.assert_allclose(shares[what].sel(group=name), alone[what], rtol=1e-6)
    plot.plot_variance(grouped, by_group=True, ax=ax)
    assert [label.get_text().split("\n")[:2] for label in ax.get_xticklabels()] == [
        [view, name] for name in ("even", "odd") for view in post.views
    ]


def test_variance_of_a_view_that_a_group_lacks_is_unknown(post, ax):
    has_rna = post.has_view("rna").values
    grouped = with_groups(post, np.where(has_rna, "with", "without"))
    total = mb.variance_explained(grouped, by_group=True)["total"]
    assert np.isnan(total.sel(group="without", view="rna")).all()
    assert np.isfinite(total.sel(group="with", view="rna")).all()
    plot.plot_variance(grouped, by_group=True, ax=ax)
    assert ax.get_xticklabels()[post.views.index("rna") + 3].get_text() == "rna\nwithout"


def test_factor_values_are_posterior_means_with_their_intervals(post, clinical, ax):
    assert plot.plot_factor_values(post, ["F2"], by=clinical["stage"], intervals=True, ax=ax) is ax
    table = summarise(post.factors().sel(factor="F2"))
    np.testing.assert_allclose(np.sort(points_of(ax)[:, 1]), np.sort(table["mean"]))
    ends = ends_of(ax, 1)
    np.testing.assert_allclose(np.sort(ends[:, 0]), np.sort(table["lower"]), atol=1e-6)
    assert [own.get_text() for own in ax.get_legend().get_texts()] == ["early", "late", "missing"]
    assert ax.get_legend().get_title().get_text() == "stage"
    assert SENTINEL not in text_of(ax)


def test_points_of_a_swarm_of_equal_values_do_not_hide_each_other(post, ax):
    plot.plot_factor_values(post, ["F1"], ax=ax)
    points = points_of(ax)
    assert len(np.unique(points.round(6), axis=0)) == len(post.subjects)
    assert np.abs(points[:, 0]).max() < 0.5


def test_violins_stand_for_labels_and_numbers_colour_points(post, clinical, ax):
    plot.plot_factor_values(post, ["F1", "F2"], by=clinical["sex"], kind="violin", ax=ax)
    assert [own.get_text() for own in ax.get_legend().get_texts()] == ["0", "1"]
    other = Figure().add_subplot()
    plot.plot_factor_values(post, ["F1"], by=clinical["age"], ax=other)
    colored = other.collections[-1]
    np.testing.assert_allclose(np.sort(colored.get_array()), np.sort(clinical["age"]))
    assert other.figure.axes[-1].get_ylabel() == "age"


@pytest.mark.parametrize(
    ("by", "match"),
    [
        ([1, 2], "Series"),
        (pd.Series([1.0], index=["nobody"]), "no row for 80"),
        (pd.Series([f"label {n}" for n in range(80)]), "labels"),
    ],
)
def test_a_covariate_that_cannot_be_drawn_is_refused(post, by, match):
    if isinstance(by, pd.Series) and len(by) == 80:
        by.index = list(post.subjects)
    with pytest.raises(DataError, match=match):
        plot.plot_factor_values(post, by=by)


def test_factor_scatter_has_an_ellipse_of_each_covariance(post, clinical, ax):
    plot.plot_factor_scatter(post, "F1", "F3", by=clinical["stage"], level=0.8, ax=ax)
    moments = post.factor_moments()
    points = points_of(ax)
    np.testing.assert_allclose(
        points[np.lexsort(points.T)], moments.mean[:, [0, 2]][np.lexsort(moments.mean[:, [0, 2]].T)]
    )
    drawn = next(own for own in ax.collections if isinstance(own, EllipseCollection))
    areas = drawn.get_widths() * drawn.get_heights()
    determinant = np.linalg.det(moments.covariances()[:, [0, 2]][:, :, [0, 2]])
    np.testing.assert_allclose(areas, 4 * -2 * np.log(0.2) * np.sqrt(determinant), rtol=1e-6)
    assert ax.get_xlim()[0] < moments.mean[:, 0].min()
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("F1", "F3")


def test_ellipses_hold_as_many_draws_as_they_say(post):
    """The boundary that is drawn is that of the level: of draws of a patient, such a share lies inside."""
    moments = post.factor_moments().sel(post.subjects)
    draws = post.factors().sel(factor=["F1", "F2"]).values[0].astype(float) - moments.mean[:, :2]
    inverse = np.linalg.inv(moments.covariances()[:, :2, :2])
    distance = np.einsum("snk,nkl,snl->sn", draws, inverse, draws)
    assert (distance < -2 * np.log1p(-0.5)).mean() == pytest.approx(0.5, abs=0.02)


def test_factor_scatter_colours_by_number_and_can_leave_ellipses_out(post, clinical, ax):
    plot.plot_factor_scatter(post, "F1", "F2", by=clinical["age"], ellipses=False, ax=ax)
    assert not any(isinstance(own, EllipseCollection) for own in ax.collections)
    assert len(ax.figure.axes) == 2


def test_correlation_figure_shows_the_mean_over_draws(post, ax):
    plot.plot_factor_correlation(post, ax=ax)
    draws = correlate_factors(post)
    one = np.corrcoef(post.factors().values[0, 7].T.astype(float))
    np.testing.assert_allclose(draws.values[0, 7], one, atol=1e-6)
    np.testing.assert_allclose(ax.images[0].get_array(), draws.mean(("chain", "draw")), atol=1e-6)
    shown = np.array([float(own.get_text()) for own in ax.texts]).reshape(3, 3)
    np.testing.assert_allclose(shown, draws.mean(("chain", "draw")), atol=0.0051)


def test_figures_ask_for_factors_that_exist(post, cohort):
    for draw in (
        lambda: plot.plot_factor_values(post, ["F9"]),
        lambda: plot.plot_factor_scatter(post, "F1", "F9"),
        lambda: plot.plot_loadings_heatmap(post, "rna", factors=["F9"]),
        lambda: plot.plot_data_heatmap(post, cohort.views, "rna", "F9"),
        lambda: plot.plot_top_features(post, "F9"),
    ):
        with pytest.raises(DataError, match="F9"):
            draw()
