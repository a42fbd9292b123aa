"""Figures of loadings and of data show what was computed, where the mask and the factor put it."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from drawn import SENTINEL, ends_of, groups_of, points_of, rebuild, text_of
from matplotlib.figure import Figure

import mofa_bayes as mb
from mofa_bayes import plot, steps
from mofa_bayes.errors import DataError
from mofa_bayes.explain import feature_response, summarise

mpl.use("Agg")


@pytest.fixture
def ax():
    return Figure().add_subplot()


def test_ranked_loadings_are_in_order_and_the_strongest_have_names(post, ax):
    plot.plot_loadings_ranked(post, "rna", "F1", n_labels=4, ax=ax)
    y = points_of(ax)[:, 1]
    assert len(y) == 60
    assert (np.diff(y) >= 0).all()
    table = mb.biomarkers(post, "rna", factors=["F1"])
    assert {own.get_text() for own in ax.texts} == set(table.loc[table["mean"].abs().nlargest(4).index, "feature"])
    sure = ((table["lower"] > 0) | (table["upper"] < 0)).sum()
    assert f"{sure} of 60" in ax.get_title()


def test_top_features_are_the_surest_of_all_views(post, ax):
    plot.plot_top_features(post, "F1", n_features=6, fdr=0.05, ax=ax)
    table = mb.biomarkers(post, factors=["F1"], fdr=0.05)
    assert [label.get_text() for label in ax.get_yticklabels()] == list(table["feature"].head(6))[::-1]
    assert {own.get_text() for own in ax.get_legend().get_texts()} == set(table["view"].head(6))
    assert f"{len(table)} at 5%" in ax.get_title()
    np.testing.assert_allclose(np.sort(points_of(ax)[:, 0]), np.sort(table["mean"].head(6)))


def test_top_features_of_an_empty_list_say_so(post, ax, monkeypatch):
    empty = mb.biomarkers(post, factors=["F1"]).iloc[:0]
    monkeypatch.setattr("mofa_bayes.plot.loadings.biomarkers", lambda *_, **__: empty)
    plot.plot_top_features(post, "F1", fdr=0.01, ax=ax)
    assert "no feature" in ax.get_title()


def test_loadings_heatmap_has_the_strongest_of_each_factor(post, ax):
    plot.plot_loadings_heatmap(post, "meth", factors=["F1", "F2"], n_features=3, ax=ax)
    mean = post.loadings("meth").mean(("chain", "draw")).sel(factor=["F1", "F2"]).to_pandas()
    rows = [label.get_text() for label in ax.get_yticklabels()]
    assert set(rows) == {name for factor in mean for name in mean[factor].abs().nlargest(3).index}
    np.testing.assert_allclose(ax.images[0].get_array(), mean.loc[rows], atol=1e-6)


def test_loadings_scatter_draws_both_intervals(post, ax):
    plot.plot_loadings_scatter(post, "ehr", "F1", "F2", n_labels=2, ax=ax)
    for axis, factor in ((0, "F1"), (1, "F2")):
        table = summarise(post.loadings("ehr").sel(factor=factor))
        wide = table[table["upper"] > table["lower"]]
        ends = ends_of(ax, axis)
        for row in wide.itertuples():
            assert np.isclose(ends, [row.lower, row.upper], atol=1e-6).all(axis=1).any()
    assert len(ax.texts) == 2


def test_loadings_lie_where_the_mask_puts_them(post, ax):
    mask = np.zeros((7, 12), dtype=bool)
    mask[1:6, ::1] = True
    plot.plot_loadings_image(post, "rna", "F1", mask, ax=ax)
    mean = post.loadings("rna").sel(factor="F1").mean(("chain", "draw")).values
    np.testing.assert_allclose(ax.images[-1].get_array(), mean.reshape(5, 12), atol=1e-6)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_of_a_mask_hold_all_of_its_loadings(post, ax, axis):
    mask = np.zeros((6, 7, 8), dtype=bool)
    mask[1:4, 2:6, 1:6] = True
    plot.plot_loadings_image(post, "rna", "F2", mask, axis=axis, n_slices=9, ax=ax)
    shown = np.ma.filled(ax.images[-1].get_array(), np.nan)
    mean = post.loadings("rna").sel(factor="F2").mean(("chain", "draw")).values
    np.testing.assert_allclose(np.sort(shown[~np.isnan(shown)]), np.sort(mean), atol=1e-6)
    first = {0: 1, 1: 2, 2: 1}[axis]
    assert f"slices {first}, {first + 1}" in ax.get_title()


def test_places_that_the_fit_left_out_are_grey(post, ax):
    mask = np.ones((4, 11), dtype=bool)
    names = [*(f"gone_{n}" for n in range(4)), *post.features("meth")]
    plot.plot_loadings_image(post, "meth", "F1", mask, places=names, ax=ax)
    grey, shown = (np.ma.filled(own.get_array(), np.nan).ravel() for own in ax.images)
    assert np.isnan(shown[:4]).all()
    np.testing.assert_allclose(grey[:4], 0.85)
    assert np.isnan(grey[4:]).all()


@pytest.mark.parametrize(
    ("mask", "more", "match"),
    [
        (np.ones((2, 2), dtype=bool), {}, "4 places for 60 features"),
        (np.ones((60, 1)), {}, "float64"),
        (np.zeros((6, 10), dtype=bool), {}, "holds nothing"),
        (np.ones(60, dtype=bool), {}, "two or three"),
        (np.ones((6, 10), dtype=bool), {"axis": 3}, "0, 1 or 2"),
        (np.ones((2, 1), dtype=bool), {"places": ["a", "b"]}, "has none"),
    ],
)
def test_a_mask_that_does_not_fit_is_refused(post, mask, more, match):
    with pytest.raises(DataError, match=match):
        plot.plot_loadings_image(post, "rna", "F1", mask, **more)


def test_data_heatmap_is_in_order_of_the_factor(post, cohort, ax):
    plot.plot_data_heatmap(post, cohort.views, "rna", "F1", n_features=5, ax=ax)
    table = mb.biomarkers(post, "rna", factors=["F1"])
    strongest = table.loc[table["mean"].abs().nlargest(5).index].sort_values("mean", ascending=False)
    rows = [label.get_text() for label in ax.get_yticklabels()]
    assert rows == list(strongest["feature"])
    above = ax.child_axes[0]
    place = above.lines[0].get_ydata()
    assert (np.diff(place) >= 0).all()
    tiles = np.ma.filled(ax.images[0].get_array(), np.nan)
    assert tiles.shape == (5, int(cohort.views.has_view("rna").sum()))
    for own, loading in zip(tiles, strongest["mean"], strict=True):
        seen = ~np.isnan(own)
        assert np.corrcoef(own[seen], place[seen])[0, 1] * np.sign(loading) > 0.3
    assert SENTINEL not in text_of(ax)


def test_data_scatter_shows_values_and_the_line_through_them(post, cohort, ax):
    feature = mb.biomarkers(post, "rna", factors=["F1"])["feature"].iloc[0]
    plot.plot_data_scatter(post, cohort.views, "rna", feature, "F1", ax=ax)
    values = cohort.views["rna"].sel(feature_rna=feature).to_series().dropna()
    points = points_of(ax)
    np.testing.assert_allclose(np.sort(points[:, 1]), np.sort(values))
    x, y = ax.lines[0].get_data()
    slope, level = np.polyfit(points[:, 0], points[:, 1], 1)
    np.testing.assert_allclose(y, level + slope * x, atol=0.2 * values.std())


def test_expected_value_of_a_feature_is_on_the_scale_of_the_data(post, cohort):
    """At its patients' own factors, a feature is expected where imputation expects it."""
    table = feature_response(post, "ehr", "ehr_10", "F2", at=[-50.0, 0.0, 50.0])
    assert table[["lower", "mean", "upper"]].to_numpy().min() >= 0
    assert table[["lower", "mean", "upper"]].to_numpy().max() <= 1
    own = feature_response(post, "rna", "rna_0", "F1", at=[0.0, 1.0])
    assert list(own["value"]) == [0.0, 1.0]
    scale, centre = post.preprocessing.scale("rna")[0], post.preprocessing.center("rna")[0]
    intercept = post.intercepts("rna").sel(feature_rna="rna_0").mean().item()
    loading = post.loadings("rna").sel(feature_rna="rna_0", factor="F1").mean().item()
    np.testing.assert_allclose(own["mean"], centre + scale * (intercept + loading * np.array([0, 1])), rtol=1e-5)
    with pytest.raises(DataError, match="feature"):
        feature_response(post, "rna", "none", "F1", at=[0.0])


def test_figures_of_data_refuse_other_cohorts(post, cohort):
    other = cohort.views.dataset.assign_coords(subject=[f"q{n}" for n in range(80)])
    with pytest.raises(DataError, match="none of the subjects"):
        plot.plot_data_heatmap(post, mb.MultiView(other), "rna", "F1")
    less = cohort.views.dataset.isel(feature_rna=slice(2))
    with pytest.raises(DataError, match="lack"):
        plot.plot_data_heatmap(post, mb.MultiView(less), "rna", "F1")
    age = pd.Series(np.arange(80.0), index=list(post.subjects))
    with pytest.raises(DataError, match="numbers"):
        plot.plot_data_scatter(post, cohort.views, "rna", "rna_0", "F1", by=age)
    with pytest.raises(DataError, match="rna_0"):
        plot.plot_data_scatter(post, cohort.views, "rna", "none", "F1")


def test_names_are_drawn_as_they_stand(post, ax):
    """A dollar sign starts no formula, and a name of any length leaves room for the figure."""
    names = [f"${n}$ \\frac{{ of a feature with a long, long name" for n in range(60)]
    own = groups_of(post)
    own = {
        key: node.assign_coords(feature_rna=names) if "feature_rna" in node.dims else node for key, node in own.items()
    }
    plot.plot_loadings(rebuild(post, own), "rna", "F1", n_features=3, ax=ax)
    ax.figure.canvas.draw()
    assert all(len(label.get_text()) < 45 for label in ax.get_yticklabels())


@pytest.mark.parametrize("wrong", [0, -1, 2.5, True, "3"])
def test_a_number_of_features_is_a_number(post, wrong):
    with pytest.raises(DataError, match="n_features"):
        plot.plot_loadings(post, "rna", "F1", n_features=wrong)


def test_response_of_a_fit_of_groups_has_a_line_for_each(ax):
    """Two groups whose features differ in level and in spread, which the fit divides by, get their own line each."""
    rng = np.random.default_rng(4)
    factor, is_north = rng.standard_normal(60), np.arange(60) % 2 == 0
    index = [f"{SENTINEL}{n}" for n in range(60)]
    size, level = np.where(is_north, 4.0, 1.0), np.where(is_north, 30.0, 5.0)
    noise = 0.3 * rng.standard_normal((60, 6))
    values = level[:, None] + size[:, None] * (factor[:, None] * [1, 1, -1, 1, -1, 1] + noise)
    table = pd.DataFrame(values, index=index, columns=list("abcdef"))
    table["kind"] = rng.choice(["x", "y", "z"], 60)
    groups = pd.Series(np.where(is_north, "north", "south"), index=index)
    views = mb.MultiView.from_frames({"lab": table}, groups=groups, likelihoods={"lab": {"kind": "categorical"}})
    post = mb.fit(views, mb.FactorModel(n_factors=1, scale_groups=True), seed=0, n_draws=50, progress=False)
    found = feature_response(post, "lab", "a", "F1", at=[-1.0, 1.0]).set_index(["group", "value"])["mean"]
    for name, spread, centre in (("north", 4.0, 30.0), ("south", 1.0, 5.0)):
        assert found[name].diff().iloc[-1] / 2 == pytest.approx(spread, rel=0.3)
        assert found[name].mean() == pytest.approx(centre, abs=spread)
    plot.plot_data_scatter(post, views, "lab", "a", "F1", ax=ax)
    assert len(ax.lines) == 2
    assert [own.get_text() for own in ax.get_legend().get_texts()] == ["north", "south"]
    with pytest.raises(DataError, match="categorical"):
        plot.plot_data_scatter(post, views, "lab", "kind=x", "F1")


def test_measured_views_are_drawn_as_they_were_prepared_for_the_fit(ax):
    rng = np.random.default_rng(5)
    factor = rng.standard_normal((50, 1))
    rates = np.exp(3 + 0.6 * factor * [1, -1, 1, 1, -1, 1] + 0.2 * rng.standard_normal((50, 6)))
    table = pd.DataFrame(rates, index=[f"{SENTINEL}{n}" for n in range(50)], columns=list("abcdef"))
    measured = mb.MultiView.from_frames({"rna": table})
    prepared = mb.prepare(measured, {"rna": [steps.Log1p()]})
    post = mb.fit(prepared, mb.FactorModel(n_factors=1), seed=0, n_draws=40, progress=False)
    other = Figure().add_subplot()
    plot.plot_data_scatter(post, measured, "rna", "a", "F1", ax=ax)
    plot.plot_data_scatter(post, prepared, "rna", "a", "F1", ax=other)
    np.testing.assert_allclose(points_of(ax), points_of(other))
    assert ax.lines[0].get_ydata().max() < 10
