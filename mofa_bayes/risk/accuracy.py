"""QuadratureError: how far the integrals over factors are from exact, measured where the posterior is."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mofa_bayes.errors import MofaBayesWarning, warn
from mofa_bayes.risk.response import Array

N_CHECKED = 20
"""Draws at which both rules are compared."""
_TOLERANCE = 0.1
"""Nats by which the log posterior may be bent: it moves no mean by more than a tenth of its posterior sd."""


class QuadratureWarning(MofaBayesWarning):
    """The integral over factors needs more nodes."""


@dataclass(frozen=True, slots=True)
class QuadratureError:
    """What twice as many nodes would change, at 20 draws of the posterior.

    The error falls fast with the number of nodes, so that the change is nearly the error itself.

    Attributes
    ----------
    n_nodes
        Nodes of the fit.
    patient
        Largest change of one patient's log likelihood, in nats.
    total
        How much the change of the whole log likelihood varies over draws, as sd in nats. A change that is the same
        everywhere leaves the posterior alone; one that varies by d moves posterior means by less than d sds.
    """

    n_nodes: int
    patient: float
    total: float


def measure_quadrature(log_likelihood: Callable[[int], Array], n_nodes: int) -> QuadratureError:
    """Compare rules of n and 2 n nodes, and warn when they tell different posteriors.

    Parameters
    ----------
    log_likelihood
        Log likelihood of each subject at some draws, (draw, subject), by a rule of that many nodes.

    Warns
    -----
    QuadratureWarning
        The log likelihood changes by more than 0.1 nats over the posterior.
    """
    change = log_likelihood(2 * n_nodes) - log_likelihood(n_nodes)
    error = QuadratureError(n_nodes, float(np.abs(change).max()), float(change.sum(axis=1).std()))
    if error.total > _TOLERANCE:
        message = (
            f"{n_nodes} Gauss-Hermite nodes leave the log likelihood wrong by up to {error.total:.2g} nats over the "
            f"posterior ({error.patient:.2g} for one patient). Raise n_nodes."
        )
        warn(message, QuadratureWarning)
    return error
