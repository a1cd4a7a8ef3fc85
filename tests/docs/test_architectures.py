"""The tables of every architecture: what they say of a row, and that they are up to date."""

from __future__ import annotations

from docs import generate
from docs.generate import filled
from docs.generator.architectures import architecture_blocks, section

VERSIONS = {"torch": "2.11.0", "transformers": "5.17.0"}


def test_every_outcome_is_told_with_its_reason() -> None:
    rows = {
        "a": {"outcome": "one engine", "words": "", "engines": 1},
        "b": {"outcome": "several", "words": "2 × aten.rand (TP207); 1 × aten.histc (TP101)", "engines": 2},
        "c": {"outcome": "crash", "words": "KeyError: 'x' | y", "engines": 0},
        "d": {"outcome": "not made", "words": "ValueError: no"},
        "e": {"outcome": "one engine", "words": "", "engines": 1, "by_examples": "x", "unstable": [0.5, 0.4]},
        "f": {"outcome": "one engine, checks", "words": "1 × aten._assert_scalar (TP101)", "engines": 1},
    }
    text = section({kind: {**row, "versions": VERSIONS} for kind, row in rows.items()}, {}, {})
    assert (
        "Of 5 kinds that PyTorch can run torch.export takes 5; of these 4 are right, 2 of them in one engine (1 more "
        in text
    )
    assert "0 are wrong, 1 crash, 0 are too slow" in text
    assert "| `aten.rand`, `aten.histc` | 1: b |" in text
    assert "| `aten._assert_scalar` | 1: f |" in text
    assert r"| c | crash | KeyError: 'x' \| y |" in text
    assert "`decide_by_examples=True`, for inputs by which they decide as by the examples: e." in text
    assert "last digits decide: e." in text
    assert "timm" not in text


def test_the_tables_are_current() -> None:
    text = (generate.FOLDER / "models.md").read_text(encoding="utf-8")
    assert filled(text, architecture_blocks()) == text, "docs/models.md is stale: run `make docs`"
