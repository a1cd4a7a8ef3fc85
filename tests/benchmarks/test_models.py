"""The table of real architectures: what it claims, that it is up to date, and some of its rows measured again."""

import json

import pytest
import torch

pytest.importorskip("transformers", reason="the transformers package makes the architectures")

from benchmarks import models
from benchmarks.architectures import ARCHITECTURES
from tests.marks import some_long

WRONG = 1e-4


@pytest.fixture(scope="module")
def results() -> dict:
    return json.loads(models.RESULTS.read_text())


def test_every_architecture_has_a_row(results):
    assert list(results["models"]) == list(ARCHITECTURES)


def test_no_answer_is_wrong(results):
    for name, row in results["models"].items():
        for kind in ("static", "dynamic"):
            assert max(row[kind]["errors"]) < WRONG, (name, kind)


def test_most_become_one_engine(results):
    whole = [name for name, row in results["models"].items() if row["static"]["engines"] == 1]
    assert len(whole) >= 22


def test_whatever_is_left_over_has_a_reason(results):
    for row in results["models"].values():
        for kind in ("static", "dynamic"):
            left = row[kind]["nodes"] - row[kind]["trt"]
            assert bool(left) == bool(row[kind]["reasons"])
            assert all(reason["message"] for reason in row[kind]["reasons"])


def test_the_page_is_generated_from_the_results(results):
    written = models.PAGE.read_text()
    assert written.partition("\n<!-- begin ")[0] == models.page(results), "run python benchmarks/models.py --page"


def test_a_failure_is_shown_on_the_page(results):
    row = {"family": "text encoder", "static": {"failed": "the process crashed"}, "dynamic": {"failed": "no"}}
    text = models.page({**results, "models": {"BERT": row}})
    assert "| BERT | text encoder | failed | failed |  |  | failed |  |  |" in text
    assert "- **BERT**, fixed shapes: failed: the process crashed" in text


@pytest.mark.model
@pytest.mark.parametrize(
    "name", some_long(["RoBERTa", "T5 decoder", "Mixtral", "Wav2Vec2", "DETR", "DINOv2"], short=("DINOv2",))
)
def test_rows_measured_again(name, results):
    row, kept = models.measure(name), results["models"][name]
    for kind in ("static", "dynamic"):
        assert "failed" not in row[kind]
        assert max(row[kind]["errors"]) < WRONG
        # Other releases of torch and transformers export other operators.
        if results["versions"]["torch"] == torch.__version__:
            assert row[kind]["engines"] <= kept[kind]["engines"]
