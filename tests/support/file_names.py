"""The file names in comments, docstrings and pages that are no file's: `python tests/support/file_names.py`.

What looks like a file or a folder has to be the path of one of this repository's, or the end of such a path. Of
C++, CUDA, pages and the Makefile the whole text is read, of Python and TOML only comments and docstrings.
"""

import ast
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

ENDINGS = "py|pyi|cpp|cuh|cu|h|md|toml|txt|json|sh"
NAME = re.compile(
    rf"(?<![\w./:<{{*$-])(?:[\w-]+/)*\w[\w-]*(?:\.[\w-]+)*\.(?:{ENDINGS})(?![\w*(])(?!\.\w)"  # a file
    r"|(?<=`)(?:[\w-]+/)+(?=`)"  # `a folder/`
    r"|(?<![\w./:<{*$-])(?:tests|csrc|benchmarks|bt_kernels|docs|examples|findings)"  # either, from the root on
    r"(?:/[\w-]+(?:\.[\w-]+)*)+(?![\w/*{<-])(?!\.\w)"
)
HASHED = {".toml", ".txt", ".yml", ".yaml"}  # files whose comments begin with #
WHOLE = {".md", ".cpp", ".cuh", ".cu", ".h"}

# What no checkout holds.
ELSEWHERE = {
    *("_build_report.json", "config.json", "summary.json", "unreadable.txt"),  # a build or a run writes them
    *("train/", "val/"),  # of a user's images
    *("BEFORE.json", "AFTER.json", "RESULT.json", "RESULT.md", "loss-DEVICE.json", "loss-DEVICE-bfloat16.json"),
    *(
        "main.py",
        "barlow.py",
        "barlow_twins_loss.py",
        "barlow_twins.py",
        "cifar10_benchmark.py",
    ),  # other projects'
    "sysexits.h",  # the system's
}


def texts(file: Path) -> Iterator[tuple[int, str]]:
    """The lines of a file that are no code, with their numbers."""
    source = file.read_text(errors="replace")
    if file.suffix in WHOLE or file.name == "Makefile":
        yield from enumerate(source.splitlines(), 1)
    elif file.suffix in HASHED:
        for number, line in enumerate(source.splitlines(), 1):
            yield number, line.partition("#")[2]
    elif file.suffix == ".py":
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type == tokenize.COMMENT:
                yield token.start[0], token.string
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node):
                yield from enumerate(ast.get_docstring(node, clean=False).splitlines(), node.body[0].lineno)


def known_names(files: Iterable[str]) -> set[str]:
    """Every end of the path of a file, and of a folder with a slash behind it."""
    known = set()
    for name in files:
        parts = PurePosixPath(name).parts
        for last in range(1, len(parts) + 1):
            end = "" if last == len(parts) else "/"
            known |= {"/".join(parts[first:last]) + end for first in range(last)}
    return known


def missing(files: list[str], root: Path) -> list[str]:
    """The lines "file:line: name" of names that are no file's or folder's among those files of a repository."""
    known, found = known_names(files), []
    for name in files:
        for number, text in texts(root / name):
            for match in NAME.finditer(text):
                said = match[0]
                if not {said, said + "/"} & known and not {said, PurePosixPath(said).name} & ELSEWHERE:
                    found.append(f"{name}:{number}: {said}")
    return found


def main() -> int:
    root = Path(__file__).parents[2]
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    answer = subprocess.run(listed, cwd=root, capture_output=True, text=True, check=False)
    if answer.returncode != 0:  # an unpacked archive
        print("file names in texts are not checked: git does not list this folder")
        return 0
    found = missing([name for name in answer.stdout.splitlines() if (root / name).is_file()], root)
    print(
        *found, "file names in texts that are no file's" if found else "All files named in texts exist.", sep="\n"
    )
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
