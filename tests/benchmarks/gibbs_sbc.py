"""Simulation-based calibration of gibbs, by prior and likelihood: `python tests/benchmarks/gibbs_sbc.py`.

Cohorts of 40 patients with views of 8 and 6 features, of which the second has the likelihood asked for, two factors, a
tenth of the patients without one view, are drawn from the model; each is sampled by one chain of 300 and 800 sweeps, of
which every second is kept. Ranks of the truth are tested for uniformity (Holm over quantities), and intervals counted.
"""

import argparse

import mofa_bayes as mb

PRIORS = {
    "ard": mb.ARD(), "spike_slab": mb.SpikeSlab(), "horseshoe": mb.Horseshoe(), "laplace": mb.Laplace(),
    "normal": mb.Normal(),
}  # fmt: skip
CASES = [
    *((prior, "gaussian") for prior in PRIORS),
    *(("ard", likelihood) for likelihood in ("bernoulli", "negative_binomial", "poisson", "student_t")),
]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = [f"{prior}:{likelihood}" for prior, likelihood in CASES]
    parser.add_argument("--cases", nargs="+", default=names, choices=names, metavar="PRIOR:LIKELIHOOD")
    parser.add_argument("--replicates", type=int, default=200)
    parser.add_argument("--thin", type=int, default=2)
    parser.add_argument("--processes", type=int, default=1)
    options = parser.parse_args()
    for case in options.cases:
        prior, likelihood = case.split(":")
        sizes = mb.Sizes(
            n_subjects=40,
            n_features={"a": 8, "b": 6},
            likelihoods={"b": likelihood},
            absent_view=0.1,
            missing=0.05,
        )
        found = mb.check_calibration(
            mb.FactorModel(n_factors=2, loadings=PRIORS[prior]),
            sizes,
            engine="gibbs",
            n_replicates=options.replicates,
            n_processes=options.processes,
            options={"settings": mb.Sampling(n_draws=400, n_tune=300, n_chains=1, n_jobs=1, thin=options.thin)},
        )
        table = found.table[found.table["level"] == 0.95]
        covered = ", ".join(f"{row.quantity} {row.coverage:.3f}" for row in table.itertuples())
        print(
            f"{case}: {found.n_replicates} cohorts, {found.seconds:.1f} s each; smallest p after Holm "
            f"{found.uniformity['p_holm'].min():.2g}; 95 % intervals cover: {covered}",
            flush=True,
        )


if __name__ == "__main__":
    main()
