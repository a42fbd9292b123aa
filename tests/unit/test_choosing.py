"""Choosing the number of factors by entries that were hidden from the fit."""

import contextlib
import signal

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

import mofa_bayes as mb
from mofa_bayes.choosing import _choose_cells, _conclude
from mofa_bayes.data.simulate import Design
from mofa_bayes.errors import FitError
from mofa_bayes.plot import plot_choice
from mofa_bayes.posterior.density import predictive_log_density

FAST = mb.Ascent(mode="fast")


@pytest.fixture(scope="module")
def three():
    """Two views of 150 subjects with three factors."""
    design = Design(
        n_subjects=150,
        n_features={"a": 50, "b": 40},
        sharing=[("a", "b"), ("a", "b"), ("a",)],
        noise_sd=0.6,
        absent_view=0.1,
    )
    return mb.simulate_cohort(design, seed=1).views


@pytest.fixture(scope="module")
def choice(three):
    spec = mb.FactorModel(min_variance=0.0)
    return mb.choose_n_factors(
        three, spec, candidates=(1, 2, 3, 6), settings=FAST, n_draws=100, n_repeats=1, seed=0, progress=False
    )


def test_the_true_number_of_factors_is_recommended(choice):
    assert choice.recommended == 3
    assert choice.table["n_factors"].tolist() == [1, 2, 3, 6]
    assert (choice.table["behind"] >= 0).all()
    assert choice.table.set_index("n_factors")["behind"].loc[1] > 5 * choice.table["behind_se"].iloc[0]


def test_the_overall_density_is_that_of_the_views_weighed_by_their_entries(choice):
    row = choice.table.iloc[0]
    assert min(row["a"], row["b"]) <= row["log_density"] <= max(row["a"], row["b"])


def test_choice_tells_itself_in_one_line_and_one_table(choice):
    assert repr(choice).startswith("<Choice: 3 factors")
    assert "\n" not in repr(choice)
    assert "<table" in choice._repr_html_()


def test_choice_is_drawn_with_its_recommendation(choice):
    ax = plot_choice(choice)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["recommended: 3"]


def test_no_hidden_entry_leaves_a_column_constant(three):
    cells = _choose_cells(three, 0.5, np.random.default_rng(0))
    for view, hidden in cells.items():
        seen = np.where(hidden, np.nan, three[view].values)
        assert (np.nanstd(seen, axis=0) > 0).all()
        assert 0.3 < hidden.sum() / np.isfinite(three[view].values).sum() < 0.7


def test_hidden_entries_of_a_categorical_variable_are_hidden_whole():
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"stage": rng.choice(["I", "II", "III"], 50), "x": rng.normal(size=50)})
    views = mb.MultiView.from_frames({"v": table}, likelihoods={"v": {"stage": "categorical"}})
    hidden = _choose_cells(views, 0.3, rng)["v"]
    indicators = np.flatnonzero(views.likelihoods("v").values == "categorical")
    assert len(indicators) == 3
    assert (hidden[:, indicators] == hidden[:, indicators[:1]]).all()


def densities(table):
    """Log density of every entry of one view, from a fit of one factor to it."""
    views = mb.MultiView.from_frames({"v": table})
    post = mb.fit(views, mb.FactorModel(n_factors=1), settings=FAST, progress=False)
    everywhere = {"v": np.ones(table.shape, dtype=bool)}
    moments = post.factor_moments().sel(views.subjects)
    return predictive_log_density(post.tree, views, moments, everywhere, np.random.default_rng(0))["v"]


def test_density_of_pure_noise_is_that_of_the_normal_in_any_unit():
    """Oracle: without any factor an entry is normal around its column's mean; the fitted one takes up a little."""
    table = pd.DataFrame(np.random.default_rng(5).normal(3.0, 2.0, (400, 12)), columns=[f"f{d:02d}" for d in range(12)])
    found = densities(table)
    expected = norm.logpdf(table.to_numpy(), table.to_numpy().mean(axis=0), table.to_numpy().std(axis=0))
    assert 0 < found.mean() - expected.mean() < 0.05
    np.testing.assert_allclose(densities(10 * table), found - np.log(10), atol=1e-2)


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"candidates": ()}, "candidates"),
        ({"candidates": (0, 2)}, "candidates"),
        ({"candidates": (500,)}, "number of subjects"),
        ({"fraction": 0.0}, "fraction"),
        ({"fraction": 1}, "fraction"),
        ({"n_repeats": 0}, "n_repeats"),
        ({"settings": mb.Ascent(checkpoint="state.npz")}, "checkpoint"),
    ],
)
def test_arguments_that_cannot_be_used_are_refused(three, wrong, word):
    with pytest.raises(FitError, match=word):
        mb.choose_n_factors(three, **wrong)


def test_repeats_do_not_make_a_subject_more_than_one():
    """The same scores several times over: the mean stays, and so does its error."""
    sums = pd.DataFrame({"a": [1.0, 2.0, 4.0], "n a": [1, 1, 1]}, index=pd.Index(["u", "v", "w"], name="subject"))
    best = sums.assign(a=sums["a"] + [1.0, 2.0, 3.0])
    once, often = (_conclude([1, 2], {1: [sums] * n, 2: [best] * n}, {1: [1], 2: [2]}, ("a",)).table for n in (1, 4))
    pd.testing.assert_frame_equal(once, often)


def swallow_interrupt(*_, **__):
    """Stand in for an engine that keeps what it has on Ctrl-C."""
    with contextlib.suppress(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_an_interrupt_ends_the_choice(three, monkeypatch):
    monkeypatch.setattr("mofa_bayes.choosing.fit", swallow_interrupt)
    with pytest.raises(KeyboardInterrupt):
        mb.choose_n_factors(three, candidates=(1, 2), n_repeats=1)
