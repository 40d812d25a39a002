"""The pictures of a result file: python -m benchmarks.plot RESULT.json

RESULT-time.png and RESULT-memory.png, against D and against N; RESULT-speedup.png, the map of speed-ups over the
official formula; RESULT-floor.png, the distance from the bare matrix products. Each where there is what to draw.
"""

import sys

from benchmarks.loss.plots.draw import digest, draw
from benchmarks.shared import result_file
from benchmarks.shared.command import Command


def main(arguments: list[str] | None = None) -> int:
    parser = Command(
        "plot",
        "Draws a result file of benchmarks.loss or benchmarks.gpu: RESULT-time.png and RESULT-memory.png "
        "against D and against N, RESULT-speedup.png, the map of speed-ups over the official formula, and "
        "RESULT-floor.png, the distance from the bare matrix products. Each where there is what to draw.",
        {
            "benchmarks/results/loss-DEVICE.json": "four pictures beside the result",
            "RESULT.json --output pictures": "into another folder",
        },
        "0 drawn; 2 no result file, or no matplotlib.",
    )
    parser.add_argument("result", type=result_file.path, metavar="RESULT.json", help="the result file")
    parser.option("output", "where the pictures go", None, "beside the result", type=result_file.path,
                  metavar="FOLDER")  # fmt: skip
    options = parser.parse_args(arguments)
    output = options.result if options.output is None else options.output / options.result.name
    try:
        pictures = draw(result_file.read(options.result, "loss"), output, digest(options.result))
    except (ValueError, OSError, ImportError) as error:
        parser.error(str(error))
    print("\n".join(map(str, pictures)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
