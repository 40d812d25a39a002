"""What the commands about the Triton kernels at one shape have in common: their arguments and the device."""

import argparse

from benchmarks.cell import DTYPES, PRECISIONS, Cell
from benchmarks.device import Device, open_device
from benchmarks.loss import positive
from bt_kernels.backends.registry import choose_backend


def parse_cell(
    parser: argparse.ArgumentParser, arguments: list[str] | None
) -> tuple[argparse.Namespace, Cell, Device]:
    """The parser's own options, and the cell and the device of --n, --d, --dtype, --precision and --device."""
    add = parser.add_argument
    add("--n", type=positive, default=1024, help="default %(default)s")
    add("--d", type=positive, default=8192, help="default %(default)s")
    add("--dtype", choices=[name for name in DTYPES if name != "float64"], default="bfloat16")
    add("--precision", choices=PRECISIONS, default="ieee", help="of float32 products (default %(default)s)")
    add("--device", default="cuda", help="default %(default)s; cpu to try it out, under TRITON_INTERPRET=1")
    options = parser.parse_args(arguments)
    cell = Cell(options.n, options.d, options.dtype, options.device, "triton", precision=options.precision)
    try:
        device = open_device(cell.device)
        choose_backend(cell.backend, device.torch_device, cell.torch_dtype)
    except RuntimeError as error:
        parser.error(str(error))
    return options, cell, device
