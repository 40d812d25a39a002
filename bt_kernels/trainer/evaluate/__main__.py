"""``python -m bt_kernels.trainer.evaluate``."""

import sys

try:
    from bt_kernels.trainer.evaluate.cli import main
except ModuleNotFoundError as error:
    package = str(error.name).partition(".")[0]
    sys.exit(f"error: the trainer needs the package {package}; run: pip install 'bt_kernels[trainer]'")

if __name__ == "__main__":
    sys.exit(main())
