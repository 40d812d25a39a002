"""The accuracy benchmark on the terminal: a table per dtype, shape and kind of features, and what it comes to."""

from collections.abc import Iterator

METRICS = {"gradient_error": "gradient", "loss_error": "loss"}
SIXTEEN_BITS = ("bfloat16", "float16")


def groups(result: dict) -> dict[tuple[str, int, int, str], list[dict]]:
    """The cells of each (operands, N, D, features), by strength."""
    found: dict[tuple[str, int, int, str], list[dict]] = {}
    for cell in result["cells"]:
        found.setdefault((cell["operands"], cell["n"], cell["d"], cell["features"]), []).append(cell)
    return found


def tables(result: dict) -> Iterator[str]:
    for (operands, n, d, features), cells in groups(result).items():
        columns = [(metric, cell) for metric in METRICS for cell in cells]
        head = "".join(f"{cell['strength']:>9g}" for _, cell in columns)
        width = 9 * len(cells)
        titles = "".join(f"{title + ' error at a strength of':>{width}}" for title in METRICS.values())
        yield from ("", f'{operands}, N = {n}, D = {d}, {features}; * is what "auto" takes', f"{'':34}{titles}")
        yield f"{'':34}{head}"
        for name, entry in cells[0]["candidates"].items():
            mark = "*" if name == cells[0]["auto"] else ""
            numbers = "".join(f"{text(cell['candidates'][name], metric):>9}" for metric, cell in columns)
            yield f"{entry['label'] + mark:<34}{numbers}"


def text(entry: dict, metric: str) -> str:
    return f"{entry[metric]:.1e}" if metric in entry else "-"


def summary(result: dict) -> Iterator[str]:
    """How many times smaller the errors of "auto" are than those of the authors' code, in 16 bits."""
    for (operands, n, d, features), cells in groups(result).items():
        if operands not in SIXTEEN_BITS:
            continue
        for cell in (cells[0], cells[-1]):
            ours, official = (cell["candidates"][name] for name in (cell["auto"], "official"))
            found = [
                f"{title} {official[metric] / ours[metric]:.3g}x"
                for metric, title in METRICS.items()
                if metric in ours and metric in official and ours[metric] > 0
            ]
            where = f"{operands}, N = {n}, D = {d}, {features}, strength {cell['strength']:g}"
            yield f"{where}: the official formula's error under autocast over ours: {', '.join(found)}"
