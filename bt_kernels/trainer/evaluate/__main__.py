"""``python -m bt_kernels.trainer.evaluate``."""

import sys

from bt_kernels.trainer.packages import require_packages

if __name__ == "__main__":
    require_packages()
    from bt_kernels.trainer.evaluate.command import build_parser

    build_parser().parse_args()  # --help and mistyped options, before what takes seconds to import
    from bt_kernels.trainer.evaluate.cli import main

    sys.exit(main())
