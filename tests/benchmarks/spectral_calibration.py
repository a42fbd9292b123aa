"""The spectral engine measured: time, coverage of its intervals, and rank at weak signal.

`python tests/benchmarks/spectral_calibration.py` prints three tables (about two minutes of one free core): seconds of
the engine at N = 500, D = 8,000; coverage of 95 % intervals of entries of W_a W_b', within and across views, with and
without the correction rho; and the number of factors found where signals are weak, beside information criteria.
"""

import argparse
import time
from dataclasses import dataclass

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from mofa_bayes.engines.spectral.decompose import decompose
from mofa_bayes.engines.spectral.tables import make_table
from mofa_bayes.spec import FactorModel

LEVEL = 0.95
N_ENTRIES = 60
# Rows are factors, columns are views: shared by all, by two, and of one view only.
SHARING = np.array([[1, 1, 1], [1, 1, 1], [1, 1, 0], [0, 1, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
WEAK_SHARING = np.array([[1, 1, 1], [1, 1, 1], [1, 1, 0], [0, 1, 1], [1, 0, 0]])
WEAK_FEATURES = (600, 400, 300)
WEAK_SUBJECTS = 300


@dataclass(frozen=True, slots=True)
class CoverageDesign:
    """Dense normal loadings of sd `loading`, noise variances uniform in (0.5, 2)."""

    n_subjects: int
    n_features: tuple[int, int, int]
    loading: float = 0.5
    absent: float = 0.0
    missing: float = 0.0


COVERAGE_DESIGNS = (
    CoverageDesign(300, (300, 200, 100)),
    CoverageDesign(500, (1000, 600, 400)),
    CoverageDesign(300, (1000, 600, 400)),
    CoverageDesign(500, (1000, 600, 400), loading=1.0),
    CoverageDesign(500, (1000, 600, 400), absent=0.2, missing=0.05),
)


def observe(values, rows, missing, name):
    """Centre what is observed of a view; the scale is left alone so that the truth needs no rescaling."""
    own = np.where(missing[rows], np.nan, values[rows])
    own = own - np.nanmean(own, axis=0)
    hidden = np.isnan(own)
    features = tuple(f"f{d:05d}" for d in range(own.shape[1]))
    return make_table(name, features, rows, np.nan_to_num(own), hidden if hidden.any() else None)


def simulate(design, rng):
    """Draw three views, and the loadings they were drawn from."""
    n = design.n_subjects
    factors = rng.standard_normal((n, len(SHARING)))
    lacking, which = rng.random(n) < design.absent, rng.integers(3, size=n)
    tables, truth = [], []
    for m, n_features in enumerate(design.n_features):
        loadings = rng.standard_normal((n_features, len(SHARING))) * design.loading * SHARING[:, m]
        noise = np.sqrt(rng.uniform(0.5, 2, n_features))
        values = factors @ loadings.T + noise * rng.standard_normal((n, n_features))
        missing = rng.random(values.shape) < design.missing
        tables.append(observe(values, np.flatnonzero(~(lacking & (which == m))), missing, "abc"[m]))
        truth.append(loadings)
    return tables, truth


def draw_loadings(fit, width, columns, n_draws, rng):
    """Loadings (n_draws, features, K) of some features, as the posterior's builder draws them."""
    precision = rng.gamma(fit.shape[columns], 1.0, (n_draws, len(columns))) / fit.rate[columns]
    root = np.linalg.cholesky(fit.scale)[fit.scale_of[columns]]
    noise = np.einsum("djk,sdk->sdj", root, rng.standard_normal((n_draws, len(columns), root.shape[-1])))
    return fit.loadings[columns] + width * noise[:, :, :-1] / np.sqrt(precision)[:, :, None]


def measure_coverage(design, seed, *, n_draws=500):
    """Coverage in one replicate: within a view, on its diagonal, across views; `_bare` without rho."""
    rng = np.random.default_rng(seed)
    tables, truth = simulate(design, rng)
    found = decompose(tables, FactorModel(n_factors=12, min_variance=0.0), design.n_subjects, rng)
    columns = [rng.choice(n, N_ENTRIES, replace=False) for n in design.n_features]
    row = {"K": found.n_factors, "rho": np.mean(found.inflations)}
    for suffix, widths in (("", found.inflations), ("_bare", (1.0, 1.0, 1.0))):
        draws = [
            draw_loadings(fit, width, own, n_draws, rng)
            for fit, width, own in zip(found.regressions, widths, columns, strict=True)
        ]
        inside = {"within": [], "diagonal": [], "across": []}
        for a in range(3):
            for b in range(a, 3):
                products = np.einsum("sdk,sek->sde", draws[a], draws[b], optimize=True)
                lower, upper = np.quantile(products, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2], axis=0)
                true = truth[a][columns[a]] @ truth[b][columns[b]].T
                covered = (lower <= true) & (true <= upper)
                if a == b:
                    inside["diagonal"].append(np.diag(covered).mean())
                    inside["within"].append(covered[np.triu_indices(N_ENTRIES, 1)].mean())
                else:
                    inside["across"].append(covered.mean())
        means = {kind: float(np.mean(values)) for kind, values in inside.items()}
        # Of the distinct entries of three views' covariance, of 60 features each.
        shares = {"within": (N_ENTRIES - 1) / 2, "diagonal": 1.0, "across": float(N_ENTRIES)}
        means["all"] = sum(shares[kind] * means[kind] for kind in shares) / sum(shares.values())
        row |= {f"{kind}{suffix}": value for kind, value in means.items()}
    return row


def information_criteria(values, largest=15):
    """Ranks chosen by Bai and Ng (2002, Econometrica 70:191), IC_p1 to IC_p3, and by BIC."""
    n, n_features = values.shape
    squares = np.linalg.svd(values, compute_uv=False) ** 2
    k = np.arange(largest + 1)
    residual = np.log([squares[i:].sum() / values.size for i in k])
    smaller, ratio = min(n, n_features), (n + n_features) / values.size
    penalties = {
        "bai_ng_1": k * ratio * np.log(1 / ratio),
        "bai_ng_2": k * ratio * np.log(smaller),
        "bai_ng_3": k * np.log(smaller) / smaller,
        "bic": k * ratio * np.log(values.size),
    }
    return {name: int((residual + penalty).argmin()) for name, penalty in penalties.items()}


def measure_rank(seed, strength=3.0):
    """Number of factors found in one replicate of five, each `strength` times the least that any method can see.

    Below |w|^2 = sigma^2 sqrt(D/n) the leading singular vectors of a view are unrelated to the factor (Baik, Ben Arous
    and Peche 2005, Ann Probab 33:1643). The criteria see all views side by side, standardised.
    """
    rng = np.random.default_rng(seed)
    n = WEAK_SUBJECTS
    factors = rng.standard_normal((n, len(WEAK_SHARING)))
    tables = []
    for m, n_features in enumerate(WEAK_FEATURES):
        loadings = rng.standard_normal((n_features, len(WEAK_SHARING)))
        loadings *= np.sqrt(strength * np.sqrt(n_features / n) / np.square(loadings).sum(axis=0)) * WEAK_SHARING[:, m]
        values = factors @ loadings.T + rng.standard_normal((n, n_features))
        values /= values.std(axis=0)
        tables.append(observe(values, np.arange(n), np.zeros(values.shape, dtype=bool), "abc"[m]))
    found = decompose(tables, FactorModel(n_factors=15, min_variance=0.0), n, rng)
    return {"spectral": found.n_factors, **information_criteria(np.concatenate([t.values for t in tables], axis=1))}


def measure_seconds(n_subjects=500, n_features=(4000, 3000, 1000), n_factors=10, repeats=5):
    """Seconds of the engine on one thread, the first call (which compiles) left out."""
    rng = np.random.default_rng(0)
    factors = rng.standard_normal((n_subjects, n_factors))
    tables = []
    for m, d in enumerate(n_features):
        values = factors @ rng.standard_normal((d, n_factors)).T + np.sqrt(n_factors) * rng.standard_normal(
            (n_subjects, d)
        )
        tables.append(observe(values, np.arange(n_subjects), np.zeros(values.shape, dtype=bool), "abc"[m]))
    found = [decompose(tables, FactorModel(n_factors=15), n_subjects, np.random.default_rng(0)) for _ in range(repeats)]
    return [one.seconds for one in found[1:]], found[-1].n_factors


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("`")[0])
    parser.add_argument("--replicates", type=int, default=50)
    parser.add_argument("--rank-replicates", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    started = time.perf_counter()
    with threadpool_limits(1):
        seconds, n_found = measure_seconds()
        print(f"N = 500, D = 4,000 + 3,000 + 1,000, K = 10: {np.median(seconds):.2f} s of one thread, found {n_found}")
        print(f"(four calls: {', '.join(f'{s:.2f}' for s in seconds)})\n")
        rows = []
        for design in COVERAGE_DESIGNS:
            replicates = pd.DataFrame([measure_coverage(design, options.seed + r) for r in range(options.replicates)])
            label = {
                "N": design.n_subjects,
                "D": sum(design.n_features),
                "loading": design.loading,
                "absent": design.absent,
                "missing": design.missing,
                "K right": (replicates["K"] == len(SHARING)).mean(),
            }
            rows.append(label | replicates.drop(columns="K").mean().to_dict())
        print(f"coverage of {LEVEL:.0%} intervals of entries of W_a W_b', {options.replicates} replicates, 7 factors")
        print(pd.DataFrame(rows).round(3).to_string(index=False))
        print(f"\nfactors found of 5, {options.rank_replicates} replicates: mean (share of replicates that are right)")
        rows = []
        for strength in (2.5, 3.0, 5.0, 10.0):
            ranks = pd.DataFrame([measure_rank(options.seed + r, strength) for r in range(options.rank_replicates)])
            cells = {name: f"{own.mean():.2f} ({(own == 5).mean():.2f})" for name, own in ranks.items()}
            rows.append({"strength": strength} | cells)
        print(pd.DataFrame(rows).to_string(index=False))
    print(f"\n{(time.perf_counter() - started) / 60:.1f} minutes")


if __name__ == "__main__":
    main()
