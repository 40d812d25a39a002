"""Which backend runs: the fastest that works, or the one asked for, or an error with the reason."""

import pytest
import torch

from bt_kernels import barlow_twins_loss
from bt_kernels.backends import registry
from bt_kernels.backends.registry import BACKENDS, availabilities, choose_backend
from bt_kernels.backends.stages import Availability
from bt_kernels.options import BACKENDS as NAMES

CPU = torch.device("cpu")


class Unavailable:
    def availability(self, device, dtype):
        return Availability(False, f"no such machine as {device}")


def test_every_backend_can_be_asked_for():
    assert set(NAMES) == {"auto", *BACKENDS}


def test_every_backend_gives_a_reason():
    for device in (CPU, torch.device("meta")):
        for ok, reason in availabilities(device).values():
            assert isinstance(ok, bool) and reason


def test_auto_takes_the_first_that_works(monkeypatch):
    order = registry.AUTO["cpu"]
    works = [name for name in order if availabilities(CPU)[name].ok]
    assert choose_backend("auto", CPU) == works[0]
    monkeypatch.setitem(registry.BACKENDS, works[0], Unavailable())
    assert choose_backend("auto", CPU) == works[1]


def test_eager_works_anywhere():
    assert choose_backend("auto", torch.device("meta")) == "eager"
    assert choose_backend("eager", torch.device("meta")) == "eager"


def test_asked_for_by_name_works_or_raises(monkeypatch):
    for name, (ok, _) in availabilities(CPU).items():
        if ok:
            assert choose_backend(name, CPU) == name
    monkeypatch.setitem(registry.BACKENDS, "cpu", Unavailable())
    z = torch.zeros(4, 3)
    with pytest.raises(RuntimeError, match="backend 'cpu' cannot run on device cpu: no such machine as cpu"):
        barlow_twins_loss(z, z, backend="cpu")
    assert barlow_twins_loss(z, z, backend="auto").isfinite()
