"""The numerical standard of the tests: no further from the truth than twice what PyTorch is in the same dtype.

    error(kernel) <= 2 * error(official) + tiny

Errors are distances to the float64 reference on the same (already rounded) embeddings. "official" is the authors'
formula in the embeddings' own dtype, 16-bit types included (official.py).

The formula in 16 bits is a poor yardstick. The library promises float32 accumulation, so for 16-bit embeddings it
is also held to the official formula in float32, where only the gradient's one rounding to 16 bits is forgiven.

A backend that multiplies 16-bit embeddings as 16 bits, or float32 as tf32, cannot be held to that. In its place it
is held to the same formula in float64 with nothing but those operands rounded (rounded_operands.py); for tf32 to
this alone.

tiny is there because the official error is sometimes zero by luck: a few machine epsilons of the dtype times the
natural scale of a quantity, which is the size of what is added up to make it (natural_scale.py). Measured with
tiny taken out over 13 shapes, 6 seeds and 2 sets of options, the worst excess was 1.06 epsilons in float32. In
float64 it was 15: there the truth is rounded in the same way, and its sum over C has D^2 terms.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from bt_kernels.reference import reference_loss
from tests.support.inputs import views
from tests.support.natural_scale import natural_scales
from tests.support.official import official_loss
from tests.support.rounded_operands import rounded_operands_loss

TERMS = ("loss", "on_diagonal", "off_diagonal")
EPSILONS = {torch.float64: 32, torch.float32: 4, torch.bfloat16: 4, torch.float16: 4}


@dataclass(frozen=True)
class Formula:
    """What is computed: the options that change the number, and the gradients that come in for the outputs."""

    lambd: float = 0.0051
    scale: float = 1.0
    eps: float = 1e-5
    unbiased: bool = False
    output_gradients: tuple[float, float, float] = (1.0, 0.0, 0.0)  # for loss, on_diagonal, off_diagonal

    def options(self) -> dict:
        return {"lambd": self.lambd, "scale": self.scale, "eps": self.eps, "unbiased": self.unbiased}


FORMULAS = {
    "lambd 0": Formula(lambd=0.0),
    "lambd 1": Formula(lambd=1.0),
    "scale 0.025": Formula(scale=0.025),
    "scale -3": Formula(scale=-3.0),
    "unbiased": Formula(unbiased=True),
    "eps 0": Formula(eps=0.0),
    "eps 0.1": Formula(eps=0.1),
    "all": Formula(lambd=0.5, scale=0.1, eps=1e-3, unbiased=True),
}


class NarrowProducts(NamedTuple):
    """That a backend rounds the operands of its products to the embeddings' dtype, or float32 to tf32."""

    formulation: str  # which operands there are
    tf32: bool = False


@dataclass(frozen=True)
class Result:
    """Terms (loss, on_diagonal, off_diagonal) and gradients (for z_a and z_b) of one implementation."""

    terms: tuple[Tensor, ...]
    gradients: tuple[Tensor, ...]


def evaluate(function, z_a: Tensor, z_b: Tensor, formula: Formula) -> Result:
    """Runs function(z_a, z_b, **options) -> three terms, and its backward for the formula's output_gradients."""
    z_a, z_b = (z.detach().requires_grad_() for z in (z_a, z_b))
    terms = function(z_a, z_b, **formula.options())
    used = [(term, g) for term, g in zip(terms, formula.output_gradients, strict=True) if g]
    # Not full_like in the term's dtype: torch 2.6 raises where a number becomes infinite.
    output_gradients = [torch.full_like(term, g, dtype=torch.float64).to(term.dtype) for term, g in used]
    gradients = torch.autograd.grad([term for term, _ in used], (z_a, z_b), output_gradients)
    return Result(tuple(term.detach() for term in terms), gradients)


def gradient_errors(gradient: Tensor, true: Tensor, scale: float) -> dict[str, float]:
    """Three faces of a gradient's error, relative to its natural scale: size, direction, and a lean that many
    steps would add up."""
    gradient = gradient.double()
    error, true_norm = gradient - true, torch.linalg.vector_norm(true)
    scale = scale or 1.0  # all zeros

    def unit(x: Tensor) -> Tensor:
        norm = torch.linalg.vector_norm(x)
        return x / norm if norm > 0 else x

    return {
        "relative L2": torch.linalg.vector_norm(error).item() / scale,
        # The chord sqrt(2 (1 - cosine)): first order in the error, where the cosine itself is second order.
        "angle": (torch.linalg.vector_norm(unit(gradient) - unit(true)) * true_norm).item() / scale,
        # At most the relative L2 (Cauchy-Schwarz).
        "signed bias": abs((error * true.sign()).sum().item()) / (math.sqrt(true.numel()) * scale),
    }


def rounding(true: Tensor, dtype: torch.dtype, scale: float) -> dict[str, float]:
    """What one rounding of the gradient to dtype may add to each error."""
    limits = torch.finfo(dtype)
    norm, scale = torch.linalg.vector_norm(true).item(), scale or 1.0
    size = (limits.eps / 2 * norm + limits.smallest_normal * limits.eps / 2 * math.sqrt(true.numel())) / scale
    # Rounding to nearest has no preferred sign: four standard deviations of a sum of independent errors.
    return {"relative L2": size, "angle": size, "signed bias": size * min(1, 4 / math.sqrt(true.numel()))}


class Peer(NamedTuple):
    """A computation of the same numbers whose errors bound those of the backends."""

    name: str
    dtype: torch.dtype  # of its arithmetic, or that of the backend which is held to it
    result: Result


class Yardstick:
    """Truth, peers and tiny for one input, to which backends and formulations are then held."""

    def __init__(
        self, narrow_products: NarrowProducts | None, z_a: Tensor, z_b: Tensor, formula: Formula = Formula()
    ) -> None:
        self.z_a, self.z_b, self.formula, self.dtype = z_a, z_b, formula, z_a.dtype
        self.truth = evaluate(reference_loss, z_a.double(), z_b.double(), formula)
        self.peers = list(self._peers(narrow_products))
        self.scales = {
            peer.dtype: natural_scales(z_a, z_b, formula, torch.finfo(peer.dtype).eps) for peer in self.peers
        }

    def _peers(self, narrow: NarrowProducts | None) -> Iterator[Peer]:
        dtypes = {self.dtype, torch.float32} if self.dtype.itemsize == 2 else {self.dtype}
        if narrow and (narrow.tf32 or self.dtype.itemsize == 2):
            rounded = rounded_operands_loss(self.z_a, self.z_b, self.formula, narrow.formulation, narrow.tf32)
            yield Peer("rounded operands", torch.float32, Result(*rounded))
            dtypes.remove(torch.float32)
        for dtype in dtypes:
            result = evaluate(official_loss, self.z_a.to(dtype), self.z_b.to(dtype), self.formula)
            yield Peer(f"the official formula in {dtype}", dtype, result)

    def tiny(self, dtype: torch.dtype) -> float:
        return EPSILONS[dtype] * torch.finfo(dtype).eps

    def _term_bounds(self, peer: Peer) -> list[float]:
        errors = [
            abs(term.double() - true).item()
            for term, true in zip(peer.result.terms, self.truth.terms, strict=True)
        ]
        # The formula in 16 bits may overflow and then bounds nothing; in float32 that would be a mistake here.
        assert peer.dtype.itemsize == 2 or all(map(math.isfinite, errors))
        return [
            2 * error + self.tiny(peer.dtype) * scale if math.isfinite(error) else math.inf
            for error, scale in zip(errors, self.scales[peer.dtype].terms, strict=True)
        ]

    def term_bounds(self) -> list[float]:
        """The largest errors allowed of loss, on_diagonal and off_diagonal."""
        return [min(bounds) for bounds in zip(*map(self._term_bounds, self.peers), strict=True)]

    def check_terms(self, terms) -> None:
        for name, term, true, bound in zip(TERMS, terms, self.truth.terms, self.term_bounds(), strict=True):
            error = abs(term.double() - true).item()
            assert error <= bound, f"{name} {term.item()}: {error:.3g} from the truth, {bound:.3g} allowed"

    def check_gradient(self, view: int, gradient: Tensor) -> None:
        """view: 0 for the gradient with respect to z_a, 1 for z_b."""
        true = self.truth.gradients[view]
        assert gradient.shape == true.shape and gradient.dtype == self.dtype
        for peer in self.peers:
            scale = self.scales[peer.dtype].gradients[view]
            forgiven = rounding(true, self.dtype, scale) if peer.dtype != self.dtype else {}
            allowed = gradient_errors(peer.result.gradients[view], true, scale)
            for name, error in gradient_errors(gradient, true, scale).items():
                bound = 2 * allowed[name] + self.tiny(peer.dtype) + forgiven.get(name, 0)
                bound = bound if math.isfinite(bound) or peer.dtype.itemsize > 2 else math.inf
                assert error <= bound, f"dz_{'ab'[view]}, {name}, beside {peer.name}: {error:.3g} > {bound:.3g}"

    def check(self, result: Result) -> None:
        self.check_terms(result.terms)
        for view, gradient in enumerate(result.gradients):
            self.check_gradient(view, gradient)


@cache
def yardstick(
    narrow_products: NarrowProducts | None,
    n: int,
    d: int,
    dtype: torch.dtype = torch.float32,
    formula: Formula = Formula(),
    seed: int = 0,
) -> Yardstick:
    """The yardstick for inputs.views(n, d, dtype, seed), made once for all backends that are held to it."""
    return Yardstick(narrow_products, *views(n, d, dtype, seed), formula)


def assert_column_sums_are_rounding(gradients):
    for gradient in gradients:
        rounding = torch.finfo(gradient.dtype).eps * gradient.abs().sum(0).max()
        assert gradient.sum(0).abs().max() <= 8 * rounding
