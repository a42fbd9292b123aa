"""Our vi beside mofapy2 0.7.5: `python tests/benchmarks/against_mofapy2.py [--quick] [--rows small,cll] [--seeds 5]`.

Both fit the same arrays with the same model: spike-slab and ARD loadings, gaussian noise (and bernoulli mutations on
CLL), K factors kept to the end, mofapy2's own priors (Gamma(1e-14, 1e-14) on alpha, Gamma(1e-3, 1e-3) on tau), one
thread each. mofapy2 runs in an environment of its own, which the first call makes. Nothing else is saved.

The bounds are compared by one formula (`bound.py`), written apart from both programs and checked against what each of
them reports. mofapy2 centres its data where our model has intercepts with a N(0, 5^2) prior, so the comparison is made
twice: in our model, mofapy2's fit given the best intercepts; and, for gaussian data, in mofapy2's model, ours with its
factors centred and its intercepts dropped. mofapy2's other parameters are set to their optimum given its factors and
loadings ("profiled"), which can only help it.

Seconds are of processor time with one thread each, from arrays in memory to the bound: reading, start and every pass
included, compilation not. mofapy2's "fast" and "slow" fits are one run (see `mofapy2_worker.py`). Of each program's
runs on a seed the quickest counts, because a busy machine can only make a run slower.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import bound as formula
import numpy as np
import pandas as pd
import peers
from threadpoolctl import threadpool_limits

import mofa_bayes as mb
from mofa_bayes.data.preprocess import fit_preprocessing
from mofa_bayes.data.simulate import Design
from mofa_bayes.engines.vi.ascend import ascend
from mofa_bayes.engines.vi.known import find_known
from mofa_bayes.engines.vi.layout import lay_out
from mofa_bayes.engines.vi.packed import unpack
from mofa_bayes.engines.vi.start import start_factors
from mofa_bayes.errors import ConvergenceWarning

PEER = "mofapy2==0.7.5"
WORKER = Path(__file__).with_name("mofapy2_worker.py")
ALPHA, TAU = (1e-14, 1e-14), (1e-3, 1e-3)
INTERCEPT_SCALE = 5.0


@dataclass(frozen=True)
class Row:
    """One line of the issue's table: subjects, features per view, factors fitted, factors that are there."""

    n_subjects: int
    widths: tuple[int, ...]
    n_factors: int
    goal: float

    @property
    def n_true(self):
        return 3 * self.n_factors // 4


ROWS = {
    "small": Row(300, (1000, 500, 100), 12, 40),
    "medium": Row(500, (4000, 2000, 500), 20, 100),
    "wide": Row(500, (4000, 2000, 500), 50, 200),
    "cll": Row(200, (), 10, 50),
}


@dataclass(frozen=True)
class Problem:
    """Arrays (N, D) by view in order of name, and their likelihoods."""

    tables: dict[str, np.ndarray]
    likelihoods: tuple[str, ...]

    @property
    def is_gaussian(self):
        return set(self.likelihoods) == {"gaussian"}

    def centred(self):
        pairs = zip(self.tables.values(), self.likelihoods, strict=True)
        wide = ((table.astype(np.float64), kind) for table, kind in pairs)
        return [table - np.nanmean(table, axis=0) if kind == "gaussian" else table for table, kind in wide]

    def views(self):
        frames = {}
        for name, table in self.tables.items():
            sizes = zip("pf", table.shape, strict=True)
            rows, columns = ([f"{kind}{n:06d}" for n in range(size)] for kind, size in sizes)
            frames[name] = pd.DataFrame(table, index=rows, columns=columns).dropna(how="all")
        kinds = dict(zip(self.tables, self.likelihoods, strict=True))
        return mb.MultiView.from_frames(frames, likelihoods=kinds)


def simulate(row, seed, noise):
    """Draw views from the model itself: each factor is active in one, two or all of them, half of its loadings zero."""
    names = [f"v{m}" for m in range(len(row.widths))]
    patterns = [names, names[:2], names[:1], names[1:], names[1:2], names[-1:]]
    design = Design(
        n_subjects=row.n_subjects,
        n_features=dict(zip(names, row.widths, strict=True)),
        sharing=[patterns[k % len(patterns)] for k in range(row.n_true)],
        noise_sd=noise,
    )
    complete = mb.simulate_cohort(design, seed=seed).complete
    return Problem({name: complete[name].to_numpy(np.float32) for name in names}, ("gaussian",) * len(names))


def read_cll(folder):
    """The CLL cohort, columns that do not vary dropped; None where the data are not on this machine."""
    if not (folder / "cll").is_dir():
        return None
    subjects = pd.read_parquet(folder / "cll" / "clinical.parquet").index
    tables = {}
    for name in ("drugs", "methylation", "mrna", "mutations"):
        table = pd.read_parquet(folder / "cll" / f"{name}.parquet").reindex(subjects)
        tables[name] = table.loc[:, table.nunique() > 1].to_numpy(np.float32)
    return Problem(tables, ("gaussian", "gaussian", "gaussian", "bernoulli"))


def fit_ours(problem, n_factors, seed):
    """Fit with the defaults but mofapy2's priors; return the fit and (seconds of wall and processor, bound) by pass."""
    views = problem.views()
    spec = mb.FactorModel(
        n_factors=n_factors,
        loadings=mb.SpikeSlab(precision=mb.Gamma(shape=ALPHA[0], rate=ALPHA[1])),
        noise=mb.Gamma(shape=TAU[0], rate=TAU[1]),
        scale="none",
        intercept_scale=INTERCEPT_SCALE,
        min_variance=0,
    )
    trace = []
    begun = np.array([time.perf_counter(), time.process_time()])

    def tell(_, bound):
        trace.append([*(np.array([time.perf_counter(), time.process_time()]) - begun), bound])

    with threadpool_limits(1):
        preprocessing = fit_preprocessing(views, dict.fromkeys(views.names, "none"))
        layout = lay_out(views, preprocessing, find_known(views, preprocessing))
        scores = start_factors(layout, n_factors, np.random.default_rng(seed))
        fitted = ascend(layout, spec, mb.Ascent(n_threads=1), scores, tell)
    # Passes of the dense start report another model's bound: their time counts, their bound does not. The trace that
    # the fit keeps begins where they end.
    trace = np.array(trace)
    n_dense = len(trace) - len(fitted.bound)
    assert np.array_equal(trace[n_dense:, 2], fitted.bound)
    trace[:n_dense, 2] = -np.inf
    return fitted, trace


def compile_ours(problem, seed):
    """Run everything once on a corner of the data."""
    corner = {name: table[:, :50] for name, table in problem.tables.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        fit_ours(Problem(corner, problem.likelihoods), 2, seed)


def our_moments(fitted):
    """Put a fit of ours as the formula's moments, one part per view and rows in their own order."""
    layout, size = fitted.layout, fitted.globals.n_factors
    z_mean, pattern = np.empty((len(layout.subjects), size)), np.empty(len(layout.subjects), dtype=int)
    covariances, n_patterns = [], 0
    for block, rows in zip(layout.blocks, fitted.rows, strict=True):
        z_mean[block.rows] = rows.mean
        pattern[block.rows] = n_patterns + (np.arange(block.n_rows) if len(rows.covariance) > 1 else 0)
        covariances.append(unpack(rows.covariance, size))
        n_patterns += len(rows.covariance)
    views = []
    for part, state in zip(layout.parts, fitted.globals.parts, strict=True):
        own = fitted.globals.views[part.view]
        is_gaussian = part.likelihood == "gaussian"
        views.append(
            formula.View(
                inclusion=state.inclusion,
                slab_mean=state.slab_mean,
                slab_variance=state.slab_variance,
                intercept_mean=state.mean[:, -1],
                intercept_variance=state.spread[:, -1],
                alpha_a=own.ard.shape,
                alpha_b=own.ard.rate,
                theta_a=own.a,
                theta_b=own.b,
                tau_a=state.noise_shape[0] if is_gaussian else None,
                tau_b=state.noise_rate[0] if is_gaussian else None,
                xi=None if is_gaussian else np.ones((len(layout.subjects), part.n_features)),
            )
        )
    return formula.Moments(z_mean=z_mean, z_covariance=np.concatenate(covariances), pattern=pattern, views=tuple(views))


def fit_mofapy2(python, problem, n_factors, seed, options, mode):
    """Run the worker as far as `mode`; return the states at which "fast" and "slow" stop."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for m, table in enumerate(problem.tables.values()):
            np.save(folder / f"view_{m}.npy", table)
        task = {
            "n_views": len(problem.tables),
            "likelihoods": problem.likelihoods,
            "n_factors": n_factors,
            "seed": seed,
            "mode": mode,
            "max_iterations": options.peer_iterations,
            "limit": options.peer_seconds,
            "use_float32": options.peer_float32,
        }
        (folder / "task.json").write_text(json.dumps(task))
        peers.call(python, WORKER, [str(folder)])
        slow = dict(np.load(folder / "slow.npz"))
        settled = (folder / "fast.npz").is_file()
        fast = dict(np.load(folder / "fast.npz")) | {"converged": True} if settled else slow
    return fast, slow


def mofapy2_moments(state):
    """Put a state of mofapy2 as the formula's moments: factors a priori independent, no intercepts."""
    n, size = state["z_mean"].shape
    views = []
    for m in range(sum(name.startswith("inclusion_") for name in state)):
        nothing = np.zeros(len(state[f"inclusion_{m}"]))
        names = ("inclusion", "slab_mean", "slab_variance", "alpha_a", "alpha_b", "theta_a", "theta_b", "xi")
        own = {name: state.get(f"{name}_{m}") for name in names}
        tau = {name: state[f"{name}_{m}"].ravel() if f"{name}_{m}" in state else None for name in ("tau_a", "tau_b")}
        views.append(formula.View(intercept_mean=nothing, intercept_variance=nothing, **own, **tau))
    covariance = np.zeros((n, size, size))
    np.einsum("nkk->nk", covariance)[:] = state["z_variance"]
    return formula.Moments(z_mean=state["z_mean"], z_covariance=covariance, pattern=np.arange(n), views=tuple(views))


def spike_term(state):
    """What mofapy2's bound holds beside ours: weights that are switched off keep a q of their own, N(0, its variance).

    E[log p - log q] of those; integrating such weights out, as the formula does, can only raise the bound.
    """
    total = 0.0
    for m in range(sum(name.startswith("inclusion_") for name in state)):
        a, b, spike = state[f"alpha_a_{m}"], state[f"alpha_b_{m}"], state[f"spike_variance_{m}"]
        each = formula.digamma(a) - np.log(b) - a / b * spike + 1 - np.log(a / b)
        total += np.sum((1 - state[f"inclusion_{m}"]) * each) / 2
    return total


def compare(python, row, problem, seed, options):
    """Fit both and gather one line of the table."""
    ours_model = formula.Model(alpha=ALPHA, tau=TAU, intercept_scale=INTERCEPT_SCALE)
    theirs_model = formula.Model(alpha=ALPHA, tau=TAU, intercept_scale=None)
    tables = problem.centred()
    compile_ours(problem, seed)
    runs = [fit_ours(problem, row.n_factors, seed) for _ in range((options.repeats + 1) // 2)]
    fast, slow = fit_mofapy2(python, problem, row.n_factors, seed, options, options.peer_mode)
    again = [
        fit_mofapy2(python, problem, row.n_factors, seed, options, "fast")[0] for _ in range(options.peer_repeats - 1)
    ]
    runs += [fit_ours(problem, row.n_factors, seed) for _ in range(options.repeats // 2)]
    fitted, trace = runs[0]

    theirs = {name: mofapy2_moments(state) for name, state in (("fast", fast), ("slow", slow))}
    value = {
        name: formula.bound(tables, formula.profile(tables, moments, ours_model), ours_model)
        for name, moments in theirs.items()
    }
    own = our_moments(fitted)
    profiled = formula.profile(tables, own, ours_model)
    checked = own if problem.is_gaussian else profiled
    reached = np.flatnonzero(trace[:, 2] >= value["fast"])
    pass_ = int(reached[0]) if len(reached) else -1
    line = {
        "seed": seed,
        "load": os.getloadavg()[0],
        "their_wall": min(state["trace"][-1, 0] for state in (fast, *again)),
        "their_cpu": min(state["trace"][-1, 1] for state in (fast, *again)),
        "our_wall": min(t[pass_, 0] for _, t in runs) if len(reached) else np.inf,
        "our_cpu": min(t[pass_, 1] for _, t in runs) if len(reached) else np.inf,
        "our_pass": pass_ + 1,
        "our_passes": len(trace),
        "our_full_cpu": min(t[-1, 1] for _, t in runs),
        "their_slow_cpu": slow["trace"][-1, 1],
        "fast_settled": bool(fast["converged"]),
        "slow_settled": bool(slow["converged"]),
        "fast": value["fast"],
        "slow": value["slow"],
        "ours": float(fitted.bound[-1]),
        "check_ours": relative(formula.bound(tables, checked, ours_model), fitted.bound[-1]),
        "check_theirs": relative(
            formula.bound(tables, theirs["slow"], theirs_model) + spike_term(slow), slow["trace"][-1, 2]
        ),
    }
    line["reached_slow"] = bool(line["ours"] >= line["slow"])
    line["ratio"] = line["their_cpu"] / line["our_cpu"]
    if problem.is_gaussian:
        moved = formula.profile(tables, formula.move_intercept_to_factors(own), theirs_model)
        line["ours_without_intercepts"] = formula.bound(tables, moved, theirs_model)
        line["slow_without_intercepts"] = formula.bound(
            tables, formula.profile(tables, theirs["slow"], theirs_model), theirs_model
        )
        line["slow_as_printed"] = float(slow["trace"][-1, 2])
    return line


def relative(found, expected):
    return abs(found - expected) / abs(expected)


def show(name, row, lines):
    """Print the lines of one row of the table."""
    shape = "CLL" if name == "cll" else f"N={row.n_subjects}; D={', '.join(map(str, row.widths))}"
    print(f"\n## {shape}; K={row.n_factors} (goal {row.goal:g}x)")
    print("seed | mofapy2 fast s (cpu/wall) | ours s to its bound (cpu/wall; pass) | ratio | ours to the end s | load")
    for line in lines:
        print(
            f"{line['seed']:4d} | {line['their_cpu']:.2f}/{line['their_wall']:.2f}"
            f"{'' if line['fast_settled'] else ', cut short'} | "
            f"{line['our_cpu']:.3f}/{line['our_wall']:.3f} ({line['our_pass']} of {line['our_passes']}) | "
            f"{line['ratio']:.1f}x | {line['our_full_cpu']:.2f} | {line['load']:.1f}"
        )
    print("seed | bound: mofapy2 fast | slow (s) | ours | ours - slow | same without intercepts | checks ours/theirs")
    for line in lines:
        apart = line.get("ours_without_intercepts", np.nan) - line.get("slow_without_intercepts", np.nan)
        settled = "" if line["slow_settled"] else ", cut short"
        print(
            f"{line['seed']:4d} | {line['fast']:.1f} | {line['slow']:.1f} ({line['their_slow_cpu']:.1f}{settled}) | "
            f"{line['ours']:.1f} | {line['ours'] - line['slow']:+.1f} | {apart:+.1f} | "
            f"{line['check_ours']:.1e} / {line['check_theirs']:.1e}"
        )
    ratios = [line["ratio"] for line in lines]
    higher = sum(line["reached_slow"] for line in lines)
    cut = sum(not line["slow_settled"] for line in lines)
    print(
        f"ratio: median {statistics.median(ratios):.1f}x; bound at least mofapy2's slow: {higher} of {len(lines)}"
        f"{f' (of which mofapy2 was cut short: {cut})' if cut else ''}",
        flush=True,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="the first row with two seeds")
    parser.add_argument("--rows", default=",".join(ROWS), help=f"some of {', '.join(ROWS)}")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=4, help="fits of ours per seed; the least time counts")
    parser.add_argument("--peer-repeats", type=int, default=2, help='the same of mofapy2, as far as "fast"')
    parser.add_argument("--peer-mode", choices=("fast", "slow"), default="slow", help="how far mofapy2 goes")
    parser.add_argument("--noise", type=float, default=1.0, help="noise sd of the simulated features")
    parser.add_argument("--peer-iterations", type=int, default=1000, help="mofapy2's own default")
    parser.add_argument(
        "--peer-seconds", type=float, default=np.inf, help="stop a fit of mofapy2 after so much processor time"
    )
    parser.add_argument("--peer-float32", action="store_true", help="mofapy2 in single precision (not its default)")
    parser.add_argument("--env", type=Path, default=peers.DEFAULT_FOLDER, help="folder for mofapy2's environment")
    parser.add_argument(
        "--data", type=Path, default=os.environ.get("MOFA_BAYES_DATA", "shared/data"), help="folder that holds cll/"
    )
    parser.add_argument("--json", type=Path, help="also write every line to this file")
    options = parser.parse_args()
    names, seeds = (["small"], 2) if options.quick else (options.rows.split(","), options.seeds)
    python = peers.prepare("mofapy2", [PEER], options.env)
    everything = {}
    for name in names:
        row, lines = ROWS[name], []
        for seed in range(seeds):
            problem = read_cll(Path(options.data)) if name == "cll" else simulate(row, seed, options.noise)
            if problem is None:
                print("\n## CLL: the data are not on this machine (--data)")
                break
            lines.append(compare(python, row, problem, seed, options))
        if lines:
            show(name, row, lines)
        everything[name] = lines
        if options.json:
            options.json.write_text(json.dumps(everything, indent=1))


if __name__ == "__main__":
    main()
