"""``python -m bt_kernels.trainer.evaluate``, or ``bt-evaluate``."""

import sys

from bt_kernels.trainer.packages import require_packages


def main() -> int:
    require_packages()
    from bt_kernels.trainer.evaluate.command import build_parser

    build_parser().parse_args()  # --help and mistyped options, before what takes seconds to import
    from bt_kernels.trainer.evaluate import cli

    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
