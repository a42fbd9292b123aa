"""How our views become those of MOFA, which has one likelihood per view, and which names its readers can take."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mofa_bayes.errors import DataError, name_some
from mofa_bayes.posterior import Posterior

_READABLE = re.compile(r"[ -.0-~]*[!-.0-~][ -.0-~]*")
"""Printable ASCII without "/": HDF5 takes "/" for a path, and R stops at other letters."""

NEAREST = {
    "student_t": "gaussian",
    "negative_binomial": "poisson",
    "ordinal": "poisson",
    "categorical": "bernoulli",
}
"""Likelihoods that MOFA has not, and the one of its three with the same kind of values."""


@dataclass(frozen=True, slots=True, eq=False)
class MofaView:
    """One view of a MOFA file: `columns` (D,) of our view `source`, all of one of MOFA's likelihoods."""

    name: str
    source: str
    likelihood: str
    columns: NDArray[np.intp]


def split_views(post: Posterior, rename: Mapping[str, str]) -> tuple[MofaView, ...]:
    """List a posterior's views as MOFA's: one that mixes likelihoods becomes `<view>_<likelihood>` for each.

    Raises
    ------
    DataError
        A name is not one that readers of the format can take, or two views would have the same.
    """
    found = []
    for view in post.views:
        kinds = np.array([NEAREST.get(str(kind), str(kind)) for kind in post.likelihoods(view).values])
        distinct = list(dict.fromkeys(kinds.tolist()))
        for kind in distinct:
            own = rename.get(view, view)
            name = own if len(distinct) == 1 else f"{own}_{kind}"
            found.append(MofaView(name, view, kind, np.flatnonzero(kinds == kind)))
    _require_names("views", [view.name for view in found])
    return tuple(found)


def rename_groups(post: Posterior, rename: Mapping[str, str]) -> Mapping[str, str]:
    """Name each group of a posterior's subjects in the file, sorted: readers walk over groups in HDF5's order.

    Raises
    ------
    DataError
        As `split_views`.
    """
    groups = sorted({str(group) for group in post.groups().values})
    names = {group: rename.get(group, group) for group in groups}
    _require_names("groups", names.values())
    return dict(sorted(names.items(), key=lambda own: own[1]))


def _require_names(what: str, names: Iterable[str]) -> None:
    names = list(names)
    bad = [name for name in names if not _READABLE.fullmatch(name) or set(name) == {"."}]
    twice = sorted({name for name in names if names.count(name) > 1})
    if bad or twice:
        raise DataError(
            f"names of {what}",
            got=f"{name_some(bad)}, which R and HDF5 cannot read" if bad else f"{name_some(twice)} twice",
            expected="names of printable ASCII letters without '/', each once",
            do='Write rename={"Zürich": "Zurich"}.',
        )
