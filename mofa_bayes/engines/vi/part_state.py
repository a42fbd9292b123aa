"""q of the loadings of one part, in the three forms that its updates leave it in."""

from dataclasses import dataclass, replace

import numpy as np

from mofa_bayes.engines.vi.kernels import second_moments, second_moments_diagonal
from mofa_bayes.engines.vi.layout import Part
from mofa_bayes.engines.vi.packed import Array, Index, diagonal_of, pack, packed_positions, unpack
from mofa_bayes.engines.vi.rows import PartGlobals

_CHUNK = 1024


@dataclass(frozen=True, slots=True)
class PartState:
    """q of one part.

    Attributes
    ----------
    mean
        E[w~], loadings and (last) coefficients of the known terms, (D, J).
    spread
        Var[w~] (D, J) where loadings are updated one by one; packed covariance (D, P) where those of a feature are
        updated together; or, with a basis, the variances (D, R) along its columns.
    basis
        T (J, R) with Cov[w~_d] = T diag(spread_d) T', shared by all features; empty otherwise.
    slab_mean, slab_variance, inclusion
        Location and scale of q(w | s = 1), and q(s = 1), each (D, K). Updated together: inclusion is 1 and the moments
        repeat the mean's.
    noise_shape, noise_rate
        q(tau) = Gamma per group and feature, (G, D); empty for families without noise.
    nuisance
        The features' own parameters (D,).
    """

    mean: Array
    spread: Array
    basis: Array
    slab_mean: Array
    slab_variance: Array
    inclusion: Array
    noise_shape: Array
    noise_rate: Array
    nuisance: Array

    @property
    def n_factors(self) -> int:
        """Number of factors."""
        return int(self.slab_mean.shape[1])

    @property
    def has_basis(self) -> bool:
        """Whether all features share the directions of their covariance."""
        return self.basis.size > 0

    @property
    def is_elementwise(self) -> bool:
        """Whether the loadings of a feature are independent, with variances in `spread`."""
        return not self.has_basis and self.spread.shape == self.mean.shape

    @property
    def tau(self) -> Array:
        """E[tau] (G, D), for families with noise."""
        return self.noise_shape / self.noise_rate

    def variances(self) -> Array:
        """Var[w~] (D, J)."""
        if self.has_basis:
            variances: Array = self.spread @ np.square(self.basis).T
            return variances
        return self.spread if self.is_elementwise else self.spread[:, diagonal_of(self.mean.shape[1])]

    def covariance(self, features: Index | slice = slice(None)) -> Array:
        """Cov[w~] of some features, (., J, J)."""
        if self.is_elementwise:
            return self.spread[features][:, :, None] * np.eye(self.mean.shape[1])
        if not self.has_basis:
            return unpack(self.spread[features], self.mean.shape[1])
        turned: Array = (self.basis * self.spread[features][:, None, :]) @ self.basis.T
        return turned

    def root(self, features: Index | slice = slice(None)) -> Array:
        """Find R_d (., J, R) with R_d R_d' = Cov[w~_d], of some features whose loadings are updated together."""
        if self.has_basis:
            return self.basis * np.sqrt(self.spread[features])[:, None, :]
        root: Array = np.linalg.cholesky(self.covariance(features))
        return root

    def pairs(self, features: Index | slice = slice(None)) -> Array:
        """Packed E[w~ w~'] of some features, (., P)."""
        if self.is_elementwise:
            result: Array = second_moments_diagonal(self.mean[features], self.spread[features])
            return result
        spread = pack(self.covariance(features)) if self.has_basis else self.spread[features]
        together: Array = second_moments(self.mean[features], spread)
        return together

    def pairs_total(self, weights: Array) -> Array:
        """sum_d weights_d E[w~_d w~_d'], packed (P,), without a D x P table."""
        own = weights @ self.spread
        if self.has_basis:
            spread = pack((self.basis * own) @ self.basis.T)
        else:
            spread = pack(np.diag(own)) if self.is_elementwise else own
        result: Array = pack((self.mean * weights[:, None]).T @ self.mean) + spread
        return result

    def square_weight(self, part: Part) -> Array:
        """Return what multiplies the square of each column beside omega, per group (G, D)."""
        return self.tau if part.family.has_noise else np.broadcast_to(part.curvature, part.n_observed.shape)

    def kappa_weight(self, part: Part) -> Array:
        """Return what multiplies kappa of each column, per group (G, D)."""
        return self.tau if part.family.has_noise else np.ones_like(part.n_observed)

    def summarise(self, part: Part) -> PartGlobals:
        """Reduce to what rows need to know."""
        square = self.square_weight(part)
        if part.family.is_entrywise:
            pairs, total = self.pairs(), np.empty((0, 0))
        else:
            pairs, total = self.pairs(part.scattered), np.stack([self.pairs_total(own) for own in square])
        kappa_weight = self.kappa_weight(part)
        weighted = self.mean[:, : self.n_factors] * kappa_weight[:, :, None]
        return PartGlobals(self.mean, pairs, total, kappa_weight, square, weighted, self.nuisance)

    def keep(self, factors: Index) -> "PartState":
        """Keep some factors, in the order given."""
        n_known = self.mean.shape[1] - self.n_factors
        terms = np.append(factors, self.n_factors + np.arange(n_known))
        if self.has_basis:
            spread, basis = self.spread, self.basis[terms]
        else:
            spread, basis = self.spread[:, terms if self.is_elementwise else packed_positions(terms)], self.basis
        per_factor = (self.slab_mean, self.slab_variance, self.inclusion)
        slab_mean, slab_variance, inclusion = (np.ascontiguousarray(own[:, factors]) for own in per_factor)
        return replace(
            self,
            mean=np.ascontiguousarray(self.mean[:, terms]),
            spread=np.ascontiguousarray(spread),
            basis=basis,
            slab_mean=slab_mean,
            slab_variance=slab_variance,
            inclusion=inclusion,
        )

    def rescale(self, scale: Array) -> "PartState":
        """Divide loadings of factor k by scale[k]."""
        inverse = np.concatenate([1 / scale, np.ones(self.mean.shape[1] - self.n_factors)])
        spread, basis = self.spread, self.basis
        if self.has_basis:
            basis = basis * inverse[:, None]
        else:
            spread = spread * (inverse**2 if self.is_elementwise else pack(np.outer(inverse, inverse)))
        return replace(
            self,
            mean=self.mean * inverse,
            spread=spread,
            basis=basis,
            slab_mean=self.slab_mean / scale,
            slab_variance=self.slab_variance / scale**2,
        )

    def rotate(self, turn: Array) -> "PartState":
        """Apply w -> w A (K, K) to loadings that are updated together."""
        size, n_terms = self.n_factors, self.mean.shape[1]
        full = np.eye(n_terms)
        full[:size, :size] = turn
        mean, spread, basis = self.mean @ full, self.spread, self.basis
        if self.has_basis:
            basis = full.T @ basis
        else:
            # Some features at a time: unpacked, all of them would take twice the room of the packed table.
            chunks = np.array_split(spread, -(-len(spread) // _CHUNK))
            spread = np.concatenate([pack(full.T @ unpack(chunk, n_terms) @ full) for chunk in chunks])
        turned = replace(self, mean=mean, spread=spread, basis=basis)
        return replace(turned, slab_mean=mean[:, :size], slab_variance=turned.variances()[:, :size])
