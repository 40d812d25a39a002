"""The life of a rank of benchmarks.distributed: the same cells as all others, each checked, then timed.

Every rank draws the joined batch and takes its own rows. Rank 0 compares what all ranks computed with float64 on
the joined batch and hands the cell's report on.
"""

import os
import time
from collections.abc import Callable
from multiprocessing.queues import SimpleQueue
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from benchmarks.distributed.candidates import (
    OFFICIAL,
    OTHER,
    OURS,
    build_step,
    does_not_fit,
    formulation_of,
    gradient_scale,
    modelled_bytes,
)
from benchmarks.distributed.wire import Sent, all_gather_bytes, counted
from benchmarks.shared.candidates import Step
from benchmarks.shared.cell import Cell, Views, make_embeddings
from benchmarks.shared.correctness import Truth, errors, truth
from benchmarks.shared.device import Device, last_level_cache, open_device
from benchmarks.shared.measure import Samples, quantiles, ratio, time_candidates
from bt_kernels.distributed.agreement import WORDS, agree
from bt_kernels.distributed.group import ranks_of
from bt_kernels.distributed.options import DistributedOptions
from bt_kernels.options import LossOptions

AGREEMENT = "agreement"  # the exchange before ours sends anything, timed by itself
RATIOS = ((OFFICIAL, OURS), (OTHER, OURS), (AGREEMENT, OURS))


class Job(NamedTuple):
    """What all ranks do; it is pickled on its way to them."""

    world: int
    threads: int  # of each rank
    repeats: int
    limit: float  # bytes a cell may take
    cells: list[Cell]  # of the joined batch


class Computed(NamedTuple):
    """One call on one rank."""

    loss: Tensor  # ()
    gradients: tuple[Tensor, Tensor]  # (N / W, D) each
    sent: Sent


class Clock:
    """Seconds of a call that all ranks begin at once, with flushed caches."""

    def __init__(self, device: Device, repeats: int) -> None:
        self.max_rounds = repeats
        self._cuda = device.torch_device.type == "cuda"
        cache = device.l2_bytes if self._cuda else last_level_cache()
        self._flush = torch.zeros(2 * cache // 4, device=device.torch_device)

    def time(self, call: Callable[[], object]) -> float:
        self._flush.add_(1)
        dist.barrier()
        self._synchronize()
        start = time.perf_counter()
        call()
        self._synchronize()
        return time.perf_counter() - start

    def _synchronize(self) -> None:
        if self._cuda:
            torch.cuda.synchronize()


def run(rank: int, job: Job, rendezvous: str, reports: SimpleQueue) -> None:
    """Measures the job's cells; rank 0 puts each one's report into the queue."""
    torch.set_num_threads(job.threads)
    cuda = job.cells[0].on_gpu
    device = open_device(f"cuda:{rank}" if cuda else "cpu")
    dist.init_process_group(
        "nccl" if cuda else "gloo",
        init_method=rendezvous,
        rank=rank,
        world_size=job.world,
        device_id=device.torch_device if cuda else None,
    )
    clock = Clock(device, job.repeats)
    for cell in job.cells:
        report = measure(clock, cell, job.limit)
        if rank == 0:
            reports.put({"world": job.world, "threads_per_rank": job.threads, **report})
        device.release()
    dist.destroy_process_group()


def measure(clock: Clock, cell: Cell, limit: float) -> dict:
    """The cell's entry in the result file. Status of a candidate: ok · skipped, with the reason · FAIL."""
    rank, world = dist.get_rank(), dist.get_world_size()
    candidates: dict[str, dict] = {}
    report = {
        "rows": cell.n // world,
        "n": cell.n,
        "d": cell.d,
        "dtype": cell.dtype,
        "wire": dist.get_backend(),
        "load_average": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "candidates": candidates,
        "ratios": {},
    }
    joined = make_embeddings(cell)
    rows = slice(rank * cell.n // world, (rank + 1) * cell.n // world)
    views = Views(*(z.detach()[rows].clone().requires_grad_() for z in joined))
    expected = truth(*joined) if rank == 0 else None
    del joined
    steps: dict[str, Step] = {}
    for name in (OURS, OTHER, OFFICIAL):
        entry = candidates[name] = {"formulation": formulation_of(name, cell, world)}
        if reason := does_not_fit(name, cell, world, limit):
            entry.update(status="skipped", reason=reason)
            continue
        step = build_step(name, cell, world, *views)
        entry.update(check(name, cell, call(step, views), expected))
        if entry["status"] == "ok":
            steps[name] = step
    del expected
    steps[AGREEMENT] = agreement_of(cell, views)
    # Everyone sits in all rounds: no call may look expensive to one rank and cheap to another.
    samples = time_candidates(clock, steps, dict.fromkeys(steps, 0.0), views.clear)
    add_times(report, slowest_rank(samples, views.z_a.device))
    return report


def call(step: Step, views: Views) -> Computed:
    """The second call: the first builds what is built once."""
    step()
    views.clear()
    with counted() as sent:
        loss = step()
    computed = Computed(loss.cpu(), (views.z_a.grad.cpu(), views.z_b.grad.cpu()), sent)
    views.clear()
    return computed


def check(name: str, cell: Cell, computed: Computed, expected: Truth | None) -> dict:
    """What there is to say of a candidate before it is timed: the same on every rank."""
    world = dist.get_world_size()
    everyone: list[Computed | None] | None = None if expected is None else [None] * world
    dist.gather_object(computed, everyone)
    verdict: list[dict | None] = [None]
    if everyone:
        loss, place = everyone[0].loss, expected.gradients[0].device
        gradients = tuple(torch.cat([c.gradients[view] for c in everyone]).to(place) for view in range(2))
        found = errors(loss, gradients, expected, gradient_scale(name, cell, world))
        same = all(torch.equal(loss, c.loss) for c in everyone)
        busiest = max((c.sent for c in everyone), key=lambda sent: sum(sent.values()))
        verdict[0] = {
            "status": "ok" if same and found.within(cell.operands) else "FAIL",
            "loss_error": found.loss,
            "gradient_error": found.gradient,
            "same_loss_on_every_rank": same,
            "sent": busiest,
            "sent_bytes": sum(busiest.values()),
            "agreement_bytes": 0 if name == OFFICIAL else all_gather_bytes(8 * WORDS, world),
            "modelled_bytes": modelled_bytes(name, cell, world),
        }
    dist.broadcast_object_list(verdict)
    return verdict[0]


def agreement_of(cell: Cell, views: Views) -> Callable[[], object]:
    ranks, options = ranks_of("world"), LossOptions(backend=cell.backend)
    distributed = DistributedOptions(process_group="world")
    return lambda: agree(ranks, *views, options, distributed, lambda: None)


def slowest_rank(samples: Samples, device: torch.device) -> Samples:
    """A step is over when it is over everywhere."""
    times = torch.tensor(list(samples.values()), dtype=torch.float64, device=device)
    dist.all_reduce(times, dist.ReduceOp.MAX)
    return dict(zip(samples, times.tolist(), strict=True))


def add_times(report: dict, samples: Samples) -> None:
    for name, values in samples.items():
        milliseconds = [1e3 * value for value in values]
        entry = report.setdefault(AGREEMENT, {}) if name == AGREEMENT else report["candidates"][name]
        entry.update(ms=quantiles(milliseconds)._asdict(), samples_ms=[round(value, 4) for value in milliseconds])
    for over, under in RATIOS:
        if found := ratio(samples, over, under):
            report["ratios"][f"{over}/{under}"] = found._asdict()
