"""Calibration: coverage of intervals, ranks of truths, and whether the ranks are uniform, as a value."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import chisquare

from mofa_bayes.atomic import replacing
from mofa_bayes.card import render_card
from mofa_bayes.checking.replicate import LEVELS, QUANTITIES, Replicate


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Calibration:
    """How an engine's posteriors hold the truth of cohorts drawn from the model.

    Attributes
    ----------
    engine, spec
        What was checked, the model as TOML text.
    table
        One row per quantity and level: measured `coverage` of the central interval, its standard error `se` over
        replicates, `n` entries in all.
    ranks
        One row per replicate and ranked entry: `replicate`, `quantity`, `which`, `rank` of the truth, from 0 to
        `n_draws`, among so many draws (at most 99).
    uniformity
        One row per ranked entry: p of a chi-squared test that its ranks are uniform over replicates, and `p_holm`,
        corrected for all of them (Holm 1979, Scand J Stat 6:65).
    n_replicates, n_failed, n_unconverged
        How many were fitted, refused by the engine, and stopped before they converged.
    seconds
        Median time of a fit.
    notes
        How the model that was checked differs from the one asked for.
    """

    engine: str
    spec: str
    table: pd.DataFrame
    ranks: pd.DataFrame
    uniformity: pd.DataFrame
    n_replicates: int
    n_failed: int
    n_unconverged: int
    seconds: float
    notes: tuple[str, ...]

    def is_uniform(self, level: float = 0.01) -> bool:
        """Say whether there are ranks, and no entry's depart from uniform ones at a level, after Holm's correction."""
        return len(self.uniformity) > 0 and bool((self.uniformity["p_holm"] >= level).all())

    def save(self, folder: str | Path) -> tuple[Path, ...]:
        """Write `coverage.csv`, `ranks.csv`, `uniformity.csv` and `check.json` into a folder that exists.

        Raises
        ------
        FileError
            The folder cannot be written.
        """
        written = []
        tables = {"coverage": self.table, "ranks": self.ranks, "uniformity": self.uniformity}
        for name, table in tables.items():
            written.append(Path(folder) / f"{name}.csv")
            with replacing(written[-1]) as part:
                table.to_csv(part, index=False)
        written.append(Path(folder) / "check.json")
        said = {name: getattr(self, name) for name in ("engine", "spec", "n_replicates", "n_failed", "n_unconverged")}
        said |= {"seconds": self.seconds, "notes": self.notes, "is_uniform_at_1_percent": self.is_uniform()}
        said |= {"coverage": self.table.to_dict("records"), "uniformity": self.uniformity.to_dict("records")}
        with replacing(written[-1]) as part:
            part.write_text(json.dumps(said, indent=2), encoding="utf-8")
        return tuple(written)

    def __repr__(self) -> str:
        widest = self.table[self.table["level"] == max(LEVELS)]
        cover = ", ".join(
            f"{name} {value:.3f}" for name, value in zip(widest["quantity"], widest["coverage"], strict=True)
        )
        word = "uniform" if self.is_uniform() else "not uniform"
        return (
            f"<Calibration ({self.engine}): {self.n_replicates} replicates; 95 % intervals cover {cover}; ranks {word}>"
        )

    def _repr_html_(self) -> str:
        wide = self.table.pivot_table(index="quantity", columns="level", values="coverage", sort=False)
        return render_card(repr(self), wide)


def summarise_replicates(engine: str, spec: str, found: Sequence[Replicate], notes: tuple[str, ...]) -> Calibration:
    """Collect replicates."""
    done = [own for own in found if not own.failure]
    failures = sorted({own.failure for own in found if own.failure})
    coverage, ranks = [], []
    for name in QUANTITIES:
        own = [(r.inside[name], r.n_entries[name]) for r in done if name in r.inside]
        if not own:
            continue
        shares, n = np.stack([inside for inside, _ in own]), sum(count for _, count in own)
        se = shares.std(axis=0, ddof=1) / np.sqrt(len(own)) if len(own) > 1 else np.full(len(LEVELS), np.nan)
        coverage += [(name, level, *row, n) for level, *row in zip(LEVELS, shares.mean(axis=0), se, strict=True)]
        ranks += [
            (number, name, which, int(rank), r.n_draws)
            for number, r in enumerate(done)
            for which, rank in enumerate(r.ranks.get(name, ()))
        ]
    table = pd.DataFrame(coverage, columns=["quantity", "level", "coverage", "se", "n"])
    ranked = pd.DataFrame(ranks, columns=["replicate", "quantity", "which", "rank", "n_draws"])
    return Calibration(
        engine=engine,
        spec=spec,
        table=table,
        ranks=ranked,
        uniformity=assess_uniformity(ranked),
        n_replicates=len(done),
        n_failed=len(found) - len(done),
        n_unconverged=sum(not own.converged for own in done),
        seconds=float(np.median([own.seconds for own in done])) if done else float("nan"),
        notes=(*notes, *(f"a replicate failed: {text}" for text in failures)),
    )


def assess_uniformity(ranks: pd.DataFrame) -> pd.DataFrame:
    """Test each ranked entry's ranks for uniformity, in as many bins as five replicates each allow, at most 20.

    Among n draws there are n + 1 ranks; bins that they do not fill evenly are expected to hold what falls into them.
    """
    rows = []
    for (quantity, which), own in ranks.groupby(["quantity", "which"], sort=False):
        n_bins = next(n for n in (20, 10, 5, 2) if len(own) >= 5 * n or n == 2)
        counts = np.bincount(own["rank"] * n_bins // (own["n_draws"] + 1), minlength=n_bins)
        expected = np.zeros(n_bins)
        for n_draws, n_replicates in zip(*np.unique(own["n_draws"], return_counts=True), strict=True):
            places = np.arange(n_draws + 1) * n_bins // (n_draws + 1)
            expected += np.bincount(places, minlength=n_bins) * n_replicates / (n_draws + 1)
        has_ranks = expected > 0
        rows.append((quantity, which, float(chisquare(counts[has_ranks], expected[has_ranks]).pvalue)))
    table = pd.DataFrame(rows, columns=["quantity", "which", "p"])
    return table.assign(p_holm=_correct(table["p"].to_numpy()))


def _correct(p: np.ndarray) -> np.ndarray:
    order = np.argsort(p)
    stepped = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1.0)
    corrected = np.empty(len(p))
    corrected[order] = stepped
    return corrected
