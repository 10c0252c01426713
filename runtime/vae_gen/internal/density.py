"""The density of the fitted prior: how likely latents are, the gradient of that, and what is likely along a line.

The density of a latent z is Σ wₖ N(z; mₖ, LₖLₖᵀ) over the components k of all classes, or of one class. With
yₖ = Lₖ⁻¹(z − mₖ), the logarithm of a term is log wₖ − log det Lₖ − d/2 log 2π − |yₖ|²/2, and its gradient −Lₖ⁻ᵀyₖ.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .._errors import ModelError
from .manifest import ADVICE, PRIOR_FILE

if TYPE_CHECKING:
    from .prior import FittedPrior

Doubles = NDArray[np.float64]

MOST_NUMBERS = 1 << 22
"""The most float64 numbers of a table that is computed at once (32 MB)."""

FARTHEST = 6.0
"""The likely range of a dimension is searched from −6 to 6, between which 999 999 998 of 10⁹ normal numbers lie."""


class Density:
    """The density of a mixture of some components of a fitted prior.

    >>> from vae_gen import VAE
    >>> density = Density(VAE().fitted_prior())
    >>> density.log(np.zeros((5, 12))).shape
    (5,)
    """

    def __init__(
        self, prior: FittedPrior, components: NDArray[np.int64] | None = None, weights: Doubles | None = None
    ) -> None:
        """Prepares the mixture.

        Args:
            prior: the fitted prior.
            components: which rows of the prior's tables count, from 1 on (row 0 is N(0, I)); None for all of them.
            weights: the weight of each of these; None for their shares in the whole prior.

        Raises:
            ModelError: a covariance of the prior is singular, so that there is no density.
        """
        rows = np.arange(1, len(prior.means)) if components is None else components
        factors = prior.factors[rows].astype(np.float64)
        self.dimensions = prior.dimensions
        self.means: Doubles = prior.means[rows].astype(np.float64)
        diagonals = np.abs(np.diagonal(factors, axis1=1, axis2=2))
        if not (diagonals > 0).all():
            raise ModelError(f"{PRIOR_FILE}: expected factors without zeros on their diagonals, found some; {ADVICE}")
        inverse = np.linalg.inv(factors)
        with np.errstate(divide="ignore"):  # a component may have the weight 0
            log_weights = np.log(prior.weights[rows] if weights is None else weights)
        self._logs = log_weights - np.log(diagonals).sum(1) - self.dimensions / 2 * np.log(2 * np.pi)
        self._inverse = inverse.reshape(-1, self.dimensions)  # [components × dimensions, dimensions]
        self._offset = (inverse @ self.means[..., None]).ravel()

    def log(self, latents: Doubles) -> Doubles:
        """The log-density of latents [n, dimensions] in nats, float64 [n]."""
        at_once = max(1, MOST_NUMBERS // len(self._offset))
        parts = [self._terms(latents[at : at + at_once])[1] for at in range(0, len(latents), at_once)]
        return np.concatenate([_log_sum(terms) for terms in parts])

    def log_and_gradient(self, latents: Doubles) -> tuple[Doubles, Doubles]:
        """The log-density of latents [n, dimensions] in nats, float64 [n], and its gradient [n, dimensions]."""
        y, terms = self._terms(latents)
        logs = _log_sum(terms)
        shares = np.exp(terms - logs[:, None])
        gradient: Doubles = -(shares[..., None] * y).reshape(len(latents), -1) @ self._inverse
        return logs, gradient

    def likely_range(self, latent: Doubles, dimension: int, share: float) -> tuple[float, float]:
        """The central `share` of the values that a dimension takes under the prior while the others keep theirs.

        Args:
            latent: [dimensions], whose other dimensions are kept.
            dimension: the dimension that changes.
            share: of the conditional distribution, 0 to 1; what lies outside is cut off equally at both ends.

        Returns:
            The lowest and the highest value, between which the latent's own value lies too.
        """
        values = np.linspace(-FARTHEST, FARTHEST, 601)
        own = latent.copy()
        own[dimension] = 0
        y = (self._inverse @ own - self._offset).reshape(-1, self.dimensions)
        along = self._inverse[:, dimension].reshape(-1, self.dimensions)
        squared = (y * y).sum(1) + values[:, None] * (2 * (y * along).sum(1) + values[:, None] * (along * along).sum(1))
        logs = _log_sum(self._logs - squared / 2)
        cumulative = np.cumsum(np.exp(logs - logs.max()))
        low, high = np.interp([(1 - share) / 2, (1 + share) / 2], cumulative / cumulative[-1], values)
        return min(float(low), float(latent[dimension])), max(float(high), float(latent[dimension]))

    def _terms(self, latents: Doubles) -> tuple[Doubles, Doubles]:
        """The array y [n, components, dimensions], and the logarithms of the terms of the density [n, components]."""
        y = (latents @ self._inverse.T - self._offset).reshape(len(latents), -1, self.dimensions)
        return y, self._logs - np.einsum("nkd,nkd->nk", y, y) / 2


def _log_sum(terms: Doubles) -> Doubles:
    """The logarithm of the sum of exponentials along the last axis."""
    largest = terms.max(-1)
    total: Doubles = largest + np.log(np.exp(terms - largest[..., None]).sum(-1))
    return total


def nearest_components(prior: FittedPrior, points: Doubles) -> NDArray[np.int64]:
    """The components whose means are nearest to any of the points [n, dimensions], as many as are quick to compute.

    That is all of them in any prior of a few hundred components; int64, ascending.
    """
    most = max(16, MOST_NUMBERS // (2 * prior.dimensions**2 * 8))
    if len(prior.means) - 1 <= most:
        return np.arange(1, len(prior.means))
    means = prior.means[1:].astype(np.float64)
    distances = np.min([((means - point) ** 2).sum(1) for point in points], axis=0)
    chosen: NDArray[np.int64] = 1 + np.sort(np.argsort(distances, kind="stable")[:most])
    return chosen
