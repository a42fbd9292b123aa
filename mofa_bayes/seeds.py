"""Randomness: a seed becomes a generator, or an error in words."""

from typing import TYPE_CHECKING

from mofa_bayes.errors import FitError

if TYPE_CHECKING:
    import numpy as np


def make_rng(seed: object) -> "np.random.Generator":
    """Return the generator of a seed, or the generator itself.

    Raises
    ------
    FitError
        The seed is neither a whole number from 0 up nor a numpy Generator.
    """
    import numpy as np

    is_count = isinstance(seed, int | np.integer) and not isinstance(seed, bool) and seed >= 0
    if not is_count and not isinstance(seed, np.random.Generator):
        raise FitError(
            "seed", got=repr(seed)[:80], expected="a whole number from 0 up or a numpy Generator", do="Write seed=0."
        )
    return np.random.default_rng(seed)  # type: ignore[arg-type]
