"""Files of each version of the schema, which every later version must read: `python tests/golden/archive.py`.

Writes `archive/v<version>_<engine>.nc` and `.json` for the schema of the code at hand, with what the posterior says of
two new patients. Run it once when SCHEMA_VERSION grows, and keep the older files.
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd

import mofa_bayes as mb
from mofa_bayes.posterior.files import SCHEMA_VERSION

FOLDER = Path(__file__).parent / "archive"


def make_tables(n_subjects, seed):
    """Two views of real numbers, flags and counts, with a group and a covariate, and holes."""
    rng = np.random.default_rng(seed)
    ids = [f"x{seed}p{n}" for n in range(n_subjects)]
    factor = rng.standard_normal((n_subjects, 1))
    labs = factor @ np.array([[1.0, -0.8, 0.6, 0.0]]) + 0.5 * rng.standard_normal((n_subjects, 4))
    flags = rng.random((n_subjects, 2)) < 1 / (1 + np.exp(-2 * factor))
    counts = rng.poisson(np.exp(1 + 0.3 * factor), (n_subjects, 2))
    tables = {
        "labs": pd.DataFrame(labs, index=ids, columns=list("abcd")).mask(rng.random(labs.shape) < 0.05),
        "ehr": pd.DataFrame(np.hstack([flags, counts]), index=ids, columns=["flag1", "flag2", "n1", "n2"]).astype(
            float
        ),
    }
    known = pd.DataFrame({"age": rng.normal(60, 9, n_subjects)}, index=ids)
    known["group"] = np.where(np.arange(n_subjects) % 2, "north", "south")
    return tables, known


def make_views(n_subjects, seed):
    """The cohort as a MultiView."""
    tables, known = make_tables(n_subjects, seed)
    kinds = {"ehr": {"flag1": "bernoulli", "flag2": "bernoulli", "n1": "poisson", "n2": "poisson"}}
    return mb.MultiView.from_frames(
        tables, likelihoods=kinds, groups=known["group"], covariates=known[["age"]], uninformative="keep"
    )


def fit(engine):
    """A posterior of a small cohort."""
    settings = mb.Sampling(n_draws=4, n_tune=20, n_chains=1, n_jobs=1) if engine == "gibbs" else None
    options = {"settings": settings} if settings else {"n_draws": 4}
    return mb.fit(make_views(24, 1), mb.FactorModel(n_factors=1), engine=engine, progress=False, **options)


def main():
    FOLDER.mkdir(exist_ok=True)
    for engine in ("vi",):  # gibbs too when what is stored of draws changes, as in version 1
        post = fit(engine)
        stem = FOLDER / f"v{SCHEMA_VERSION}_{engine}"
        post.save(stem.with_suffix(".nc"))
        found = post.project(make_views(2, 2))
        said = {"mean": found.mean.tolist(), "covariance": found.covariances().tolist()}
        stem.with_suffix(".json").write_text(json.dumps(said, indent=1) + "\n")


if __name__ == "__main__":
    main()
