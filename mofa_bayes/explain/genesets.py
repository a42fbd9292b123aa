"""Sets of features: read from a GMT file or a mapping, and matched to the features of a view."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mofa_bayes.errors import DataError, FileError, name_some

_LARGEST = 500_000_000
"""Bytes of a GMT file: all of MSigDB has some 30 million."""


@dataclass(frozen=True, slots=True, eq=False)
class FeatureSets:
    """Sets as rows of a table over the D features of a view.

    Attributes
    ----------
    names
        Of the S sets.
    members
        Which features each set has, (S, D).
    n_named
        How many members each set names, whether the view has them or not, (S,).
    """

    names: tuple[str, ...]
    members: NDArray[np.bool_]
    n_named: NDArray[np.intp]

    @property
    def sizes(self) -> NDArray[np.intp]:
        """How many features of the view each set has, (S,)."""
        return self.members.sum(axis=1)


def read_gmt(path: str | Path) -> dict[str, tuple[str, ...]]:
    """Read sets of features from a GMT file: a set per line, its name, a description and its members between tabs.

    The format is that of MSigDB and Enrichr; descriptions are left aside, blank lines and empty or repeated members
    too.

    Raises
    ------
    FileError
        The file cannot be read, is no text, or is no GMT file; nothing of it is used then.
    """
    place = Path(path)
    what = f"file {place.name!r}"
    try:
        size = place.stat().st_size
        text = place.read_text(encoding="utf-8-sig") if size <= _LARGEST else ""
    except (OSError, ValueError) as error:
        got = f"{type(error).__name__} while reading it"
        raise FileError(what, got=got, expected="a text file in UTF-8", do="Check the path and the file.") from error
    if size > _LARGEST:
        raise FileError(what, got=f"{size} bytes", expected=f"at most {_LARGEST}", do="Keep the sets you ask about.")
    sets: dict[str, tuple[str, ...]] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        name, *rest = (field.strip() for field in line.split("\t"))
        members = tuple(dict.fromkeys(field for field in rest[1:] if field))
        if not name or not members or "\0" in line:
            raise _no_gmt(what, f"line {number} without a name, a description and members between tabs")
        if name in sets:
            raise _no_gmt(what, f"a second set of the name {name[:80]!r} in line {number}")
        sets[name] = members
    if not sets:
        raise _no_gmt(what, "no set")
    return sets


def _no_gmt(what: str, got: str) -> FileError:
    return FileError(
        what, got=got, expected="a set per line: name, description, members, between tabs", do="Correct the file."
    )


def match_sets(
    sets: Mapping[str, Iterable[str]] | str | Path,
    features: tuple[str, ...],
    *,
    min_size: int = 10,
    max_size: int | None = None,
) -> FeatureSets:
    """Match sets to the features of a view by name, and keep those of a fit size.

    Parameters
    ----------
    sets
        Set name -> members, or the path of a GMT file.
    features
        Names of the view's features.
    min_size, max_size
        Fewest and most features of the view that a set must have; at least two features must be outside it.

    Raises
    ------
    DataError
        The sets are no mapping of names to names, or none is of a fit size.
    """
    for name, value in (("min_size", min_size), ("max_size", len(features) if max_size is None else max_size)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 2:
            raise DataError(name, got=repr(value)[:80], expected="a whole number from 2 up", do="10 is usual.")
    named = _read_sets(sets)
    place = {feature: d for d, feature in enumerate(features)}
    limit = min(len(features) - 2, len(features) if max_size is None else max_size)
    names, rows, counts = [], [], []
    for name, members in named.items():
        found = [place[member] for member in members if member in place]
        if min_size <= len(found) <= limit:
            row = np.zeros(len(features), dtype=np.bool_)
            row[found] = True
            names.append(name)
            rows.append(row)
            counts.append(len(members))
    if not names:
        some = next(iter(named.values()), ())
        raise DataError(
            "sets of features",
            got=f"none of {len(named)} with {min_size} to {limit} features of the view; members are such as "
            f"{name_some(some, 3)}",
            expected=f"names such as {name_some(features, 3)}",
            do="Use the same kind of names (symbols, Ensembl) in both, or a smaller min_size.",
        )
    return FeatureSets(tuple(names), np.stack(rows), np.array(counts))


def _read_sets(sets: object) -> dict[str, tuple[str, ...]]:
    if isinstance(sets, str | Path):
        return read_gmt(sets)
    wrong = None if isinstance(sets, Mapping) else type(sets).__name__
    found = {}
    for name, members in sets.items() if isinstance(sets, Mapping) else ():
        if isinstance(members, str) or not isinstance(members, Iterable):
            wrong = f"members of {str(name)[:80]!r} that are a {type(members).__name__}"
        else:
            found[str(name)] = tuple(dict.fromkeys(str(member) for member in members))
    if wrong is not None:
        raise DataError(
            "sets of features",
            got=wrong,
            expected="a mapping from set name to a list of feature names, or the path of a GMT file",
            do='Write {"HALLMARK_HYPOXIA": ["VEGFA", ...]}.',
        )
    return found
