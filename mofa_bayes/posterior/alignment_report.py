"""AlignmentReport: how far draws and chains agree, before alignment and after it, as a value."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr

from mofa_bayes.card import render_card
from mofa_bayes.posterior.convergence import COLUMNS


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class AlignmentReport:
    """What `align` did and found.

    Attributes
    ----------
    freedom
        What was taken as free in each draw besides scale: `rotation`, `sign and order`, or `order`.
    table
        R-hat and effective sample sizes, one row per quantity and stage: `before` and `after` alignment for what it
        changes, `free` for what no rotation, sign, order or scale can touch. `n` entries were looked at, at random
        where there are many; those that do not vary are left out.
    chains
        One row per chain and factor, as Tucker's congruence: `halves`, mean loadings of the chain's first half with
        those of its second; `within`, its draws with their own mean; `reference`, its mean with the reference;
        `draws_mean` and `draws_5`, its draws with the reference, on average and at the 5 % quantile.
    other_mode
        Chains that are sure of factors that the other chains did not find: their draws are mapped to the nearest of the
        reference's, and must not be averaged with the rest.
    wandering
        Chains whose halves are each sure of a factor and do not agree on it.
    congruence
        Each draw with the reference, dims (chain, draw, factor).
    maps
        T of each draw, dims (chain, draw, factor, factor_bis): loadings became W T, factors Z T^-T.
    n_iterations
        Passes that it took.
    notes
        What was left out, recomputed or assumed.
    """

    freedom: str
    table: pd.DataFrame
    chains: pd.DataFrame
    other_mode: tuple[int, ...]
    wandering: tuple[int, ...]
    congruence: xr.DataArray
    maps: xr.DataArray
    n_iterations: int
    notes: tuple[str, ...]

    @property
    def is_one_mode(self) -> bool:
        """Whether all chains found the same factors and stayed with them."""
        return not self.other_mode and not self.wandering

    def to_dataset(self) -> xr.Dataset:
        """Put all but the maps into one dataset that NetCDF can hold; `posterior.tree["alignment"]` keeps it."""
        rows = {
            name: (("row",), self.table[name].to_numpy(dtype=np.str_ if name in COLUMNS[:2] else np.float64))
            for name in COLUMNS
        }
        by_chain = self.chains.set_index(["chain", "factor"]).to_xarray().reindex_like(self.congruence[:, 0])
        return xr.Dataset({"congruence": self.congruence, **rows, **by_chain.data_vars}).assign_attrs(
            freedom=self.freedom,
            n_iterations=self.n_iterations,
            other_mode=np.array(self.other_mode, dtype=np.int64),
            wandering=np.array(self.wandering, dtype=np.int64),
            notes="\n".join(self.notes),
        )

    def __repr__(self) -> str:
        n_chains, n_draws = self.congruence.shape[:2]
        after = self.table.loc[self.table["stage"] == "after", "rhat_99"].max()
        trouble = [
            f"chain {chain} {what}"
            for what, chains in (("is in another mode", self.other_mode), ("wanders between modes", self.wandering))
            for chain in chains
        ]
        return (
            f"<AlignmentReport ({self.freedom}): {n_chains} chains of {n_draws} draws, 99 % of R-hat below {after:.3f}"
            f"; {', '.join(trouble) or 'one mode'}>"
        )

    def _repr_html_(self) -> str:
        return render_card(repr(self), self.table, index=False, notes=self.notes)
