"""What figures show is what was computed: places, intervals, labels and limits, and nothing of who a patient is."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from matplotlib.collections import EllipseCollection, LineCollection, PathCollection
from matplotlib.figure import Figure

import mofa_bayes as mb
from mofa_bayes import plot, steps
from mofa_bayes.checking import Calibration
from mofa_bayes.errors import DataError, FitError
from mofa_bayes.explain import associate, correlate_factors, enrichment, feature_response, information, summarise
from mofa_bayes.risk import Scores
from mofa_bayes.risk.response import EXPECTATION, PROBABILITY, RISK

mpl.use("Agg")
SENTINEL = "p00"  # every subject of the cohort has a name that starts so


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


def groups_of(post) -> dict[str, xr.Dataset]:
    return {name: node.to_dataset() for name, node in post.tree.children.items()}


def rebuild(post, groups) -> mb.Posterior:
    tree = xr.DataTree.from_dict(groups)
    tree.attrs = dict(post.tree.attrs)
    return mb.Posterior(tree)


def with_groups(post, names) -> mb.Posterior:
    groups = groups_of(post)
    return rebuild(post, groups | {"moments": groups["moments"].assign(group_of=("subject", names))})


def text_of(ax) -> str:
    return " ".join(own.get_text() for own in ax.figure.findobj(mpl.text.Text))


def points_of(ax) -> np.ndarray:
    return np.vstack([own.get_offsets() for own in ax.collections if isinstance(own, PathCollection)])


def ends_of(ax, axis: int) -> np.ndarray:
    """Ends of all vertical (axis 1) or horizontal (axis 0) intervals, (n, 2)."""
    lines = [own for own in ax.collections if isinstance(own, LineCollection)]
    segments = np.vstack([np.array(own.get_segments()) for own in lines if len(own.get_segments())])
    own = segments[np.ptp(segments[:, :, 1 - axis], axis=1) == 0]
    return np.sort(own[:, :, axis], axis=1)


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


def test_sharing_figure_joins_the_views_of_a_factor(post, ax):
    plot.plot_sharing(post, ax=ax)
    table = mb.sharing(post)
    labels = [label.get_text().split("\n") for label in ax.get_xticklabels()]
    assert {own[0]: own[1].replace(" ", "_") for own in labels} == table["kind"].to_dict()
    assert len(ax.lines) == sum("+" in views for views in table["views"])
    shown = sorted(float(own.get_text()) for own in ax.texts)
    active = table[[f"active_{view}" for view in post.views]].to_numpy()
    np.testing.assert_allclose(shown, np.sort(active.ravel()), atol=0.0051)


def test_bound_figure_marks_where_factors_were_dropped(post, ax):
    plot.plot_bound(post, ax=ax)
    np.testing.assert_allclose(ax.lines[0].get_ydata(), post.bound)
    drops = int((np.diff(post.tree["fit"]["n_factors"].values) < 0).sum())
    assert drops == len(ax.lines) - 1 == 1
    assert ax.get_ylim()[1] > float(post.bound[-1])


def test_starts_figure_has_the_best_on_top(post, ax):
    starts = xr.Dataset(
        {
            "start_bound": ("start", [-20.0, -10.0]),
            "start_n_factors": ("start", [3, 4]),
            "start_match": (("start", "factor"), [[0.5, 0.6, 0.7], [1.0, 1.0, 1.0]]),
        },
        coords={"factor": list(post.factor_names)},
    )
    plot.plot_starts(rebuild(post, groups_of(post) | {"starts": starts}), ax=ax)
    assert [label.get_text() for label in ax.get_yticklabels()] == [
        "start 1: best, 4 factors",
        "start 0: 10.0 nats lower, 3 factors",
    ]
    np.testing.assert_allclose(ax.images[0].get_array()[1], [0.5, 0.6, 0.7])


def test_figures_of_a_fit_need_an_engine_that_has_them(post):
    other = rebuild(post, groups_of(post) | {"fit": xr.Dataset({"n_draws": 3})})
    for draw in (plot.plot_bound, plot.plot_starts):
        with pytest.raises(FitError, match="vi"):
            draw(other)


def test_associations_are_drawn_as_they_were_found(post, clinical, ax):
    table = associate(post, clinical)
    plot.plot_associations(table, fdr=0.01, ax=ax)
    covariates = [label.get_text().split("\n")[0] for label in ax.get_yticklabels()]
    factors = [label.get_text() for label in ax.get_xticklabels()]
    wide = table.pivot(index="covariate", columns="factor", values=["estimate", "fdr"])
    np.testing.assert_allclose(ax.images[0].get_array(), wide["estimate"].loc[covariates, factors])
    pale = ax.images[0].get_alpha() < 1
    np.testing.assert_array_equal(pale, wide["fdr"].loc[covariates, factors] > 0.01)
    assert pale.any()
    assert not pale.all()
    for wrong in (table.drop(columns="fdr"), table.iloc[:0], {"covariate": 1}):
        with pytest.raises(DataError, match=r"mb\.associate"):
            plot.plot_associations(wrong)


def test_enrichment_draws_the_likeliest_sets_of_a_factor(post, ax):
    table = mb.biomarkers(post, "rna", factors=["F1"])["feature"]
    sets = {"planted": list(table[:15]), "weak": list(table[-15:]), "mixed": list(table[::4])}
    found = enrichment(post, "rna", sets)
    plot.plot_enrichment(found, "F1", n_sets=2, ax=ax)
    own = found[found["factor"] == "F1"].sort_values("p").head(2)
    assert [label.get_text() for label in ax.get_yticklabels()] == [
        f"{row.set} ({row.n_features})" for row in own.iloc[::-1].itertuples()
    ]
    np.testing.assert_allclose(points_of(ax)[:, 0], own["difference"].iloc[::-1])
    np.testing.assert_allclose(ends_of(ax, 0), own[["lower", "upper"]].iloc[::-1])
    with pytest.raises(DataError, match="F9"):
        plot.plot_enrichment(found, "F9")
    other = Figure().add_subplot()
    plot.plot_enrichment(found, n_sets=2, ax=other)
    sets = [label.get_text() for label in other.get_yticklabels()]
    assert sets == list(found.groupby("set")["p"].min().sort_values().head(2).index)
    high = found.pivot(index="set", columns="factor", values="probability").loc[sets]
    np.testing.assert_allclose(other.images[0].get_array(), high)


def test_profile_of_a_feature_adds_up_and_has_its_intervals(post, ax):
    plot.plot_feature_profile(post, "rna", "rna_3", ax=ax)
    table = mb.feature_profile(post, "rna", "rna_3")
    heights = [bar.get_height() for bar in ax.patches]
    assert sum(heights) == pytest.approx(100, abs=1e-3)
    np.testing.assert_allclose(heights, 100 * table["variance"])
    assert [label.get_text() for label in ax.get_xticklabels()] == [*post.factor_names, "noise"]
    np.testing.assert_allclose(ends_of(ax, 1)[:, 1], 100 * table["variance_upper"])


def test_information_bars_are_what_a_view_tells(post, ax):
    found = information(post)
    plot.plot_information(found, ax=ax)
    heights = np.array([bar.get_height() for bar in ax.patches])
    for what in ("alone", "unique"):
        mean = found[what].mean(("chain", "draw"))
        assert all(np.isclose(heights, value, atol=1e-6).any() for value in mean.values.ravel())
    assert {own.get_text() for own in ax.get_legend().get_texts()} == {*post.views, "all views"}
    with pytest.raises(DataError, match="each pattern"):
        plot.plot_information(information(post, patterns="each"))


def test_coverage_is_drawn_as_its_distance_from_the_level(ax):
    table = pd.DataFrame(
        [("loadings", 0.5, 0.45, 0.01, 9), ("loadings", 0.95, 0.96, np.nan, 9)],
        columns=["quantity", "level", "coverage", "se", "n"],
    )
    own = Calibration("vi", "", table, pd.DataFrame(), pd.DataFrame(), 10, 0, 0, 1.0, ())
    plot.plot_coverage(own, ax=ax)
    np.testing.assert_allclose(points_of(ax)[:, 1], [-5.0, 1.0])
    np.testing.assert_allclose(ends_of(ax, 1)[0], [-5 - 1.96, -5 + 1.96])
    assert list(ax.get_xticks()) == [50.0, 95.0]


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


def make_scores(labels, places, values) -> Scores:
    shares = ("share_factors", "share_parameters", "share_outcome")
    names = (labels.estimate, "lower", "upper", *shares)
    cells = dict.fromkeys(names, (("subject", labels.dim), values))
    coords = {"subject": [f"{SENTINEL}{n}" for n in range(len(values))], labels.dim: places}
    return Scores(dataset=xr.Dataset(cells, coords=coords), level=0.9, provenance={})


@pytest.mark.parametrize(
    ("labels", "places", "at", "label"),
    [
        (RISK, [1.0, 5.0], 5.0, "risk by time 5"),
        (RISK, [np.nan], None, "risk"),
        (PROBABILITY, ["mild", "$evere"], "$evere", "probability of \\$evere"),
        (EXPECTATION, ["crp"], None, "predicted crp"),
    ],
)
def test_predictions_of_every_family_are_drawn_in_order(ax, labels, places, at, label):
    values = np.random.default_rng(0).random((9, len(places)))
    scores = make_scores(labels, places, values)
    plot.plot_risk(scores, time=at, ax=ax)
    np.testing.assert_allclose(points_of(ax)[:, 1], np.sort(values[:, -1]))
    assert ax.get_ylabel() == label
    assert "90%" in ax.get_title()
    assert SENTINEL not in text_of(ax)
    with pytest.raises(DataError, match="one of"):
        plot.plot_risk(scores, time=77.0)


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
