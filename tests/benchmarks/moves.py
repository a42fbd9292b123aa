"""What parameter expansion and its companions save: `python tests/benchmarks/moves.py`.

Passes of vi to convergence with and without its moves (`Ascent.expand`: rotation or scale of factors, emptying of
views, over-relaxation), on simulated cohorts of 300 patients, views of 1,000, 500 and 100 features, 12 factors of
which 9 are there, from clean (noise sd 0.3) to noisy (3).
"""

import argparse
import warnings

import numpy as np
from against_mofapy2 import ROWS, simulate

import mofa_bayes as mb
from mofa_bayes.data.preprocess import fit_preprocessing
from mofa_bayes.engines.vi.ascend import ascend
from mofa_bayes.engines.vi.known import find_known
from mofa_bayes.engines.vi.layout import lay_out
from mofa_bayes.engines.vi.start import start_factors
from mofa_bayes.errors import ConvergenceWarning


def climb(problem, prior, expand, seed):
    """Passes under the model's own prior, and the bound they reach."""
    views = problem.views()
    spec = mb.FactorModel(n_factors=12, loadings=prior, scale="none", min_variance=0)
    preprocessing = fit_preprocessing(views, dict.fromkeys(views.names, "none"))
    layout = lay_out(views, preprocessing, find_known(views, preprocessing))
    scores = start_factors(layout, 12, np.random.default_rng(seed))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted = ascend(layout, spec, mb.Ascent(n_threads=1, max_iterations=6000, expand=expand), scores)
    return len(fitted.bound), float(fitted.bound[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--noise", nargs="+", type=float, default=[0.3, 1.0, 3.0])
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print("noise sd | prior      | passes with moves | without | ratio | bound with moves less that without")
    for noise in options.noise:
        problem = simulate(ROWS["small"], options.seed, noise)
        for prior in (mb.SpikeSlab(), mb.ARD()):
            (ours, high), (plain, low) = (climb(problem, prior, expand, options.seed) for expand in (True, False))
            print(
                f"{noise:8.1f} | {prior.kind:10s} | {ours:17d} | {plain:7d} | {ours / plain:5.2f} | {high - low:+.1f}"
            )


if __name__ == "__main__":
    main()
