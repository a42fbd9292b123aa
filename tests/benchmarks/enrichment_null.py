"""How often sets without enrichment are called, with and without noise that their features share, and a planted one.

    python tests/benchmarks/enrichment_null.py --cohorts 20

Cohorts of 120 subjects and 900 features; 50 sets of 12 features whose loadings are like all others', and one of 20
with large loadings on the first factor. Printed are shares of null sets with p below .05 and .005, with an adjusted p
below .05, and of cohorts in which the planted set has one.
"""

import argparse
from collections import defaultdict

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

import mofa_bayes as mb

N, D, N_SETS, SIZE = 120, 900, 50, 12


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cohorts", type=int, default=20)
    parser.add_argument("--sign", default="all", choices=["all", "signed"])
    parser.add_argument("--statistic", default="mean", choices=["mean", "rank"])
    options = parser.parse_args()
    asked = {"sign": options.sign, "statistic": options.statistic}
    for prior in (mb.SpikeSlab(), mb.ARD()):
        for share in (0.0, 0.4):
            rows = defaultdict(list)
            for seed in range(options.cohorts):
                views, sets = simulate(share, np.random.default_rng(seed))
                with threadpool_limits(1, user_api="blas"):
                    spec = mb.FactorModel(n_factors=2, loadings=prior)
                    post = mb.fit(views, spec, n_draws=200, progress=False)
                for name, table in ask(post, sets, views, asked).items():
                    is_null = table["set"] != "planted"
                    null, planted = table[is_null], table[~is_null]
                    rates = [(null[what] < level).mean() for what, level in (("p", 0.05), ("p", 0.005), ("fdr", 0.05))]
                    rows[name].append([*rates, planted["fdr"].min() < 0.05])
            for name, own in rows.items():
                below, far_below, called, power = np.mean(np.array(own, dtype=float), axis=0)
                print(
                    f"{prior.kind:10s} correlation {share}: {name:22s} p < .05 {below:.3f}, p < .005 {far_below:.4f}, "
                    f"called {called:.4f}, planted found {power:.2f}",
                    flush=True,
                )


def simulate(share, rng):
    loadings = 0.6 * rng.standard_normal((D, 2)) * (rng.random((D, 2)) < 0.3)
    loadings[600:620, 0] = 0.6 * rng.choice([-1, 1], 20) + 0.3 * rng.standard_normal(20)
    noise = np.sqrt(1 - share) * rng.standard_normal((N, D))
    noise[:, : N_SETS * SIZE] += np.sqrt(share) * np.repeat(rng.standard_normal((N, N_SETS)), SIZE, axis=1)
    names = [f"g{d}" for d in range(D)]
    values = rng.standard_normal((N, 2)) @ loadings.T + noise
    frame = pd.DataFrame(values, index=[f"p{n}" for n in range(N)], columns=names)
    sets = {f"null{i}": names[i * SIZE : (i + 1) * SIZE] for i in range(N_SETS)}
    return mb.MultiView.from_frames({"rna": frame}), sets | {"planted": names[600:620]}


def ask(post, sets, views, asked):
    return {
        "draws": mb.enrichment(post, "rna", sets, **asked),
        "draws, correlation": mb.enrichment(post, "rna", sets, views=views, **asked),
        "test, parametric": mb.enrichment_test(post, "rna", sets, **asked),
        "test, correlation": mb.enrichment_test(post, "rna", sets, method="correlation", views=views, **asked),
        "test, permutation": mb.enrichment_test(post, "rna", sets, method="permutation", n_permutations=5000, **asked),
    }


if __name__ == "__main__":
    main()
