"""Long work: several starts, budgets, checkpoints that resume to the identical result."""

import warnings

import numpy as np
import pytest
from power_cut import power_cut

import mofa_bayes as mb
from mofa_bayes.engines.vi.starts import ascend_best
from mofa_bayes.errors import ConvergenceWarning, FileError


def fit(cohort, spec, **settings):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return mb.fit(cohort.views, spec, settings=mb.Ascent(**settings), n_draws=20, progress=False)


SPECS = {
    "spike_slab": mb.FactorModel(n_factors=5),
    "ard": mb.FactorModel(n_factors=5, loadings=mb.ARD()),
    "mixed": mb.FactorModel(
        n_factors=4,
        loadings=mb.Horseshoe(),
        factors=mb.ARDFactors(),
        views={"meth": mb.ViewModel(loadings=mb.Laplace())},
    ),
}


@pytest.mark.parametrize("stop", [4, 15, 35])
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_resumed_ascent_is_identical(cohort, spec, stop, tmp_path, monkeypatch):
    """Killed after any pass, in any phase: the state written last leads to the same trace, factors and loadings."""
    whole = fit(cohort, spec)
    path = tmp_path / "state.npz"
    with power_cut(monkeypatch, stop):
        fit(cohort, spec, checkpoint=path, checkpoint_seconds=0.0)
    assert [file.name for file in tmp_path.iterdir()] == ["state.npz"]
    again = fit(cohort, spec, checkpoint=path, checkpoint_seconds=0.0)
    np.testing.assert_array_equal(again.bound.values, whole.bound.values)
    np.testing.assert_array_equal(again.factors().values, whole.factors().values)
    np.testing.assert_array_equal(again.loadings("rna").values, whole.loadings("rna").values)


def test_checkpoint_of_another_fit_is_refused(cohort, tmp_path):
    path = tmp_path / "state.npz"
    fit(cohort, SPECS["ard"], checkpoint=path, checkpoint_seconds=0.0)
    with pytest.raises(FileError, match="another model"):
        fit(cohort, SPECS["spike_slab"], checkpoint=path)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(FileError, match="Remove the file"):
        fit(cohort, SPECS["ard"], checkpoint=path)


def test_best_of_several_starts_is_kept_and_their_agreement_told(cohort):
    post = fit(cohort, mb.FactorModel(n_factors=3), n_starts=3)
    table = post.starts
    assert len(table) == 3
    assert table["bound"].is_monotonic_decreasing
    assert table["bound"].iloc[0] == pytest.approx(float(post.bound[-1]))
    matches = table[list(post.factor_names)]
    np.testing.assert_allclose(matches.iloc[0], 1.0)
    assert ((matches >= 0) & (matches <= 1 + 1e-9)).all(axis=None)


def test_starts_that_disagree_are_shown_as_such():
    """Pure noise has no factors to agree on."""
    import pandas as pd

    rng = np.random.default_rng(0)
    index = [f"p{n:03d}" for n in range(100)]
    frame = pd.DataFrame(rng.standard_normal((100, 100)), index, [f"f{d}" for d in range(100)])
    spec = mb.FactorModel(n_factors=8, min_variance=0.0, loadings=mb.Normal(scale=0.5))
    post = mb.fit(
        mb.MultiView.from_frames({"v": frame}), spec, settings=mb.Ascent(n_starts=3, mode="fast"), progress=False
    )
    assert post.starts[list(post.factor_names)].iloc[1:].min(axis=None) < 0.95


def test_time_budget_is_kept(cohort):
    with pytest.warns(ConvergenceWarning):
        post = mb.fit(cohort.views, settings=mb.Ascent(max_seconds=1e-6), n_draws=5, progress=False)
    assert len(post.bound) <= 1


def test_a_slower_mode_climbs_at_least_as_high(cohort):
    fast, slow = (fit(cohort, mb.FactorModel(n_factors=5), mode=mode) for mode in ("fast", "slow"))
    assert len(slow.bound) > len(fast.bound)
    assert float(slow.bound[-1]) >= float(fast.bound[-1])


def test_progress_can_end_the_ascent(cohort):
    from mofa_bayes.data.preprocess import fit_preprocessing
    from mofa_bayes.engines.vi.known import find_known
    from mofa_bayes.engines.vi.layout import lay_out

    preprocessing = fit_preprocessing(cohort.views, dict.fromkeys(cohort.views.names, "feature"))
    layout = lay_out(cohort.views, preprocessing, find_known(cohort.views, preprocessing))
    with pytest.warns(ConvergenceWarning):
        fitted, _ = ascend_best(
            layout, mb.FactorModel(n_factors=3), mb.Ascent(), np.random.default_rng(0), lambda n, bound: n == 25
        )
    assert len(fitted.bound) == 15  # the first ten passes are those of the dense start


def test_stopped_at_once_it_still_returns_the_model_asked_for(cohort):
    spec = mb.FactorModel(n_factors=3, loadings=mb.SpikeSlab(positive=True))
    post = fit(cohort, spec, max_seconds=1e-9)
    assert len(post.bound) == 1
    assert (post.loadings("rna").values >= 0).all()
    assert not post.active("rna").values.all()
