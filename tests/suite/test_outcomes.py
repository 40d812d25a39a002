"""What is kept of compilations, and for how long."""

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.outcomes import Outcomes, digest

pytestmark = pytest.mark.runs_on("cpu")


@dataclass(frozen=True)
class Code:
    registers: int


def compile_it(made: Path, registers: int) -> dict:
    made.write_text("compiled")
    return {"code": Code(registers), "messages": ["fine"]}


def refuse() -> dict:
    raise RuntimeError("expected ;")


def begin(outcomes: Outcomes, key: str, registers: int) -> None:
    outcomes.begin(key, compile_it, outcomes.object(key), registers)


def test_is_compiled_once(tmp_path):
    expected = {"code": {"registers": 32}, "messages": ["fine"]}
    for registers in (32, 64):  # the second run compiles nothing: it would have 64
        outcomes = Outcomes(tmp_path)
        begin(outcomes, "key", registers)
        assert outcomes["key"] == expected
        assert outcomes.object("key").read_text() == "compiled"
        outcomes.close()


def test_nothing_is_kept_of_what_was_refused(tmp_path):
    outcomes = Outcomes(tmp_path)
    outcomes.begin("key", refuse)
    with pytest.raises(RuntimeError, match="expected ;"):
        outcomes["key"]
    outcomes.close()
    assert list(tmp_path.iterdir()) == []


def test_those_that_nobody_asks_for_go(tmp_path):
    outcomes = Outcomes(tmp_path, most=2)
    for time, key in enumerate(("first", "second", "third")):
        begin(outcomes, key, 32)
        assert outcomes[key]
        os.utime(outcomes.file(key), (time, time))
    assert outcomes["first"]
    outcomes.close()
    assert {path.name for path in tmp_path.iterdir()} == {"first.json", "first.o", "third.json", "third.o"}


def test_digest_of_parts():
    assert digest("ab", b"c") == digest(b"ab", "c")
    assert len({digest("ab", "c"), digest("a", "bc"), digest("abc"), digest("abc", "")}) == 4
