"""LossOptions: what it takes, what it refuses, and that it cannot change afterwards."""

import math
from dataclasses import FrozenInstanceError
from fractions import Fraction

import numpy as np
import pytest
import torch

from bt_kernels import BarlowTwinsLoss, barlow_twins_loss
from bt_kernels.options import BACKENDS, FORMULATIONS, LossOptions

pytestmark = pytest.mark.runs_on("cpu")

BAD = [
    ({"lambd": -1e-9}, ValueError, "lambd must be >= 0"),
    ({"eps": -1e-9}, ValueError, "eps must be >= 0"),
    *(({name: math.nan}, ValueError, f"{name} must be finite") for name in ("lambd", "scale", "eps")),
    *(({name: math.inf}, ValueError, f"{name} must be finite") for name in ("lambd", "scale", "eps")),
    ({"scale": 10**400}, ValueError, "scale must be finite, got a number beyond the range of a float"),
    *(({name: True}, TypeError, f"{name} must be a real number") for name in ("lambd", "scale", "eps")),
    *(({name: "1"}, TypeError, f"{name} must be a real number") for name in ("lambd", "scale", "eps")),
    ({"lambd": None}, TypeError, "lambd must be a real number"),
    ({"eps": torch.tensor(1.0)}, TypeError, "eps must be a real number"),
    ({"lambd": np.float32("inf")}, ValueError, "lambd must be finite, got inf"),
    ({"lambd": np.str_("1")}, TypeError, "lambd must be a real number, got str_"),
    ({"scale": np.bool_(True)}, TypeError, "scale must be a real number, got a tensor of torch.bool"),
    ({"scale": np.ones(1)}, ValueError, r"scale must be a number or a 0-d tensor, got shape \(1,\)"),
    ({"scale": 1j}, TypeError, "scale must be a real number"),
    ({"unbiased": 1}, TypeError, "unbiased must be True or False"),
    ({"unbiased": None}, TypeError, "unbiased must be True or False"),
    ({"formulation": "grahm"}, ValueError, "formulation must be one of auto, correlation, gram; got 'grahm'"),
    ({"formulation": None}, TypeError, "formulation must be a str"),
    ({"backend": "tpu"}, ValueError, "backend must be one of auto, .*; got 'tpu'"),
    ({"backend": torch.device("cpu")}, TypeError, "backend must be a str"),
    ({"eps_added_to": "mean"}, ValueError, "eps_added_to must be one of variance, std; got 'mean'"),
    ({"eps_added_to": None}, TypeError, "eps_added_to must be a str"),
]


@pytest.mark.parametrize("arguments, error, message", BAD, ids=lambda value: str(value)[:40])
def test_refuses(arguments, error, message):
    z = torch.randn(4, 3)
    for make in (LossOptions, BarlowTwinsLoss, lambda **options: barlow_twins_loss(z, z, **options)):
        with pytest.raises(error, match=message):
            make(**arguments)


def test_defaults_are_the_authors():
    assert LossOptions() == LossOptions(
        lambd=0.0051,
        scale=1.0,
        eps=1e-5,
        unbiased=False,
        formulation="auto",
        backend="auto",
        eps_added_to="variance",
    )


def test_takes_whole_numbers_and_the_edges():
    options = LossOptions(lambd=0, scale=-2, eps=0)
    assert (options.lambd, options.scale, options.eps) == (0.0, -2.0, 0.0)
    assert all(isinstance(value, float) for value in (options.lambd, options.scale, options.eps))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", [np.float64, np.float32, np.float16, np.int64, Fraction], ids=str)
def test_takes_real_numbers_of_every_type(kind):
    options = LossOptions(lambd=kind(2), scale=kind(3), eps=kind(1))
    assert all(type(value) is float for value in (options.lambd, options.scale, options.eps))
    assert (options.lambd, options.scale, options.eps) == (2.0, 3.0, 1.0)


@pytest.mark.parametrize("formulation", FORMULATIONS)
@pytest.mark.parametrize("name", BACKENDS)
def test_takes_every_known_name(formulation, name):
    options = LossOptions(formulation=formulation, backend=name)
    assert (options.formulation, options.backend) == (formulation, name)


def test_is_frozen_and_hashable():
    options = LossOptions()
    with pytest.raises(FrozenInstanceError):
        options.lambd = 1.0
    assert hash(options) == hash(LossOptions())


def test_str_names_every_option():
    text = str(LossOptions(lambd=0.25, formulation="gram"))
    for part in ("lambd=0.25", "scale=1.0", "eps=1e-05", "unbiased=False", "formulation='gram'", "backend='auto'"):
        assert part in text
