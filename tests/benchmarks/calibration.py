"""Coverage of an engine on cohorts drawn from the model, by prior and number of subjects, as `mofa-bayes check`."""

import argparse

import mofa_bayes as mb

PRIORS = {
    "spike_slab": mb.SpikeSlab(),
    "ard": mb.ARD(),
    "horseshoe": mb.Horseshoe(),
    "laplace": mb.Laplace(),
    "normal": mb.Normal(),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", default="vi")
    parser.add_argument("--priors", nargs="+", default=["spike_slab", "ard"], choices=list(PRIORS))
    parser.add_argument("--likelihood", default="gaussian", help="of the third view")
    parser.add_argument("--subjects", nargs="+", type=int, default=[50, 200, 1000])
    parser.add_argument("--features", type=int, default=30, help="of each of three views")
    parser.add_argument("--factors", type=int, default=3)
    parser.add_argument("--replicates", type=int, default=200)
    parser.add_argument("--draws", type=int, default=500)
    parser.add_argument("--processes", type=int, default=1)
    options = parser.parse_args()
    for prior in options.priors:
        for n_subjects in options.subjects:
            sizes = mb.Sizes(
                n_subjects=n_subjects,
                n_features=dict.fromkeys(("a", "b", "c"), options.features),
                likelihoods={"c": options.likelihood},
                absent_view=0.1,
                missing=0.05,
            )
            found = mb.check_calibration(
                mb.FactorModel(n_factors=options.factors, loadings=PRIORS[prior]),
                sizes,
                engine=options.engine,
                n_replicates=options.replicates,
                options={"n_draws": options.draws},
                n_processes=options.processes,
            )
            print(
                f"{options.engine}, {prior}, N={n_subjects}: {found.n_replicates} cohorts ({found.n_failed} failed, "
                f"{found.n_unconverged} unconverged), {found.seconds:.2f} s a fit; smallest p of uniform ranks after "
                f"Holm {found.uniformity['p_holm'].min():.3g}"
            )
            wide = found.table.assign(text=[f"{c:.3f} ({s:.3f})" for c, s in found.table[["coverage", "se"]].values])
            print(wide.pivot_table(index="quantity", columns="level", values="text", aggfunc="first", sort=False))
            print(flush=True)


if __name__ == "__main__":
    main()
