"""The door of the loss: embeddings and options as people bring them, drawn by hypothesis.

What the loss takes meets the standard (accuracy.py), leaves the embeddings as they were and gives the same bits
twice. What it does not take is refused by one sentence.
"""

from functools import partial

import numpy
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor, nn

from bt_kernels import (
    BarlowTwinsLoss,
    available_backends,
    barlow_twins_loss,
    barlow_twins_terms,
    cross_correlation,
)
from bt_kernels.backends.stages import accumulation_dtype
from bt_kernels.presets import monai
from tests.support.accuracy import Formula, Yardstick, evaluate
from tests.support.inputs import DTYPES, views
from tests.support.layouts import LAYOUTS

BACKENDS = [name for name, found in available_backends("cpu").items() if found.ok]
FORMULATIONS = ("gram", "correlation")


def column(z: Tensor, seed: int) -> int:
    return seed % z.shape[1]


def with_feature(z: Tensor, seed: int, feature: Tensor | float) -> Tensor:
    z = z.clone()
    z[:, column(z, seed)] = feature
    return z


def one_hot(z: Tensor, seed: int) -> Tensor:
    rows = torch.arange(z.shape[0])
    return torch.zeros_like(z).index_put_((rows, (rows * (1 + seed)) % z.shape[1]), torch.ones((), dtype=z.dtype))


# (embeddings, seed) -> embeddings: what networks, data and mistakes make of them.
CHANGES = {
    "as they are": lambda z, _: z,
    "small": lambda z, _: z * 1e-3,
    "tiny": lambda z, _: z * 1e-6,
    "large": lambda z, _: z * 1e3,
    "a mean": lambda z, seed: z + (3, -100, 1e4)[seed % 3],
    "a mean of one feature": lambda z, seed: with_feature(z, seed, z[:, column(z, seed)] + 1000.1),
    "a constant feature": lambda z, seed: with_feature(z, seed, (0.0, 1.0, 0.1, 1000.1)[seed % 4]),
    "a feature twice": lambda z, seed: with_feature(z, seed, z[:, 0]),
    "a loud feature": lambda z, seed: with_feature(z, seed, 1e4 * z[:, column(z, seed)]),
    "a sample twice": lambda z, _: torch.cat([z[:1], z[:1], z[2:]]),
    "a sample of its own": lambda z, _: torch.cat([1e3 * z[:1], z[1:]]),
    "one number": lambda z, seed: torch.full_like(z, (0.0, -2.0, 0.1)[seed % 3]),
    "one-hot": one_hot,
    "whole numbers": lambda z, _: z.round(),
    "after a ReLU": lambda z, _: z.relu(),
    "signs": lambda z, _: z.sign(),
    "unit rows": lambda z, _: nn.functional.normalize(z),
}
BAD_NUMBERS = (torch.nan, torch.inf, -torch.inf)

sizes = st.one_of(st.integers(2, 6), st.integers(2, 48))
formulas = st.builds(
    Formula,
    lambd=st.sampled_from([0.0, 0.0051, 1.0, 313.0, 1e6]),
    scale=st.sampled_from([1.0, 0.025, -2.0, 1024.0]),
    eps=st.sampled_from([0.0, 1e-12, 1e-5, 1e-2, 1.0]),
    unbiased=st.booleans(),
    output_gradients=st.sampled_from(
        [(1.0, 0.0, 0.0), (65536.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (-1.5, 0.5, 0.25)]
    ),
)


@st.composite
def embeddings(draw) -> tuple[Tensor, Tensor]:
    n, d, dtype = draw(sizes), draw(sizes) - 1, draw(st.sampled_from(DTYPES))
    seed = draw(st.integers(0, 2**20))
    both = list(views(n, d, torch.float64, seed))
    if draw(st.booleans()):
        both[1] = both[0]  # views that agree
    for view in (0, 1):
        for change in draw(st.lists(st.sampled_from(sorted(CHANGES)), max_size=2)):
            both[view] = CHANGES[change](both[view], seed)
        both[view] = LAYOUTS[draw(st.sampled_from(sorted(LAYOUTS)))](both[view].to(dtype))
    if draw(st.integers(0, 9)) == 0:
        bad = both[draw(st.integers(0, 1))]
        bad[seed % n, seed % d] = draw(st.sampled_from(BAD_NUMBERS))
    return both[0], both[1]


def bits(tensors) -> list[bytes]:
    return [x.detach().contiguous().view(torch.uint8).numpy().tobytes() for x in map(torch.atleast_1d, tensors)]


def finite(tensors) -> bool:
    return all(bool(x.isfinite().all()) for x in tensors)


same_numbers = partial(torch.testing.assert_close, rtol=0, atol=0, equal_nan=True)


@given(pair=embeddings(), formula=formulas)
def test_good_embeddings(pair, formula):
    wide = [z.to(accumulation_dtype(z.dtype)) for z in pair]
    yardstick = Yardstick(None, *wide, formula) if finite(pair) else None
    for backend in BACKENDS:
        for formulation in FORMULATIONS:

            def terms(z_a, z_b, backend=backend, formulation=formulation, **options):
                return barlow_twins_terms(z_a, z_b, backend=backend, formulation=formulation, **options)

            before, versions = bits(pair), [z._version for z in pair]
            result = evaluate(terms, *pair, formula)
            assert bits(pair) == before and [z._version for z in pair] == versions
            again = evaluate(terms, *pair, formula)
            assert bits(result.terms + result.gradients) == bits(again.terms + again.gradients)
            if yardstick is None:
                assert result.terms[0].isnan()
                continue
            widened = evaluate(terms, *wide, formula)
            # Of 16 bits in float32, and rounded once: to Inf where they do not reach.
            rounded = tuple(g.to(z.dtype) for g, z in zip(widened.gradients, pair, strict=True))
            same_numbers(result.terms + result.gradients, widened.terms + rounded)
            if finite(yardstick.truth.terms + yardstick.truth.gradients):
                yardstick.check(widened)


@given(
    pair=embeddings(),
    needed=st.sampled_from([(True, False), (False, True)]),
    how=st.sampled_from(["call", "module"]),
)
def test_one_gradient_and_either_entry(pair, needed, how):
    """What is not asked for changes nothing of what is."""
    for backend in BACKENDS:
        for formulation in FORMULATIONS:
            options = {"backend": backend, "formulation": formulation}
            criterion = BarlowTwinsLoss(**options) if how == "module" else partial(barlow_twins_loss, **options)
            both = [z.detach().clone().requires_grad_() for z in pair]
            some = [z.detach().clone().requires_grad_(need) for z, need in zip(pair, needed, strict=True)]
            losses = criterion(*both), criterion(*some)
            for loss in losses:
                loss.backward()
            with torch.no_grad():
                assert bits([losses[0]]) == bits([losses[1]]) == bits([criterion(*some)])
            for z, other, need in zip(some, both, needed, strict=True):
                assert z.grad is None if not need else bits([z.grad]) == bits([other.grad])


@given(pair=embeddings(), exponents=st.tuples(st.integers(-60, 80), st.integers(-60, 80)))
def test_size_does_not_matter_without_eps(pair, exponents):
    """Squares beyond the range of float32 among them. A power of two rounds nothing, so the bits stay."""
    pair = [z.float().contiguous() for z in pair]  # plain PyTorch sums other layouts in another order
    scaled = [torch.ldexp(z, torch.tensor(exponent)) for z, exponent in zip(pair, exponents, strict=True)]
    assume(finite(scaled) and all(map(torch.equal, pair, map(torch.ldexp, scaled, -torch.tensor(exponents)))))
    for backend in BACKENDS:
        for formulation in FORMULATIONS:
            terms = partial(barlow_twins_terms, eps=0.0, backend=backend, formulation=formulation)
            same_numbers(terms(*scaled), terms(*pair))


GOOD = torch.arange(12.0).view(4, 3)
WRONG_EMBEDDINGS = {
    "nothing": None,
    "a number": 1.0,
    "a list": [[1.0, 2.0], [3.0, 4.0]],
    "an array": GOOD.numpy(),
    "a text": "z",
    "images": GOOD.view(4, 3, 1, 1),
    "one sample": GOOD[0],
    "one row": GOOD[:1],
    "a number in a tensor": GOOD[0, 0],
    "no samples": GOOD[:0],
    "no features": GOOD[:, :0],
    "another N": GOOD[:3],
    "another D": GOOD[:, :2],
    "transposed": GOOD.T,
    "another dtype": GOOD.double(),
    "whole numbers": GOOD.long(),
    "bytes": GOOD.byte(),
    "truth values": GOOD.bool(),
    "complex": GOOD.to(torch.complex64),
    "8 bits": GOOD.to(torch.float8_e4m3fn),
    "sparse": GOOD.to_sparse(),
    "mkldnn": GOOD.to_mkldnn(),
    "another device": GOOD.to("meta"),
    "a module": nn.Linear(3, 3),
    "a class": Tensor,
}
WRONG_REALS = (
    None,
    "0.1",
    True,
    [0.1],
    1j,
    float("nan"),
    float("inf"),
    -float("inf"),
    10**5000,
)
WRONG_TENSORS = (torch.tensor([0.1]), torch.tensor(1j), torch.tensor(True), torch.tensor(0.1, device="meta"))
WRONG_CHOICES = (None, "", "Auto", 0, ("auto",))
WRONG_OPTIONS = {
    "lambd": (*WRONG_REALS, *WRONG_TENSORS, -1.0, -1e-30),
    "scale": (*WRONG_REALS, *WRONG_TENSORS),
    "eps": (*WRONG_REALS, -1e-5, torch.tensor(1e-5)),
    "unbiased": (None, 0, 1, "no", numpy.True_),
    "formulation": WRONG_CHOICES,
    "backend": (*WRONG_CHOICES, "mps"),
    "gradient": WRONG_CHOICES,
    "statistics": WRONG_CHOICES,
    "eps_added_to": WRONG_CHOICES,
    "process_group": ("", "all", 0, -100, ("world",), "world"),
}
wrong_options = st.sampled_from(sorted(WRONG_OPTIONS)).flatmap(
    lambda name: st.sampled_from(WRONG_OPTIONS[name]).map(lambda value: {name: value})
)


def one_sentence(error: Exception) -> None:
    """As someone reads it who does not know the library's inside."""
    assert type(error) in (TypeError, ValueError, RuntimeError)
    text = str(error)
    assert 20 < len(text) < 300 and "\n" not in text, text
    assert not any(word in text for word in ("aten", "bt_kernels", "unexpected keyword", "dispatch")), text


@given(name=st.sampled_from(sorted(WRONG_EMBEDDINGS)), view=st.integers(0, 1), backend=st.sampled_from(BACKENDS))
def test_wrong_embeddings(name, view, backend):
    pair = [GOOD, GOOD]
    pair[view] = WRONG_EMBEDDINGS[name]
    for entry in (
        BarlowTwinsLoss(backend=backend),
        barlow_twins_loss,
        monai.BarlowTwinsLoss(),
        cross_correlation,
    ):
        with pytest.raises((TypeError, ValueError)) as caught:
            entry(*pair)
        one_sentence(caught.value)


@given(options=wrong_options, beside=st.sampled_from([{}, {"lambd": 0.1}]))
def test_wrong_options(options, beside):
    options = {**beside, **options}
    for call in (
        lambda: BarlowTwinsLoss(**options)(GOOD, GOOD),
        lambda: barlow_twins_loss(GOOD, GOOD, **options),
        lambda: barlow_twins_terms(GOOD, GOOD, **options),
    ):
        with pytest.raises((TypeError, ValueError, RuntimeError)) as caught:
            call()
        one_sentence(caught.value)
