"""When the emulated GPU's objects are compiled again."""

import shutil
from pathlib import Path

import pytest

from tests.cuda_emulated.build import BuildError, compiled

SOURCE = '#include "number.h"\nint number() { return NUMBER; }\n'


@pytest.fixture
def compile_it(tmp_path):
    """Whether that compiles; the folder has the source and its header."""
    (tmp_path / "number.h").write_text("#define NUMBER 1\n")
    (tmp_path / "number.cpp").write_text(SOURCE)

    def compile_it(flags: tuple[str, ...] = ()) -> Path:
        return compiled(tmp_path / "number.cpp", tmp_path / "objects", flags)

    (tmp_path / "objects").mkdir()
    return compile_it


def made(path: Path) -> tuple[Path, int]:
    return path, path.stat().st_mtime_ns


def test_nothing_is_different(compile_it):
    compile_it()  # its source may be as new as it is, and so count as edited meanwhile
    first = made(compile_it())
    assert made(compile_it()) == first


def test_a_header(compile_it, tmp_path):
    before = compile_it().read_bytes()
    (tmp_path / "number.h").write_text("#define NUMBER 2\n")
    assert compile_it().read_bytes() != before


def test_a_header_that_is_gone(compile_it, tmp_path):
    compile_it()
    (tmp_path / "number.h").unlink()
    with pytest.raises(BuildError, match=r"number\.h"):
        compile_it()


def test_flags(compile_it):
    assert compile_it() != compile_it(("-DOTHER",))


def test_another_compiler(compile_it, monkeypatch, tmp_path):
    """That says of itself that it is newer."""
    before = compile_it()
    newer = tmp_path / "bin" / "g++"
    newer.parent.mkdir()
    monkeypatch.setenv("CXX", str(newer))
    for version in ("", "newer"):
        newer.write_text(f'#!/bin/sh\n[ "$1" = --version ] && echo "{version}"\nexec {shutil.which("c++")} "$@"\n')
        newer.chmod(0o755)
        after = compile_it()
        assert after != before
        before = after
