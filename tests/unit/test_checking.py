"""Laws of the calibration check: truths come from the model, an honest engine passes, a cocksure one does not."""

import json
import signal
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from typer.testing import CliRunner

import mofa_bayes as mb
from mofa_bayes.checking import replicate
from mofa_bayes.checking.calibration import assess_uniformity, summarise_replicates
from mofa_bayes.checking.replicate import Replicate, _cover, _rank, compare
from mofa_bayes.checking.sizes import make_proper
from mofa_bayes.checking.truth import Simulator
from mofa_bayes.errors import FitError, SpecError
from mofa_bayes.interrupts import heed_interrupts

SIZES = mb.Sizes(n_subjects=40, n_features={"a": 10, "b": 6}, missing=0.05, absent_view=0.1)
SPEC = mb.FactorModel(n_factors=2, loadings=mb.ARD())


RANKS = ["replicate", "quantity", "which", "rank", "n_draws"]


def replace_draws(post, variables):
    groups = {name: child.to_dataset() for name, child in post.tree.children.items()}
    tree = xr.DataTree.from_dict(groups | {"posterior": groups["posterior"].assign(variables)})
    tree.attrs = post.tree.attrs
    return mb.Posterior(tree)


@pytest.fixture(scope="module")
def calibration():
    return mb.check_calibration(SPEC, SIZES, n_replicates=12, options={"n_draws": 200}, progress=False)


def test_vi_with_dense_gaussian_views_nearly_covers(calibration):
    wide = calibration.table.set_index(["quantity", "level"])
    assert set(calibration.table["quantity"]) == set(replicate.QUANTITIES)
    for quantity in ("reconstruction", "held-out entries"):
        assert abs(wide.loc[(quantity, 0.95), "coverage"] - 0.95) < 0.05
        assert abs(wide.loc[(quantity, 0.5), "coverage"] - 0.5) < 0.12
    assert (wide["coverage"].unstack().diff(axis=1).iloc[:, 1:] > 0).all(axis=None)
    assert calibration.n_failed == 0


def test_ranks_are_of_every_replicate(calibration):
    ranks = calibration.ranks
    assert ranks["rank"].between(0, 99).all()
    assert (ranks.groupby(["quantity", "which"]).size() == 12).all()
    assert len(calibration.uniformity) == 10


def test_a_cocksure_engine_is_found_out(monkeypatch):
    honest = replicate.fit

    def cocksure(views, spec, **options):
        post = honest(views, spec, **options)
        draws = post.tree["posterior"].to_dataset()
        shrunk = {
            name: own.mean("draw") + 0.2 * (own - own.mean("draw"))
            for name, own in draws.data_vars.items()
            if name != "ard_a"
        }
        return replace_draws(post, {name: own.transpose(*draws[name].dims) for name, own in shrunk.items()})

    monkeypatch.setattr(replicate, "fit", cocksure)
    found = mb.check_calibration(SPEC, SIZES, n_replicates=8, options={"n_draws": 100}, progress=False)
    wide = found.table.set_index(["quantity", "level"])["coverage"]
    assert wide["reconstruction", 0.95] < 0.6
    assert wide["noise", 0.95] < 0.6


def test_the_same_seed_gives_the_same_result_whatever_the_processes(calibration):
    again = mb.check_calibration(SPEC, SIZES, n_replicates=12, options={"n_draws": 200}, n_processes=2, progress=False)
    pd.testing.assert_frame_equal(again.ranks, calibration.ranks)
    pd.testing.assert_frame_equal(again.table, calibration.table)


def test_draws_that_are_the_truth_cover_it():
    """A posterior whose every draw is the truth, up to a map of its factors, pairs each quantity with itself."""
    spec, _ = make_proper(mb.FactorModel(n_factors=2, loadings=mb.Normal(scale=0.8)))
    sizes = mb.Sizes(n_subjects=40, n_features={"a": 10, "b": 6}, likelihoods={"b": "bernoulli"}, absent_view=0.1)
    truth = Simulator(sizes.template(np.random.default_rng(0)), spec, 0.1).draw(np.random.default_rng(1))
    post = mb.fit(truth.views, spec, n_draws=8, progress=False)
    turn = np.linalg.qr(np.random.default_rng(2).standard_normal((2, 2)))[0]
    draws = post.tree["posterior"].to_dataset()
    exact = {"factors": truth.factors @ turn}
    for view, own in truth.by_view.items():
        exact[f"loadings_{view}"] = own.loadings @ turn
        if view == "a":
            exact[f"noise_sd_{view}"] = own.noise_sd[0]
        intercept = (own.eta - truth.factors @ own.loadings.T)[0] - post.preprocessing.center(view)
        exact[f"intercept_{view}"] = intercept
    replaced = {name: draws[name].copy(data=np.broadcast_to(own, draws[name].shape)) for name, own in exact.items()}
    pairs = compare(truth, replace_draws(post, replaced), np.random.default_rng(3))
    for name in ("loadings", "reconstruction", "variance explained", "noise"):
        true, found = pairs[name]
        np.testing.assert_allclose(found, np.broadcast_to(true, found.shape), rtol=1e-6, atol=1e-8)
    true, found = pairs["held-out entries"]
    assert len(true) > 5
    assert np.abs(found.mean(axis=0) - true).mean() < 2


def test_fewer_factors_than_the_truth_can_still_be_compared():
    spec, _ = make_proper(mb.FactorModel(n_factors=3, loadings=mb.Normal(scale=0.8)))
    truth = Simulator(SIZES.template(np.random.default_rng(0)), spec, 0.05).draw(np.random.default_rng(1))
    for n_factors in (1, 4):
        post = mb.fit(
            truth.views, mb.FactorModel(n_factors=n_factors, loadings=mb.Normal(), scale="none", min_variance=0.0),
            n_draws=20, progress=False,
        )  # fmt: skip
        true, draws = compare(truth, post, np.random.default_rng(0))["loadings"]
        assert draws.shape == (20, len(true))
        assert np.isfinite(draws).all()


@pytest.mark.parametrize(
    "prior", [mb.SpikeSlab(), mb.Laplace(), mb.Horseshoe(), mb.ARD(positive=True)], ids=lambda prior: prior.kind
)
def test_truth_is_drawn_from_the_model(prior):
    spec, notes = make_proper(mb.FactorModel(n_factors=2, loadings=prior, factors=mb.ARDFactors()))
    assert any("Gamma(shape=3.0" in note for note in notes)
    kinds = {"a": "poisson", "b": "negative_binomial"}
    sizes = mb.Sizes(n_subjects=300, n_features={"a": 8, "b": 5, "c": 4}, likelihoods=kinds)
    simulator = Simulator(sizes.template(np.random.default_rng(0)), spec, 0.1)
    truths = [simulator.draw(np.random.default_rng(seed)) for seed in range(2)]
    assert not np.allclose(truths[0].factors, truths[1].factors)
    for truth in truths:
        counts = truth.by_view["a"].values
        assert (counts == np.round(counts)).all()
        expected = np.logaddexp(0, truth.by_view["a"].eta)
        assert np.abs((counts - expected).mean(axis=0) / np.sqrt(expected.mean(axis=0) / 300)).max() < 5
        real = truth.by_view["c"]
        sd = (real.values - real.eta).std(axis=0)
        np.testing.assert_allclose(sd, real.noise_sd[0], rtol=0.2)
        assert np.isnan(truth.by_view["a"].noise_sd).all()
        assert not truth.held_out["a"].any()
        assert truth.views["c"].isnull().values[truth.held_out["c"]].all()
    zeros = [(own.loadings == 0).any() for truth in truths for own in truth.by_view.values()]
    assert any(zeros) == (prior.kind == "spike_slab")


def test_groups_covariates_and_missing_entries_are_those_of_the_cohort(cohort):
    subjects = list(cohort.views.subjects)
    frames = {view: cohort.views[view].to_pandas().dropna(how="all") for view in ("rna", "meth")}
    views = mb.MultiView.from_frames(
        frames,
        groups=pd.Series(["x", "y"] * 40, index=subjects),
        covariates=pd.DataFrame({"age": np.arange(80.0)}, index=subjects),
    )
    found = mb.check_calibration(
        SPEC, views, n_replicates=3, held_out=0.02, options={"n_draws": 100}, progress=False, seed=4
    )
    wide = found.table.set_index(["quantity", "level"])["coverage"]
    assert wide["reconstruction", 0.95] > 0.8
    assert wide["noise", 0.95] > 0.8
    assert wide["variance explained", 0.95] >= 0.5


def test_noise_that_no_group_shows_is_not_counted():
    """Features that one group lacks: their noise there is not a quantity, and shares of variance do without it."""
    rng = np.random.default_rng(0)
    subjects = [f"p{n}" for n in range(60)]
    groups = pd.Series(["x", "y"] * 30, index=subjects)
    frame = pd.DataFrame(rng.standard_normal((60, 8)), index=subjects, columns=list("abcdefgh"))
    frame.loc[groups == "y", ["a", "b", "c", "d"]] = np.nan
    spec, _ = make_proper(mb.FactorModel(n_factors=1, loadings=mb.Normal()))
    truth = Simulator(mb.MultiView.from_frames({"v": frame}, groups=groups), spec, 0.1).draw(rng)
    post = mb.fit(truth.views, spec, n_draws=20, progress=False)
    pairs = compare(truth, post, rng)
    assert len(pairs["noise"][0]) == 12
    for true, draws in pairs.values():
        assert np.isfinite(true).all()
        assert np.isfinite(draws).all()
    draws = post.tree["posterior"].to_dataset()
    noise = np.where(np.isnan(draws["noise_sd_v"]), np.nan, truth.by_view["v"].noise_sd)
    exact = {"factors": truth.factors, "loadings_v": truth.by_view["v"].loadings, "noise_sd_v": noise}
    replaced = {name: draws[name].copy(data=np.broadcast_to(own, draws[name].shape)) for name, own in exact.items()}
    for name in ("noise", "variance explained"):
        true, found = compare(truth, replace_draws(post, replaced), rng)[name]
        np.testing.assert_allclose(found, np.broadcast_to(true, found.shape), rtol=1e-6)


def test_priors_that_are_proper_stay():
    spec = mb.FactorModel(n_factors=2, loadings=mb.Normal(scale=0.5), noise=mb.Gamma(shape=2.0, rate=1.0))
    proper, notes = make_proper(spec)
    assert proper.loadings == spec.loadings
    assert proper.noise == spec.noise
    assert not any("noise" in note for note in notes)


def test_changes_of_views_are_noted():
    own = {"a": mb.ViewModel(loadings=mb.ARD(), scale="feature"), "b": mb.ViewModel(loadings=mb.Normal())}
    proper, notes = make_proper(mb.FactorModel(n_factors=2, views=own))
    noted = [note for note in notes if "view" in note]
    assert len(noted) == 2
    assert "loadings of view 'a'" in noted[0]
    assert "rate=3.0" in noted[0]
    assert noted[1] == "scale of view 'a': 'feature' -> None"
    assert proper.views["b"] == own["b"]


def test_coverage_and_ranks_by_hand():
    draws = np.arange(101.0)[:, None] / 100
    truth = np.array([0.5])
    assert _cover(truth, draws, 0.5).all()
    assert not _cover(np.array([0.99]), draws, 0.95).any()
    assert _rank(np.array([0.305]), draws, np.random.default_rng(0))[0] == 31
    tied = _rank(np.zeros(2000), np.zeros((99, 2000)), np.random.default_rng(0))
    assert tied.min() == 0
    assert tied.max() == 99
    assert abs(tied.mean() - 49.5) < 4


def test_a_truth_that_is_one_draw_more_is_covered_at_the_level():
    draws = np.random.default_rng(0).standard_normal((60, 40_000))
    for level in (0.5, 0.8, 0.95):
        assert abs(_cover(draws[0], draws[1:], level).mean() - level) < 0.006


def test_uniformity_is_held_to_holm():
    rng = np.random.default_rng(0)
    rows = [
        (r, "noise", which, int(rank), 99)
        for r in range(100)
        for which, rank in enumerate([rng.integers(100), rng.integers(100), rng.integers(50)])
    ]
    table = assess_uniformity(pd.DataFrame(rows, columns=RANKS))
    assert (table["p_holm"][:2] > 0.05).all()
    assert table["p_holm"][2] < 1e-6
    assert (table["p_holm"] >= table["p"]).all()
    p = table["p"].sort_values().to_numpy()
    np.testing.assert_allclose(table["p_holm"].min(), min(3 * p[0], 1))


@pytest.mark.parametrize("n_draws", [2, 13, 40, 99])
def test_uniform_ranks_are_uniform_among_any_number_of_draws(n_draws):
    rng = np.random.default_rng(1)
    rows = [(r, "noise", which, int(rng.integers(n_draws + 1)), n_draws) for r in range(400) for which in range(4)]
    table = assess_uniformity(pd.DataFrame(rows, columns=RANKS))
    assert (table["p_holm"] > 0.05).all()
    low = pd.DataFrame([(r, "noise", which, rank // 2, n) for r, _, which, rank, n in rows], columns=RANKS)
    assert (assess_uniformity(low)["p"] < 1e-6).all()


def test_few_draws_are_ranked_among_all_of_them():
    found = mb.check_calibration(SPEC, SIZES, n_replicates=2, options={"n_draws": 40}, progress=False)
    assert (found.ranks["n_draws"] == 40).all()
    assert found.ranks["rank"].between(0, 40).all()


def test_failures_are_counted_and_named():
    refused = Replicate(failure="n_factors: got 9")
    found = summarise_replicates("vi", "", [refused, refused], ())
    assert found.n_failed == 2
    assert found.notes == ("a replicate failed: n_factors: got 9",)
    assert not found.is_uniform()


def test_some_failures_leave_a_result_and_nothing_but_failures_do_not(monkeypatch):
    honest, calls = replicate.fit, []

    def refuse(views, spec, **options):
        calls.append(1)
        if len(calls) != 2:
            raise FitError("cohort", got="a bad one" if len(calls) > 1 else "a worse one", expected="good", do="Mend.")
        return honest(views, spec, **options)

    monkeypatch.setattr(replicate, "fit", refuse)
    options = {"options": {"n_draws": 20}, "progress": False}
    found = mb.check_calibration(SPEC, SIZES, n_replicates=2, **options)
    assert (found.n_replicates, found.n_failed) == (1, 1)
    with pytest.raises(FitError, match=r"none of 3 .* \(3 for this reason: cohort: got a bad one"):
        mb.check_calibration(SPEC, SIZES, n_replicates=3, **options)


def test_an_interrupt_ends_the_check_though_the_engine_makes_a_result_of_it(monkeypatch):
    honest, converged = replicate.fit, []

    def interrupted(views, spec, **options):
        def interrupt(number, bound):
            if number == 2:
                signal.raise_signal(signal.SIGINT)

        post = honest(views, spec, callback=interrupt, **options)
        converged.append(post.provenance["converged"])
        return post

    monkeypatch.setattr(replicate, "fit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        mb.check_calibration(SPEC, SIZES, n_replicates=3, progress=False)
    assert converged == [0]


def test_interrupts_are_heard_whatever_handler_takes_them():
    came, before = [], signal.signal(signal.SIGINT, lambda number, frame: came.append(number))
    try:
        with heed_interrupts():
            pass
        with pytest.raises(KeyboardInterrupt), heed_interrupts():
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
    assert came == [signal.SIGINT]

    def enter():
        with heed_interrupts():
            return "no signal comes here"

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(enter).result()


def test_result_is_a_line_a_table_and_files(calibration, tmp_path):
    assert "\n" not in repr(calibration)
    assert "95 % intervals cover" in repr(calibration)
    assert "reconstruction" in calibration._repr_html_()
    calibration.save(tmp_path)
    said = json.loads((tmp_path / "check.json").read_text())
    assert said["engine"] == "vi"
    assert said["n_replicates"] == 12
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "ranks.csv"), calibration.ranks)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"n_subjects": 1}, "n_subjects"),
        ({"n_features": {}}, "views"),
        ({"n_features": {"a": 2.5}}, "features of a"),
        ({"likelihoods": {"x": "gaussian"}}, "unknown 'x'"),
        ({"likelihoods": {"a": "ordinal"}}, "unknown 'ordinal'"),
        ({"missing": 1.0}, "missing"),
        ({"absent_view": -1}, "absent_view"),
    ],
)
def test_sizes_that_make_no_sense_are_refused(change, match):
    with pytest.raises(SpecError, match=match):
        mb.Sizes(**{"n_subjects": 10, "n_features": {"a": 3}, **change})


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ((SPEC, {"a": 3}), "sizes"),
        (("vi", SIZES), "spec"),
        ((SPEC, SIZES, {"n_replicates": 0}), "n_replicates"),
        ((SPEC, SIZES, {"n_processes": True}), "n_processes"),
        ((SPEC, SIZES, {"held_out": -1}), "held_out"),
        ((SPEC, SIZES, {"held_out": 1.0}), "held_out"),
        ((SPEC, SIZES, {"held_out": "some"}), "held_out"),
        ((SPEC, SIZES, {"engine": "typo"}), "engine: got 'typo'"),
        ((mb.FactorModel(n_factors=2, loadings=mb.SpikeSlab()), SIZES, {"engine": "nuts"}), "spike_slab"),
        ((mb.FactorModel(n_factors=2, factors=mb.SpikeSlabFactors()), SIZES, {"engine": "gibbs"}), "prior on factors"),
        ((mb.FactorModel(n_factors=40), SIZES), "n_factors"),
        ((SPEC, SIZES, {"options": {"n_draws": 1}}), "n_draws"),
        ((SPEC, SIZES, {"options": {"draws": 100}}), "options: got .*draws"),
        ((SPEC, SIZES, {"options": 100}), "options"),
        ((SPEC, SIZES, {"options": {"settings": mb.Sampling()}}), "settings of engine 'vi'"),
        ((SPEC, SIZES, {"options": {"settings": mb.Ascent(checkpoint="x")}}), "checkpoint"),
        ((SPEC, SIZES, {"engine": "gibbs", "options": {"settings": mb.Sampling(folder="x")}}), "folder"),
    ],
)
def test_arguments_are_checked_before_anything_is_drawn(arguments, match, monkeypatch):
    *values, options = arguments if len(arguments) == 3 else (*arguments, {})
    monkeypatch.setattr(Simulator, "draw", None)
    with pytest.raises(FitError, match=match):
        mb.check_calibration(*values, **options)


def test_cut_points_that_are_learned_from_data_cannot_be_drawn():
    frame = pd.DataFrame({"a": [0.0, 1, 2] * 5, "b": np.arange(15.0)}, index=[f"p{n}" for n in range(15)])
    views = mb.MultiView.from_frames({"x": frame}, likelihoods={"x": {"a": "ordinal"}})
    with pytest.raises(SpecError, match="ordinal"):
        mb.check_calibration(SPEC, views, n_replicates=1)


def run_cli(*arguments):
    from mofa_bayes.cli import app

    return CliRunner().invoke(app, arguments)


def test_command_writes_tables_and_figure(tmp_path):
    done = run_cli(
        "check", "--features", "a=8", "--features", "b=5:bernoulli", "--subjects", "30", "--factors", "1",
        "--replicates", "3", "--draws", "50", "--out", str(tmp_path / "out"),
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "coverage.csv",
        "ranks.csv",
        "uniformity.csv",
        "check.json",
        "ranks.png",
    }
    assert "coverage over 3 cohorts" in done.stdout


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--features", "a"),
        ("--features", "a=3", "--data", "x"),
        ("--features", "a=6", "--engine", "typo"),
        ("--features", "a=6", "--engine", "nuts"),
    ],
)
def test_command_says_what_it_needs(options):
    done = run_cli("check", *options)
    assert done.exit_code in (4, 5)
    assert "error" in done.stderr
