"""Same input, same bits: run after run, whatever the memory held, and next to another thread."""

import threading

import pytest
import torch

from tests.support.accuracy import Formula, evaluate
from tests.support.inputs import DTYPES, views
from tests.support.target import device, few, few_kinds


def everything(terms, z_a, z_b):
    result = evaluate(terms, z_a, z_b, Formula(output_gradients=(1.0, 0.5, 0.25)))
    return *result.terms, *result.gradients


RUNS = few([((31, 65), 250), ((190, 191), 250), ((300, 700), 20)], [((31, 65), 3)])


@pytest.mark.covering(1)
@pytest.mark.parametrize("shape, runs", RUNS, ids=str)
def test_same_bits_every_run(terms, shape, runs):
    z_a, z_b = views(*shape)
    first = everything(terms, z_a, z_b)
    for _ in range(runs):
        assert all(map(torch.equal, everything(terms, z_a, z_b), first))


@pytest.fixture
def poisoned_memory():
    """Every torch.empty, in Python or C++, comes filled: with NaN, or bytes of 255, NaN in any float type."""
    filled = torch.utils.deterministic.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = True
    yield
    torch.utils.deterministic.fill_uninitialized_memory = filled
    torch.use_deterministic_algorithms(False)


def test_poison_is_poisonous(poisoned_memory):
    x = torch.empty(5, device=device())
    assert x.isnan().all() and x.new_empty(3).isnan().all()
    for dtype in (torch.float32, torch.float64):
        assert torch.empty(8, dtype=torch.uint8, device=device()).view(dtype).isnan().all()


POISONED = few([(3, 17), (31, 65), (65, 31), (190, 191), (40, 1030)], [(3, 17), (31, 65), (65, 31)])


@pytest.mark.all_combinations("padding differs with all three")
@pytest.mark.parametrize("dtype", few_kinds(DTYPES, (torch.float32, torch.bfloat16)), ids=str)
@pytest.mark.parametrize("shape", POISONED, ids=str)
def test_what_memory_held_does_not_matter(terms, shape, dtype, request):
    z_a, z_b = views(*shape, dtype)
    clean = everything(terms, z_a, z_b)
    request.getfixturevalue("poisoned_memory")
    assert all(map(torch.equal, everything(terms, z_a, z_b), clean))


@pytest.mark.covering(2)
@pytest.mark.runs_on("cpu")
@pytest.mark.parametrize("shape", [(190, 191), (40, 1030), (700, 64)], ids=str)
@pytest.mark.parametrize("threads", [1, 2, 3, 7])
def test_any_number_of_threads_meets_the_standard(terms, yardstick, shape, threads):
    torch.set_num_threads(threads)
    expected = yardstick(*shape)
    expected.check(evaluate(terms, expected.z_a, expected.z_b, expected.formula))
    first, second = (everything(terms, expected.z_a, expected.z_b) for _ in range(2))
    assert all(map(torch.equal, first, second))


@pytest.mark.runs_on("cpu", "cuda", why="Triton's interpreter runs in one thread at a time")
@pytest.mark.parametrize("shape", [(31, 65), (190, 191)], ids=str)
def test_two_python_threads_at_once(terms, shape):
    inputs = [views(*shape, seed=seed) for seed in range(2)]
    expected = [everything(terms, *pair) for pair in inputs]
    start, wrong = threading.Barrier(2), []

    def work(index):
        start.wait()
        for _ in range(30):
            if not all(map(torch.equal, everything(terms, *inputs[index]), expected[index])):
                wrong.append(index)

    workers = [threading.Thread(target=work, args=(index,)) for index in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong
