"""A few hundred mutated files; `make fuzz-files` reads ten thousand. And that what they look for would be found."""

import logging
import os
import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import trt_passes as tp

from .bases import Base, bases
from .canary import CALL, Canary
from .mutations import Bomb
from .run import fuzz


@pytest.fixture(scope="module")
def canary() -> Canary:
    return Canary()


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Base]]:
    logging.disable(logging.CRITICAL)
    yield bases(tmp_path_factory.mktemp("honest"))
    logging.disable(logging.NOTSET)


def test_mutated_files_run_nothing_and_are_refused_in_a_sentence(
    honest: list[Base], canary: Canary, tmp_path: Path
) -> None:
    account = fuzz(honest, range(200), seed=1, folder=tmp_path, canary=canary)
    assert account.failures == {}
    assert {outcome for _, _, outcome in account.counts} == {"read", "refused"}
    assert {name for name, _, _ in account.counts} == {base.name for base in honest}


def test_honest_files_are_read(honest: list[Base]) -> None:
    for base in honest:
        assert base.read(base.path)


def test_what_runs_is_found_where_nothing_is_checked(honest: list[Base], canary: Canary, tmp_path: Path) -> None:
    def read(path: Path) -> bool:
        tp.load(path, trust=True)
        return True

    trusting = [replace(base, read=read) for base in honest if base.name.startswith("model")]
    account = fuzz(trusting, range(150), seed=1, folder=tmp_path, canary=canary)
    assert any("a payload ran" in failure for failure in account.failures.values())
    assert any("pickle.find_class" in failure for failure in account.failures.values())


def test_the_canary_hears(canary: Canary, tmp_path: Path) -> None:
    actions = {
        "a payload ran": lambda: eval(CALL),
        "was opened for writing": lambda: (tmp_path / "file").write_text("x"),
        "pickle.find_class": lambda: pickle.loads(pickle.dumps(Bomb())),
        "os.system": lambda: os.system("true"),
    }
    for words, action in actions.items():
        with canary.watch() as seen:
            action()
        assert any(words in text for text in seen), words
    eval(CALL)
    assert canary.seen == seen


def test_a_file_is_the_same_whenever_it_is_made(honest: list[Base], canary: Canary, tmp_path: Path) -> None:
    counts = [fuzz(honest, [number], 1, tmp_path, canary).counts for number in (7, 7)]
    assert counts[0] == counts[1]
