"""What the commands about one GPU backend's kernels at one shape have in common: their options, the device."""

import argparse

from benchmarks.shared.cell import OPERANDS, Cell, of_operands
from benchmarks.shared.command import Command
from benchmarks.shared.device import Device
from bt_kernels.backends.registry import choose_backend


def parse_cell(
    parser: Command, arguments: list[str], backends: tuple[str, ...]
) -> tuple[argparse.Namespace, Cell, Device]:
    """The parser's own options, and the cell and the device of --n, --d, --dtype, --device and, where there are
    several backends, --backend."""
    parser.n(1024)
    parser.d(8192)
    parser.dtype([name for name in OPERANDS if name != "float64"], "bfloat16")
    if len(backends) > 1:
        parser.backend(backends, backends[0])
    parser.device("cuda", words="cuda or cuda:1; cpu to try it out, under TRITON_INTERPRET=1")
    options = parser.parse_args(arguments)
    backend = getattr(options, "backend", backends[0])
    cell = Cell(options.n, options.d, device=options.device, backend=backend, **of_operands(options.dtype))
    device = parser.open_device(options)
    try:
        choose_backend(cell.backend, device.torch_device, cell.torch_dtype)
    except RuntimeError as error:
        parser.error(str(error))
    return options, cell, device
