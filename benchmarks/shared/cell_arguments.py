"""What the commands about one GPU backend's kernels at one shape have in common: their arguments, the device."""

import argparse

from benchmarks.loss.__main__ import positive
from benchmarks.shared.cell import DTYPES, PRECISIONS, Cell
from benchmarks.shared.device import Device, open_device
from bt_kernels.backends.registry import choose_backend


def parse_cell(
    parser: argparse.ArgumentParser, arguments: list[str] | None, backends: tuple[str, ...]
) -> tuple[argparse.Namespace, Cell, Device]:
    """The parser's own options, and the cell and the device of --n, --d, --dtype, --precision, --device and, where
    there are several backends, --backend."""
    add = parser.add_argument
    if len(backends) > 1:
        add("--backend", choices=backends, default=backends[0], help="default %(default)s")
    add("--n", type=positive, default=1024, help="default %(default)s")
    add("--d", type=positive, default=8192, help="default %(default)s")
    add("--dtype", choices=[name for name in DTYPES if name != "float64"], default="bfloat16")
    add("--precision", choices=PRECISIONS, default="ieee", help="of float32 products (default %(default)s)")
    add("--device", default="cuda", help="default %(default)s; cpu to try it out, under TRITON_INTERPRET=1")
    options = parser.parse_args(arguments)
    backend = getattr(options, "backend", backends[0])
    cell = Cell(options.n, options.d, options.dtype, options.device, backend, precision=options.precision)
    try:
        device = open_device(cell.device)
        choose_backend(cell.backend, device.torch_device, cell.torch_dtype)
    except RuntimeError as error:
        parser.error(str(error))
    return options, cell, device
