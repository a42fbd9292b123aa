"""Figures of sharing, fits, associations, sets, information, coverage and risk show what was computed."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from drawn import SENTINEL, ends_of, groups_of, points_of, rebuild, text_of
from matplotlib.figure import Figure

import mofa_bayes as mb
from mofa_bayes import plot
from mofa_bayes.checking import Calibration
from mofa_bayes.errors import DataError, FitError
from mofa_bayes.explain import associate, enrichment, information
from mofa_bayes.risk import Scores
from mofa_bayes.risk.response import EXPECTATION, PROBABILITY, RISK

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
