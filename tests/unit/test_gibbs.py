"""The gibbs engine as a whole: chains that resume, stop and agree; draws that carry the right labels."""

import os
import signal
import warnings
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import numpy as np
import pandas as pd
import pytest
from power_cut import power_cut

import mofa_bayes as mb
from mofa_bayes.data.preprocess import fit_preprocessing
from mofa_bayes.data.simulate import Design
from mofa_bayes.engines.gibbs import running
from mofa_bayes.engines.gibbs.sample import sample_gibbs
from mofa_bayes.engines.vi.known import find_known
from mofa_bayes.engines.vi.layout import lay_out
from mofa_bayes.errors import ConvergenceWarning, FileError, FitError, SpecError
from mofa_bayes.posterior.build_gibbs import label_gibbs

SPEC = mb.FactorModel(n_factors=3)
SHORT = {"n_draws": 12, "n_tune": 6, "n_chains": 2, "n_jobs": 1}


@pytest.fixture(scope="module")
def views():
    """Two gaussian views of 40 subjects, and one of mixed likelihoods; absent views and entries, groups, covariates."""
    design = Design(
        n_subjects=40,
        n_features={"a": 12, "b": 9, "c": 7},
        sharing=[("a", "b", "c"), ("a", "b")],
        absent_view=0.3,
        missing=0.05,
        noise_sd=0.5,
    )
    cohort = mb.simulate_cohort(design, seed=1)
    subjects = list(cohort.views.subjects)
    frames = {view: cohort.views[view].to_pandas() for view in ("c", "a", "b")}
    frames = {view: frame[frame.notna().any(axis=1)] for view, frame in frames.items()}
    frames["a"] = frames["a"].iloc[::-1, ::-1]
    rng = np.random.default_rng(2)
    own = list(frames["c"].columns)
    kinds = dict(zip(own, ["gaussian", "negative_binomial", "bernoulli", "poisson", "student_t"], strict=False))
    for name in own[1:4]:
        seen = frames["c"][name]
        drawn = seen > 0 if kinds[name] == "bernoulli" else rng.poisson(np.exp(seen.fillna(0)))
        frames["c"][name] = np.where(seen.isna(), np.nan, drawn)
    groups = pd.Series(["y", "x"] * 20, index=subjects)
    return mb.MultiView.from_frames(
        {view: frame.astype(float) for view, frame in frames.items()},
        likelihoods={"c": kinds},
        groups=groups,
        covariates=pd.DataFrame({"age": rng.standard_normal(40)}, subjects),
    )


@pytest.fixture(scope="module")
def plain():
    """Two gaussian views of 60 subjects that share two factors."""
    design = Design(n_subjects=60, n_features={"a": 10, "b": 8}, sharing=[("a", "b")] * 2, noise_sd=0.7)
    return mb.simulate_cohort(design, seed=3).views


def arrange(views, spec):
    preprocessing = fit_preprocessing(views, {view: spec.scale_of(view) for view in views.names})
    return lay_out(views, preprocessing, find_known(views, preprocessing))


def sample(views, spec=SPEC, seed=0, **more):
    settings = mb.Sampling(**SHORT | more)
    return sample_gibbs(arrange(views, spec), spec, settings, np.random.default_rng(seed), fingerprint="this one")


def assert_same(one, other):
    for mine, theirs in zip(one.chains, other.chains, strict=True):
        assert mine.keys() == theirs.keys()
        for name, values in mine.items():
            np.testing.assert_array_equal(values, theirs[name], err_msg=name)


def test_same_seed_gives_the_same_draws_and_another_others(views):
    assert_same(sample(views), sample(views))
    first, other = sample(views).chains[0], sample(views, seed=1).chains[0]
    assert (first["factors"] != other["factors"]).any()


def test_processes_change_nothing(views):
    assert_same(sample(views), sample(views, n_jobs=2))


PRIORS = {
    "spike_slab": mb.SpikeSlab(),
    "ard": mb.ARD(),
    "horseshoe": mb.Horseshoe(),
    "laplace": mb.Laplace(),
    "normal_positive": mb.Normal(positive=True),
}


@pytest.mark.parametrize(("name", "stop"), list(zip(PRIORS, [1, 7, 13, 14, 20], strict=True)))
def test_resumed_chain_is_identical(views, plain, name, stop, tmp_path, monkeypatch):
    """Killed after any sweep, in any chain: the state written last leads to the same draws, bit for bit."""
    spec = mb.FactorModel(n_factors=2, loadings=PRIORS[name], factors=mb.ARDFactors())
    views = views if name == "spike_slab" else plain
    whole = sample(views, spec, thin=2, n_draws=4)
    path = tmp_path / "state.npz"
    with power_cut(monkeypatch, stop):
        sample(views, spec, thin=2, n_draws=4, checkpoint=path, checkpoint_seconds=0.0)
    assert_same(sample(views, spec, thin=2, n_draws=4, checkpoint=path, checkpoint_seconds=0.0), whole)
    again = sample(views, spec, thin=2, n_draws=4, checkpoint=path)
    assert_same(again, whole)  # complete: nothing is left to do


def test_checkpoint_of_another_fit_is_refused(views, tmp_path):
    path = tmp_path / "state.npz"
    sample(views, checkpoint=path)
    with pytest.raises(FileError, match="another model"):
        sample(views, checkpoint=path, n_draws=13)


@pytest.mark.parametrize("is_finished", [True, False])
def test_checkpoint_without_its_draws_is_refused(plain, is_finished, tmp_path):
    """Nothing stands for draws that are gone: no zeros, and no error about names."""
    path, more = tmp_path / "state.npz", {"n_draws": 100_000, "n_chains": 1}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        sample(plain, checkpoint=path, **({} if is_finished else more | {"max_seconds": 0.5}))
    (next((tmp_path / "state.draws").glob("chain*")) / "factors.npy").unlink()
    with pytest.raises(FileError, match="remove the checkpoint"):
        sample(plain, checkpoint=path, **({} if is_finished else more))


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_interrupt_keeps_what_was_drawn_and_resume_goes_on(plain, n_jobs, tmp_path):
    more = {"n_draws": 400, "n_jobs": n_jobs, "n_tune": 1}
    layout, settings = arrange(plain, SPEC), mb.Sampling(**SHORT | more | {"checkpoint": tmp_path / "state.npz"})
    sent = []

    def interrupt(done, total):
        if done > (250 if n_jobs == 1 else 40) and not sent:
            sent.append(done)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.warns(ConvergenceWarning, match="gibbs stopped after"):
        some = sample_gibbs(layout, SPEC, settings, np.random.default_rng(0), interrupt, fingerprint="this one")
    n_kept = len(some.chains[0]["factors"])
    assert 0 < n_kept < 400
    assert not some.completed
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    again = sample_gibbs(layout, SPEC, settings, np.random.default_rng(0), fingerprint="this one")
    assert again.completed
    for number, chain in zip(some.numbers, some.chains, strict=True):
        np.testing.assert_array_equal(again.chains[number]["factors"][:n_kept], chain["factors"])
    assert_same(again, sample(plain, **more | {"n_jobs": 1}))


def test_interrupt_while_starts_are_sought_is_an_interrupt(plain, monkeypatch):
    def interrupt(climber, *_):
        climber.bounds.append(0.0)  # some passes are done
        raise KeyboardInterrupt

    monkeypatch.setattr("mofa_bayes.engines.vi.climber.Climber.run", interrupt)
    with pytest.raises(KeyboardInterrupt):
        sample(plain)


def test_interrupt_before_any_draw_is_an_interrupt(plain):
    def interrupt(done, total):
        os.kill(os.getpid(), signal.SIGINT)

    layout = arrange(plain, SPEC)
    with pytest.raises(KeyboardInterrupt):
        sample_gibbs(layout, SPEC, mb.Sampling(**SHORT), np.random.default_rng(0), interrupt)


@pytest.mark.parametrize(("stop", "n_chains"), [(9, None), (18 + 9, 1), (18 + 10, 2)])
def test_chains_of_fewer_draws_than_alignment_needs_count_as_none(plain, stop, n_chains):
    """Six sweeps are forgotten: the chain that is stopped has 3 draws, or in the last case 4."""

    def told(done, total):
        return done >= stop

    args = arrange(plain, SPEC), SPEC, mb.Sampling(**SHORT), np.random.default_rng(0), told
    if n_chains is None:
        with pytest.raises(FitError, match="no chain kept 4 draws"):
            sample_gibbs(*args)
        return
    with pytest.warns(ConvergenceWarning, match="gibbs stopped"):
        some = sample_gibbs(*args)
    assert some.numbers == (0,)
    assert len(some.chains[0]["factors"]) == 12


def test_interrupt_in_the_second_chain_keeps_the_first(plain):
    def interrupt(done, total):
        if done == 19:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.warns(ConvergenceWarning, match="1 of 2 chains"):
        some = sample_gibbs(arrange(plain, SPEC), SPEC, mb.Sampling(**SHORT), np.random.default_rng(0), interrupt)
    assert len(some.chains) == 1
    np.testing.assert_array_equal(some.chains[0]["factors"], sample(plain).chains[0]["factors"])


class Threads(ThreadPoolExecutor):
    """Stands for processes where their code is to be seen by the coverage report."""

    def __init__(self, n_jobs, mp_context, initializer):
        super().__init__(n_jobs)


def test_chains_apart_report_and_are_told_to_stop(plain, monkeypatch, tmp_path):
    monkeypatch.setattr(running, "ProcessPoolExecutor", Threads)
    monkeypatch.setattr(running, "_POLL_SECONDS", 0.02)
    settings, told = mb.Sampling(**SHORT | {"n_jobs": 2, "n_draws": 100_000, "folder": tmp_path}), []
    with pytest.warns(ConvergenceWarning):
        some = sample_gibbs(
            arrange(plain, SPEC), SPEC, settings, np.random.default_rng(0), lambda *at: told.append(at) or at[0] > 60
        )
    assert len(told) > 1
    assert 0 < len(some.chains[0]["factors"]) < 100_000
    assert {path.name for path in tmp_path.iterdir()} == {"chain0", "chain1"}


def test_a_process_that_dies_is_said(plain, monkeypatch):
    class Broken(Threads):
        def submit(self, function, job, *more):
            return super().submit(self.die)

        @staticmethod
        def die():
            raise BrokenProcessPool

    monkeypatch.setattr(running, "ProcessPoolExecutor", Broken)
    with pytest.raises(FitError, match="__main__"):
        sample(plain, n_jobs=2)


def test_a_thread_that_is_not_the_main_one_can_sample(plain):
    with ThreadPoolExecutor(1) as pool:
        assert_same(pool.submit(sample, plain).result(), sample(plain))


def test_time_is_kept(plain):
    with pytest.warns(ConvergenceWarning):
        some = sample(plain, n_draws=100_000, max_seconds=0.6)
    assert 2 < len(some.chains[0]["factors"]) < 100_000
    assert some.seconds < 30
    with pytest.raises(FitError, match="max_seconds"):
        sample(plain, n_tune=100_000, max_seconds=0.1)


def test_progress_counts_sweeps_and_can_end_the_chains(plain):
    told = []
    layout = arrange(plain, SPEC)
    with pytest.warns(ConvergenceWarning):
        some = sample_gibbs(
            layout, SPEC, mb.Sampling(**SHORT), np.random.default_rng(0), lambda *at: told.append(at) or at[0] >= 26
        )
    assert told[-1] == (26, 36)
    assert [len(chain["factors"]) for chain in some.chains] == [12]  # more than two draws of both chains


def test_draws_beyond_memory_stay_on_disk_and_are_the_same(views, tmp_path):
    kept = sample(views, max_memory=0.0, folder=tmp_path / "draws")
    assert isinstance(kept.chains[0]["factors"], np.memmap)
    assert (tmp_path / "draws" / "chain1" / "factors.npy").exists()
    assert_same(kept, sample(views))
    temporary = sample(views, max_memory=0.0)
    assert_same(temporary, kept)
    assert label_gibbs(temporary, views, SPEC).equals(label_gibbs(kept, views, SPEC))


def test_labels_are_the_users(views):
    spec = mb.FactorModel(n_factors=2, factors=mb.ARDFactors())
    sampled = sample(views, spec)
    draws = label_gibbs(sampled, views, spec)
    assert list(draws["subject"].values) == list(views.subjects)
    assert draws["factors"].dims == ("chain", "draw", "subject", "factor")
    assert draws["intercept_c"].dims == ("chain", "draw", "group", "feature_c")
    assert draws["effects_a"].dims == ("chain", "draw", "covariate", "feature_a")
    assert draws["active_b"].dtype == np.int8
    assert set(draws["noise_sd_c"].dims) == {"chain", "draw", "group", "noisy_feature_c"}
    assert draws["dispersion_c"].sizes == {"chain": 2, "draw": 12, "negative_binomial_feature_c": 1}
    assert {"inclusion_a", "ard_a", "factor_precision"} <= set(draws.data_vars)
    layout, chain = sampled.layout, sampled.chains[1]
    for subject in views.subjects[:3]:
        own = chain["factors"][:, layout.subjects.index(subject)]
        np.testing.assert_array_equal(draws["factors"].sel(subject=subject, chain=1).values, own)
    number = next(i for i, part in enumerate(layout.parts) if part.likelihood == "student_t")
    feature = layout.parts[number].features[0]
    own = draws.sel(feature_c=feature, noisy_feature_c=feature, chain=1)
    np.testing.assert_array_equal(own["loadings_c"].values, chain[f"terms_{number}"][:, 0, :2])
    np.testing.assert_array_equal(own["effects_c"].values[:, 0], chain[f"terms_{number}"][:, 0, 4])
    np.testing.assert_allclose(own["noise_sd_c"].values, chain[f"tau_{number}"][:, :, 0] ** -0.5, rtol=1e-6)


def test_a_group_that_lacks_a_view_has_no_noise_there(plain):
    frames = {view: plain[view].to_pandas() for view in plain.names}
    groups = pd.Series(["x", "y"] * 30, index=frames["a"].index)
    frames["b"] = frames["b"][groups == "x"]
    both = mb.MultiView.from_frames(frames, groups=groups)
    draws = label_gibbs(sample(both), both, SPEC)
    assert draws["noise_sd_b"].sel(group="y").isnull().all()
    assert draws["noise_sd_b"].sel(group="x").notnull().all()


def test_order_of_subjects_features_and_views_does_not_matter(plain):
    frames = {view: plain[view].to_pandas() for view in reversed(plain.names)}
    shuffled = mb.MultiView.from_frames({view: frame.iloc[::-1, ::-1] for view, frame in frames.items()})
    assert_same(sample(plain), sample(shuffled))


def test_counts_without_gaps_are_sampled(plain):
    """vi's bound lets the rows of such a view share a covariance; latent variables of their own do not."""
    table = plain["a"].to_pandas()
    counts = pd.DataFrame(np.random.default_rng(0).poisson(np.exp(table.to_numpy() / 2)), table.index, table.columns)
    whole = mb.MultiView.from_frames({"a": counts}, likelihoods={"a": dict.fromkeys(table.columns, "poisson")})
    draws = label_gibbs(sample(whole), whole, SPEC)
    assert np.isfinite(draws["factors"]).all()
    assert float(draws["factors"].std("draw").min()) > 0


def test_values_are_used_in_place_or_copied_with_the_same_result(plain, monkeypatch):
    frames = {view: plain[view].to_pandas().sort_index(axis=1) for view in plain.names}
    frames["a"] = frames["a"].mask(np.random.default_rng(0).random(frames["a"].shape) < 0.1)
    holes = mb.MultiView.from_frames(frames)
    copied = sample(holes, n_draws=4, n_tune=1)
    monkeypatch.setattr("mofa_bayes.engines.vi.layout.IN_PLACE_BYTES", 0)
    assert any(own.values.has_holes for block in arrange(holes, SPEC).blocks for own in block.cells.values())
    in_place = sample(holes, n_draws=4, n_tune=1)
    for name, values in copied.chains[0].items():
        np.testing.assert_allclose(in_place.chains[0][name], values, rtol=1e-3, atol=1e-4, err_msg=name)


def test_loadings_that_may_not_be_negative_are_not(plain):
    spec = mb.FactorModel(n_factors=2, loadings=mb.SpikeSlab(positive=True))
    draws = label_gibbs(sample(plain, spec), plain, spec)
    assert (draws["loadings_a"] >= 0).all()
    assert (draws["loadings_a"] == 0).any()


@pytest.mark.parametrize("prior", [mb.ARD(), mb.Horseshoe()], ids=["ard", "horseshoe"])
def test_signal_and_noise_are_found(plain, prior):
    spec = mb.FactorModel(n_factors=2, loadings=prior)
    sampled = sample(plain, spec, n_draws=300, n_tune=100)
    draws = label_gibbs(sampled, plain, spec)
    fitted = (draws["factors"] * draws["loadings_a"]).sum("factor").mean(("chain", "draw"))
    preprocessing = fit_preprocessing(plain, {"a": "feature", "b": "feature"})
    seen = preprocessing.apply("a", plain["a"].values)
    share = 1 - ((seen - fitted.transpose("subject", ...).values) ** 2).sum() / (seen**2).sum()
    noise = float((draws["noise_sd_a"] ** 2).mean())
    assert share > 0.3
    assert noise == pytest.approx(1 - share, abs=0.08)
    spread = draws["noise_sd_a"].mean("draw").std("chain") / draws["noise_sd_a"].std(("chain", "draw"))
    assert float(spread.max()) < 0.5


def test_what_it_cannot_sample_is_refused_before_anything_is_drawn(plain):
    frames = {view: plain[view].to_pandas() for view in plain.names}
    weighted = mb.MultiView.from_frames(frames, weights=pd.Series(2.0, frames["a"].index))
    with pytest.raises(FitError, match="weights"):
        sample(weighted)
    frames["a"] = (frames["a"] > 0).astype(float) + (frames["a"] > 1)
    ordered = mb.MultiView.from_frames(frames, likelihoods={"a": dict.fromkeys(frames["a"].columns, "ordinal")})
    with pytest.raises(FitError, match="ordinal"):
        sample(ordered)


BAD = [
    {"n_draws": 3},
    {"n_tune": -1},
    {"n_chains": 0},
    {"thin": 1.5},
    {"n_jobs": 0},
    {"max_seconds": 0},
    {"max_memory": "1 GB"},
    {"checkpoint_seconds": float("nan")},
    {"folder": 3},
    {"checkpoint": True},
]


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: next(iter(bad)))
def test_settings_are_checked(bad):
    with pytest.raises(SpecError, match=next(iter(bad))):
        mb.Sampling(**bad)


def test_a_folder_used_twice_holds_the_second_fit_alone(views, plain, tmp_path):
    dense = mb.FactorModel(n_factors=2, loadings=mb.ARD())
    sample(views, folder=tmp_path)
    assert_same(sample(plain, dense, folder=tmp_path), sample(plain, dense))
    assert {path.stem for path in (tmp_path / "chain0").iterdir()} == set(sample(plain, dense).chains[0])


def test_a_folder_that_cannot_be_written_is_said(plain, tmp_path):
    (tmp_path / "chain0").write_text("in the way")
    with pytest.raises(FileError, match="draws in"):
        sample(plain, folder=tmp_path)


def test_settings_of_another_engine_are_refused(plain):
    with pytest.raises(FitError, match="settings of engine 'gibbs'"):
        mb.fit(plain, SPEC, engine="gibbs", settings=mb.Ascent())
    with pytest.raises(FitError, match="settings of engine 'vi'"):
        mb.fit(plain, SPEC, settings=mb.Sampling())


def test_fit_gives_a_posterior(plain):
    pytest.importorskip("mofa_bayes.posterior.build_draws")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        post = mb.fit(plain, SPEC, engine="gibbs", settings=mb.Sampling(**SHORT | {"n_draws": 40}), progress=False)
    assert post.factors().sizes["chain"] == 2
    assert post.tree.attrs["engine"] == "gibbs"
