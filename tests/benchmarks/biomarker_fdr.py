"""True false discovery rate of biomarkers called at a Bayesian one, on cohorts drawn from the model itself.

    python tests/benchmarks/biomarker_fdr.py --cohorts 100 --priors spike_slab ard --engines gibbs vi

The truth is mapped to the mean of the aligned draws as each draw was. Under spike_slab a call is false where the
true loading is zero, under ard where it has the other sign. `fdr` is the mean over cohorts of the share of false calls
(none called counts as 0), `pooled` false calls over calls of all cohorts, `expected` the same by the posteriors' own
account, `power` true calls among the loadings that are not zero. Loadings under ard have a standard deviation of about
.25 times the noise: larger ones would all be called, and the rate would not bind.

Measured with --cohorts 100 --draws 300 --tune 300, called at 5 %: spike_slab gibbs .049 (se .001), vi .050, power .82
of both; ard gibbs .051 (se .001), vi .055, power .73 and .74.
"""

import argparse
import time
import warnings

import numpy as np
from threadpoolctl import threadpool_limits

import mofa_bayes as mb
from mofa_bayes.checking.sizes import make_proper
from mofa_bayes.checking.truth import Simulator
from mofa_bayes.posterior.build_draws import is_sparse
from mofa_bayes.posterior.matching import covariance_of, match_to, scale_to_unit

PRIORS = {
    "spike_slab": mb.SpikeSlab(inclusion_a=4.0, inclusion_b=16.0),
    "ard": mb.ARD(precision=mb.Gamma(shape=3.0, rate=0.15)),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--priors", nargs="+", default=list(PRIORS), choices=list(PRIORS))
    parser.add_argument("--engines", nargs="+", default=["gibbs", "vi"])
    parser.add_argument("--cohorts", type=int, default=100)
    parser.add_argument("--subjects", type=int, default=150)
    parser.add_argument("--features", type=int, default=100, help="of each of three views")
    parser.add_argument("--factors", type=int, default=4)
    parser.add_argument("--draws", type=int, default=400)
    parser.add_argument("--tune", type=int, default=400)
    parser.add_argument("--chains", type=int, default=1)
    parser.add_argument("--fdr", type=float, default=0.05)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for prior in options.priors:
        found = {engine: [] for engine in options.engines}
        spec, _ = make_proper(mb.FactorModel(n_factors=options.factors, loadings=PRIORS[prior]))
        rng = np.random.default_rng(options.seed)
        sizes = mb.Sizes(n_subjects=options.subjects, n_features=dict.fromkeys(("a", "b", "c"), options.features))
        simulator = Simulator(sizes.template(rng), spec, 0.0)
        seconds = dict.fromkeys(options.engines, 0.0)
        for own in rng.spawn(options.cohorts):
            truth = simulator.draw(own)
            for engine in options.engines:
                start = time.process_time()
                post = fit(truth.views, spec, engine, own, options)
                found[engine].append(judge(truth, post, options.fdr))
                seconds[engine] += time.process_time() - start
        for engine, rows in found.items():
            report(prior, engine, np.array(rows), seconds[engine])


def fit(views, spec, engine, rng, options):
    settings = None
    if engine == "gibbs":
        settings = mb.Sampling(n_draws=options.draws, n_tune=options.tune, n_chains=options.chains, n_jobs=1)
    with warnings.catch_warnings(), threadpool_limits(1, user_api="blas"):
        warnings.simplefilter("ignore")
        return mb.fit(views, spec, engine=engine, seed=rng, settings=settings, progress=False)


def judge(truth, post, fdr):
    """Count calls, false calls, those expected, true calls and loadings that are not zero."""
    table = mb.biomarkers(post, fdr=fdr)
    mapped = map_truth(truth, post)
    place = [
        (view, post.features(view).index(feature), post.factor_names.index(factor))
        for view, feature, factor in table[["view", "feature", "factor"]].itertuples(index=False)
    ]
    true = np.array([mapped[view][d, k] for view, d, k in place])
    has_zeros = post.active(post.views[0]) is not None
    is_false = true == 0 if has_zeros else np.sign(true) != np.sign(table["mean"].to_numpy())
    n_true = sum((own != 0).sum() for own in mapped.values())
    return len(table), is_false.sum(), table.attrs["expected_false"], (~is_false).sum(), n_true


def map_truth(truth, post):
    """Bring the true loadings to the rotation, sign, order and scale of the draws; view -> (feature, found factor)."""
    freedom = "sign and order" if is_sparse(post.spec, truth.views) else "rotation"
    reference = [post.loadings(view).mean(("chain", "draw"), dtype=np.float64).values for view in post.views]
    n_found, n_true = reference[0].shape[1], truth.factors.shape[1]
    size = max(n_found, n_true)
    scale = np.eye(size)
    scale[:n_true, :n_true] = scale_to_unit(covariance_of(truth.factors[None]), freedom)[0]
    own = [np.pad(truth.by_view[view].loadings, ((0, 0), (0, size - n_true))) for view in post.views]
    wide = [np.pad(each, ((0, 0), (0, size - n_found))) for each in reference]
    turn = match_to([each[None] for each in own], wide, scale[None], freedom)[0]
    return {view: (each @ turn)[:, :n_found] for view, each in zip(post.views, own, strict=True)}


def report(prior, engine, rows, seconds):
    called, false, expected, right, true = rows.T
    share = false / np.maximum(called, 1)
    se = share.std(ddof=1) / np.sqrt(len(share)) if len(share) > 1 else np.nan
    print(
        f"{prior:10s} {engine:8s} {len(rows)} cohorts: fdr {share.mean():.4f} (se {se:.4f}), pooled "
        f"{false.sum() / called.sum():.4f}, expected {expected.sum() / called.sum():.4f}, power "
        f"{right.sum() / true.sum():.3f}, {called.mean():.0f} called of {true.mean():.0f} not zero; "
        f"{seconds / len(rows):.1f} CPU s a cohort",
        flush=True,
    )


if __name__ == "__main__":
    main()
