"""Are factors found, sharing right, and masked entries covered? `python tests/benchmarks/recovery.py --cohorts 20`.

300 patients; views of 400, 200 and 50 features; six factors, of which two are shared by all views, two by two views and
two belong to one; a fifth of the patients lack one view and 5 % of the remaining entries are missing.
"""

import argparse

import numpy as np

import mofa_bayes as mb
from mofa_bayes.data.simulate import Design
from mofa_bayes.testing import recover

SHARING = [("rna", "meth", "ehr")] * 2 + [("rna", "meth"), ("meth", "ehr"), ("rna",), ("meth",)]
DESIGN = Design(
    n_subjects=300, n_features={"rna": 400, "meth": 200, "ehr": 50}, sharing=SHARING, absent_view=0.2, missing=0.05
)


def measure(seed: int, engine: str) -> tuple[float, float, bool, float, float]:
    """Smallest r where the factor can be known and over all patients, sharing right, coverage, seconds."""
    cohort = mb.simulate_cohort(DESIGN, seed=seed)
    post = mb.fit(cohort.views, mb.FactorModel(n_factors=10), engine=engine, seed=0, progress=False)
    found = recover(cohort, post)
    table = mb.sharing(post)["views"]
    truth = ["+".join(view for view in post.views if view in shared) for shared in SHARING]
    right = [table[name] for name in found.factors["found"]] == truth and len(post.factor_names) == len(SHARING)
    factors = found.factors
    return factors["r"].min(), factors["r_all"].min(), right, found.coverage, float(post.provenance["seconds"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cohorts", type=int, default=20)
    n_cohorts = parser.parse_args().cohorts
    print(
        f"{'engine':10s}{'smallest r':>12s}{'(all patients)':>16s}{'sharing right':>15s}{'coverage 95 %':>15s}{'s':>7s}"
    )
    for engine in ("vi", "spectral"):
        rows = [measure(seed, engine) for seed in range(n_cohorts)]
        r, r_all, right, coverage, seconds = zip(*rows, strict=True)
        print(
            f"{engine:10s}{min(r):12.3f}{min(r_all):16.3f}{f'{sum(right)} of {n_cohorts}':>15s}"
            f"{np.mean(coverage):15.3f}{np.median(seconds):7.2f}"
        )


if __name__ == "__main__":
    main()
