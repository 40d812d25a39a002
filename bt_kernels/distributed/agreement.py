"""Before anything is sent: what every rank brings, whether it fits together, and who cannot take part.

One exchange of a few hundred bytes a rank, through the CPU where there is a way. Ranks that went on with different
ideas of the shapes would wait for each other for ever; here every rank sees the same table and raises the
same error.
"""

import struct
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from bt_kernels.distributed.group import Ranks, control_group
from bt_kernels.distributed.options import GRADIENTS, STATISTICS, DistributedOptions
from bt_kernels.embeddings import DTYPES
from bt_kernels.options import BACKENDS, EPS_ADDED_TO, FORMULATIONS, LossOptions
from bt_kernels.torch_versions import numbers

ERRORS = (TypeError, ValueError, RuntimeError)
ROWS, ERROR = 0, 1  # columns of the table
MESSAGE_WORDS = 48
A_TENSOR = -1  # the bits of a NaN, which no option is


class Field(NamedTuple):
    """A column of the table that has to be the same on all ranks."""

    name: str
    show: Callable[[int], object]


def bits(value: float | Tensor) -> int:
    """Tensors agree whatever their numbers are, which nobody reads."""
    return A_TENSOR if isinstance(value, Tensor) else struct.unpack("<q", struct.pack("<d", value))[0]


def real(word: int) -> float | str:
    return "a tensor" if word == A_TENSOR else struct.unpack("<d", struct.pack("<q", word))[0]


def letters(text: str) -> int:
    return int.from_bytes(text.encode()[:8], "little")


def word_text(word: int) -> str:
    return word.to_bytes(8, "little").rstrip(b"\0").decode()


FIELDS = (
    Field("the number of features D", int),
    Field("the embeddings' dtype", DTYPES.__getitem__),
    Field("the embeddings' device type", word_text),
    Field("whether z_a needs a gradient", bool),
    Field("whether z_b needs a gradient", bool),
    Field("lambd", real),
    Field("scale", real),
    Field("eps", real),
    Field("unbiased", bool),
    Field("formulation", FORMULATIONS.__getitem__),
    Field("backend", BACKENDS.__getitem__),
    Field("gradient", GRADIENTS.__getitem__),
    Field("statistics", STATISTICS.__getitem__),
    Field("eps_added_to", EPS_ADDED_TO.__getitem__),
)
WORDS = 2 + len(FIELDS) + MESSAGE_WORDS


def describe(z_a: Tensor, z_b: Tensor, options: LossOptions, distributed: DistributedOptions) -> list[int]:
    """This rank's row, without errors."""
    with_gradient = torch.is_grad_enabled()
    return [
        z_a.shape[0],
        0,
        z_a.shape[1],
        DTYPES.index(z_a.dtype),
        letters(z_a.device.type),
        int(with_gradient and z_a.requires_grad),
        int(with_gradient and z_b.requires_grad),
        *map(bits, (options.lambd, options.scale, options.eps)),
        int(options.unbiased),
        FORMULATIONS.index(options.formulation),
        BACKENDS.index(options.backend),
        GRADIENTS.index(distributed.gradient),
        STATISTICS.index(distributed.statistics),
        EPS_ADDED_TO.index(options.eps_added_to),
        *[0] * MESSAGE_WORDS,
    ]


def report(error: Exception) -> list[int]:
    """The row of a rank that cannot take part."""
    kind = next((index for index, kind in enumerate(ERRORS) if isinstance(error, kind)), None)
    text = str(error)
    if kind is None:
        kind, text = ERRORS.index(RuntimeError), f"{type(error).__name__}: {text}"
    message = text.encode()[: 8 * MESSAGE_WORDS].ljust(8 * MESSAGE_WORDS, b"\0")
    return [0, 1 + kind, *[0] * len(FIELDS), *struct.unpack(f"<{MESSAGE_WORDS}q", message)]


def exchange(row: list[int], ranks: Ranks) -> list[list[int]]:
    group, device = control_group(ranks)
    table = [torch.empty(WORDS, dtype=torch.int64, device=device) for _ in range(ranks.size)]
    try:
        dist.all_gather(table, torch.tensor(row, dtype=torch.int64, device=device), group=group)
    except RuntimeError as error:
        raise RuntimeError(
            f"rank {ranks.rank} has called the loss, and not all {ranks.size} ranks of its process_group did. All "
            "have to call it equally often, with (0, D) embeddings where the rows have run out: join() of "
            f"DistributedDataParallel does not stand in for it ({error})"
        ) from error
    return [numbers(received) for received in table]


def raise_first_error(table: list[list[int]]) -> None:
    for rank, row in enumerate(table):
        if row[ERROR]:
            message = (
                struct.pack(f"<{MESSAGE_WORDS}q", *row[-MESSAGE_WORDS:]).rstrip(b"\0").decode(errors="ignore")
            )
            raise ERRORS[row[ERROR] - 1](f"on rank {rank}: {message}")


def raise_first_difference(table: list[list[int]]) -> None:
    for column, field in enumerate(FIELDS, start=2):
        first = table[0][column]
        for rank, row in enumerate(table):
            if row[column] != first:
                shown = f"{field.show(first)} on rank 0, {field.show(row[column])} on rank {rank}"
                raise ValueError(f"the ranks disagree about {field.name}: {shown}")


def agree(
    ranks: Ranks,
    z_a: Tensor,
    z_b: Tensor,
    options: LossOptions,
    distributed: DistributedOptions,
    check: Callable[[], None],
) -> tuple[int, ...]:
    """The numbers of rows of all ranks, (W,).

    check raises on this rank what is wrong with what it was given. Every rank then raises the first rank's error.

    Raises TypeError, ValueError or RuntimeError, the same on every rank.
    """
    cause = None
    try:
        check()
        row = describe(z_a, z_b, options, distributed)
    except Exception as error:  # whatever it is, the others wait for this rank
        cause, row = error, report(error)
    table = exchange(row, ranks)
    try:
        raise_first_error(table)
    except ERRORS as error:
        raise error from cause
    raise_first_difference(table)
    rows = tuple(row[ROWS] for row in table)
    if sum(rows) < 2:
        raise ValueError(f"the batch statistics need N >= 2 samples, and all {ranks.size} ranks have {sum(rows)}")
    if distributed.statistics == "local" and min(rows) < 2:
        raise ValueError(
            f'statistics="local" needs at least 2 samples on every rank: rank {rows.index(min(rows))} has '
            f"{min(rows)}"
        )
    return rows
