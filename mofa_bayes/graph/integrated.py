"""The gaussian model without its factors: y_n ~ N(B x_n, W diag(1/beta) W' + diag(1/tau)) over what is observed.

With Woodbury's identity only K x K matrices are solved: M = diag(beta) + W' diag(tau) W,
log|Sigma| = log|M| - sum_k log beta_k - sum_d log tau_d, and
r' Sigma^-1 r = sum_d tau_d r_d^2 - g' M^-1 g with g = W' diag(tau) r.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mofa_bayes.graph.patterns import Pattern

if TYPE_CHECKING:
    from pytensor.tensor.variable import TensorVariable

    Tensor = TensorVariable[Any, Any]

_LOG_2PI = float(np.log(2 * np.pi))


def observe_patterns(
    patterns: Sequence[Pattern],
    loadings: "Mapping[str, Tensor]",
    coefficients: "Mapping[str, Tensor]",
    noise_precision: "Mapping[str, Tensor]",
    factor_precision: "Tensor | None",
) -> None:
    """Condition on each pattern's values inside a model context, by a potential `pattern_<number>` each.

    A potential has no pointwise density; `score_subjects` gives it for each subject from draws.

    Parameters
    ----------
    patterns
        Of a cohort.
    loadings
        View -> W (D, K).
    coefficients
        View -> intercepts by group and effects (G + C, D).
    noise_precision
        View -> tau (G, D).
    factor_precision
        beta (G, K); None for 1.
    """
    import pymc as pm

    for number, pattern in enumerate(patterns):
        density = _log_density(pattern, loadings, coefficients, noise_precision, factor_precision)
        pm.Potential(f"pattern_{number}", density)


def _log_density(
    pattern: Pattern,
    loadings: "Mapping[str, Tensor]",
    coefficients: "Mapping[str, Tensor]",
    noise_precision: "Mapping[str, Tensor]",
    factor_precision: "Tensor | None",
) -> "Tensor":
    """Log density of all values of a pattern, from its sufficient statistics."""
    import pytensor.tensor as pt
    from pytensor.tensor.linalg import cholesky, solve_triangular

    n_factors = next(iter(loadings.values())).shape[1]
    beta = pt.ones(n_factors) if factor_precision is None else factor_precision[pattern.group]
    values, design = pattern.compress()
    inner, pulled = pt.diag(beta), pt.zeros((len(design), n_factors))
    square, log_tau = pt.constant(0.0), pt.constant(0.0)
    for view, own in pattern.columns.items():
        w, tau = loadings[view][own], noise_precision[view][pattern.group, own]
        weighted = w * tau[:, None]
        residual = values[view] - design @ coefficients[view][:, own]
        inner = inner + w.T @ weighted
        pulled = pulled + residual @ weighted
        square = square + pt.sum(tau * residual**2)
        log_tau = log_tau + pt.sum(pt.log(tau))
    root = cholesky(inner)
    explained = solve_triangular(root, pulled.T, lower=True)
    log_determinant = 2 * pt.sum(pt.log(pt.diag(root))) - pt.sum(pt.log(beta)) - log_tau
    per_subject = pattern.n_entries * _LOG_2PI + log_determinant
    density: Tensor = -(pattern.n_subjects * per_subject + square - pt.sum(explained**2)) / 2
    return density
