"""Do intervals of new patients' factors hold? `python tests/benchmarks/projection.py --cohorts 20`.

Cohorts of n patients with views of 1,000 (or 4,000), 500 (2,000) and 200 features, the last a weak one (noise 3 instead
of 1), five factors of which two are in all views and three in two each, half of the loadings zero. The model (8 factors
asked for) is fitted by vi and cross-fitted; 200 new patients are projected from all views, without the first, and from
the weak one alone. The table counts how often the 95 % interval of a factor, matched to the truth by order and sign,
holds the truth: with loadings as the fit found them, and with their error.
"""

import argparse
import time

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment

import mofa_bayes as mb

CASES = {
    "n=300, D=1,700": (300, {"x": 1000, "y": 500, "weak": 200}),
    "n=100, D=1,700": (100, {"x": 1000, "y": 500, "weak": 200}),
    "n=100, D=6,200": (100, {"x": 4000, "y": 2000, "weak": 200}),
}
SHARING = ((0, 1, 2), (0, 1, 2), (0, 1), (0, 2), (1, 2))
NOISE = (1.0, 1.0, 3.0)
N_NEW = 200


def simulate(n_subjects, sizes, seed):
    """Return factors (patient, factor) and one table per view, the new patients last."""
    rng = np.random.default_rng(seed)
    names = [f"p{n:05d}" for n in range(n_subjects + N_NEW)]
    factors = rng.standard_normal((len(names), len(SHARING)))
    tables = {}
    for number, (view, size) in enumerate(sizes.items()):
        shape = (size, len(SHARING))
        loadings = rng.standard_normal(shape) * (rng.random(shape) < 0.5)
        loadings *= [number in views for views in SHARING]
        values = factors @ loadings.T + rng.standard_normal(size)
        values += NOISE[number] * rng.standard_normal(values.shape)
        tables[view] = pd.DataFrame(values, index=names, columns=[f"{view}_{d}" for d in range(size)])
    return pd.DataFrame(factors, index=names), tables


def match(truth, means):
    """Order and signs that bring fitted factors to the true ones."""
    correlation = np.corrcoef(truth.T, means.T)[: truth.shape[1], truth.shape[1] :]
    rows, columns = linear_sum_assignment(-np.abs(correlation))
    return columns, np.sign(correlation[rows, columns])


def measure(case, seed, n_folds):
    """Coverage with and without the error of loadings, by what is seen; one row each."""
    n_subjects, sizes = CASES[case]
    factors, tables = simulate(n_subjects, sizes, seed)
    views = mb.MultiView.from_frames({view: table.iloc[:n_subjects] for view, table in tables.items()})
    started = time.process_time()
    post = mb.fit(views, mb.FactorModel(n_factors=8), seed=seed, progress=False)
    fitted = time.process_time()
    post = mb.cross_fit(post, views, n_folds=n_folds, seed=seed, progress=False)
    seconds = {"fit_s": fitted - started, "cross_fit_s": time.process_time() - fitted}
    own = post.factor_moments()
    columns, sign = match(factors.loc[list(own.subjects)].to_numpy(), own.mean)
    rows = []
    for seen, chosen in (("all", list(sizes)), ("without the first", list(sizes)[1:]), ("the weak one", ["weak"])):
        found = post.project({view: tables[view].iloc[n_subjects:] for view in chosen})
        truth = factors.loc[list(found.subjects)].to_numpy()
        error = truth - found.mean[:, columns] * sign
        row = {"case": case, "seen": seen}
        for name, moments in (("loadings as found", found.given_loadings), ("calibrated", found)):
            sd = np.sqrt(np.einsum("nkk->nk", moments.covariances()))[:, columns]
            row[name] = (np.abs(error) < 1.959964 * sd).mean()
        rows.append(row | seconds)
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("`")[0])
    parser.add_argument("--cohorts", type=int, default=20)
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES), metavar="CASE")
    parser.add_argument("--folds", type=int, default=20)
    options = parser.parse_args()
    rows = [
        row for case in options.cases for seed in range(options.cohorts) for row in measure(case, seed, options.folds)
    ]
    table = pd.DataFrame(rows).groupby(["case", "seen"], sort=False)
    error = table["calibrated"].std() / np.sqrt(options.cohorts)
    print(table.mean().assign(se=error).round(3).to_string())


if __name__ == "__main__":
    main()
