"""``python -m bt_kernels.trainer``, or ``bt-pretrain``."""

import os
import sys

from bt_kernels.trainer.packages import require_packages


def main() -> int:
    require_packages()
    from bt_kernels.trainer.config.presets import build_parser

    if "RANK" not in os.environ:  # under torchrun the first rank speaks for all
        build_parser().parse_args()  # --help and mistyped options, before what takes seconds to import
    from bt_kernels.trainer import cli

    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
