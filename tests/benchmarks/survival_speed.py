"""How long does a survival model take? `PYTHONPATH=tests/benchmarks python tests/benchmarks/survival_speed.py`.

500 patients, 10 factors known with reliability 0.5, M-spline baseline: `RiskModel.fit` as it is, four chains of 1,000
draws. The first row includes what is compiled once in a process; a minute and no divergences are asked for. Processor
seconds stand beside those on the clock, which other work on the machine lengthens.
"""

import argparse
import time

import arviz as az
import pandas as pd
from risk_coverage import simulate

from mofa_bayes.risk import Compiled, RiskModel, Survival


def measure(sampler, compiled, seed, options):
    """Seconds, divergences and the fewest effective draws of one fit."""
    moments, clinical = simulate(seed, n_subjects=options.subjects, n_factors=options.factors)
    model = RiskModel(Survival("time", "event", baseline="m_spline"))
    clock, cpu = time.perf_counter(), time.process_time()
    fitted = model.fit(moments, clinical, seed=seed, sampler=sampler, compiled=compiled)
    seconds = time.perf_counter() - clock, time.process_time() - cpu
    tree = fitted.tree
    stats = tree["sample_stats"] if "sample_stats" in tree.children else None
    effective = az.ess(tree["posterior"].to_dataset()).to_array().min() if stats else tree.attrs["n_effective"]
    return {
        "sampler": tree.attrs["sampler"],
        "seconds": seconds[0],
        "cpu": seconds[1],
        "diverging": int(stats["diverging"].sum()) if stats else None,
        "effective": float(effective),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("`")[0])
    parser.add_argument("--subjects", type=int, default=500)
    parser.add_argument("--factors", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    compiled = Compiled()
    rows = [
        measure(sampler, compiled if sampler == "importance" else None, seed, options)
        for sampler in ("nuts", "importance")
        for seed in range(options.repeats)
    ]
    print(f"{options.subjects} patients, {options.factors} factors, M-spline")
    print(pd.DataFrame(rows).round(1).to_string(index=False))


if __name__ == "__main__":
    main()
