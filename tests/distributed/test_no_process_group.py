"""A loss that was not told of the other ranks: one warning, and the loss of this rank's own rows."""

import copy
import pickle
import pydoc
import warnings
from multiprocessing import get_context

import pytest
import torch
import torch.distributed as dist

from bt_kernels import BarlowTwinsLoss, barlow_twins_loss, barlow_twins_terms, once
from bt_kernels.presets import catalyst, lightly, monai
from tests.support.distributed.processes import free_port
from tests.support.inputs import views

TWO_WAYS = ('process_group="world"', "process_group=None")


def warned(call, *arguments):
    """The warnings of a process that has not yet given one, and the result."""
    once._said.clear()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = call(*arguments)
        call(*arguments)
    ours = [w for w in caught if "process_group" in str(w.message)]
    return [(w.category, w.filename, str(w.message)) for w in ours], result


def whole_graph(call):
    torch._dynamo.reset()
    return torch.compile(call, fullgraph=True, backend="aot_eager")


WAYS = {
    "function": lambda: barlow_twins_loss,
    "terms": lambda: lambda *z: barlow_twins_terms(*z).loss,
    "module": BarlowTwinsLoss,
    "within a model": lambda: torch.nn.Sequential(Views(), torch.nn.Flatten(0)),
    "module's terms": lambda: lambda *z: BarlowTwinsLoss().terms(*z).loss,
    "compiled function": lambda: whole_graph(barlow_twins_loss),
    "compiled module": lambda: whole_graph(BarlowTwinsLoss()),
    "compiled terms": lambda: whole_graph(lambda *z: BarlowTwinsLoss().terms(*z).loss),
}


class Views(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.criterion = BarlowTwinsLoss()

    def forward(self, z):
        return self.criterion(z, z)


def own_rows_on_rank(group, way, z_a, z_b):
    arguments = (z_a,) if way == "within a model" else (z_a, z_b)
    found, loss = warned(WAYS[way](), *arguments)
    return found, loss, barlow_twins_loss(arguments[0], arguments[-1], process_group=None)


@pytest.mark.parametrize("way", WAYS)
def test_one_warning(run, way):
    for found, loss, expected in run(2, own_rows_on_rank, way, *views(9, 40)):
        ((category, filename, message),) = found
        assert category is UserWarning and all(part in message for part in TWO_WAYS)
        assert "there are 4 ranks" in message  # those of the default group
        assert filename == __file__  # the line that called the loss, and none of torch's or ours
        assert torch.equal(loss.squeeze(), expected)


def pickled_on_rank(group, pickled, z_a, z_b):
    return warned(pickle.loads(pickled), z_a, z_b)[0]


def test_a_module_from_before_the_group(run):
    pickled = pickle.dumps(BarlowTwinsLoss())
    assert all(len(found) == 1 for found in run(2, pickled_on_rank, pickled, *views(9, 40)))


def explicit_on_rank(group, z_a, z_b):
    set_later = BarlowTwinsLoss()
    set_later.process_group = None
    losses = [BarlowTwinsLoss(process_group=g) for g in (None, group)]
    losses += [set_later, *(preset.BarlowTwinsLoss() for preset in (lightly, monai, catalyst))]
    return [warned(loss, z_a, z_b)[0] for loss in losses]


def test_what_is_said_is_silent(run):
    assert run(2, explicit_on_rank, *views(9, 40)) == [[[]] * 6] * 2


def life_of_rank(rank, port, z_a, z_b):
    """What was compiled before init_process_group sees the group afterwards, and one that is gone."""
    silent, auto = BarlowTwinsLoss(), BarlowTwinsLoss(process_group="auto")
    compiled, compiled_auto = whole_graph(silent), torch.compile(auto, backend="aot_eager")
    calls = (silent, compiled, auto, compiled_auto)
    before = [warned(call, z_a, z_b) for call in calls]
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    during = [warned(call, z_a, z_b) for call in calls]
    dist.destroy_process_group()
    after = [warned(call, z_a, z_b) for call in calls]
    return [[(len(found), loss.item()) for found, loss in results] for results in (before, during, after)]


@pytest.mark.long
def test_the_group_is_asked_for_at_each_call():
    z_a, z_b = views(18, 40, torch.float64)
    pieces, port = list(zip(z_a.split([7, 11]), z_b.split([7, 11]), strict=True)), free_port()
    with get_context("spawn").Pool(2) as pool:
        lives = pool.starmap_async(life_of_rank, [(r, port, *pieces[r]) for r in range(2)], chunksize=1).get(240)
    joined = barlow_twins_loss(z_a, z_b).item()
    for (before, during, after), piece in zip(lives, pieces, strict=True):
        own = barlow_twins_loss(*piece).item()
        assert before == after == [(0, pytest.approx(own, rel=1e-12))] * 4
        assert during == [
            (warned, pytest.approx(x, rel=1e-12)) for warned, x in ((1, own), (1, own), (0, joined), (0, joined))
        ]


def test_not_given_can_be_read_and_kept():
    module = BarlowTwinsLoss()
    copies = [
        copy.deepcopy(module),
        pickle.loads(pickle.dumps(module)),
        BarlowTwinsLoss(process_group=module.process_group),
    ]
    for other in copies:
        assert other.process_group is module.process_group and repr(other) == "BarlowTwinsLoss(lambd=0.0051)"
    assert repr(module.process_group) == "<not given>"
    assert "= <not given>" in pydoc.render_doc(barlow_twins_loss)
