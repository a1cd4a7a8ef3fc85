"""The benchmark of imports and commands: what it starts is what it says, and how its lines compare two checkouts."""

from pathlib import Path

import pytest

from benchmarks import start


def test_a_line_compares_medians():
    before, now = [(2.0, 3.0), (9.0, 3.5), (1.0, 4.0)], [(1.0, 7.0), (0.5, 7.0), (8.0, 7.0)]
    line = start.row("`ops`", [before, now])
    assert line == "| `ops` | 2.000 s | 1.000 s | 0.50 | 3.500 s | 7.000 s | 2.00 |"
    assert start.row("`ops`", [[(2.0, 3.0)]]) == "| `ops` | 2.000 s | 3.000 s |"


def test_a_command_is_started_with_the_checkout_that_is_asked_for(tmp_path: Path):
    (tmp_path / "trt_passes").symlink_to(start.ROOT)
    seconds, printed = start.started(tmp_path, start._MAIN, ["explain", "TP203"])
    assert min(seconds) > 0
    assert printed.startswith("TP203 dynamic dimension")


def test_a_command_that_fails_ends_the_benchmark(tmp_path: Path):
    (tmp_path / "trt_passes").symlink_to(start.ROOT)
    with pytest.raises(SystemExit, match="there is no reason code"):
        start.started(tmp_path, start._MAIN, ["explain", "TP999"])


def test_all_commands_and_models_are_measured(tmp_path: Path):
    names = [name for name, _ in start.measures(tmp_path, ["small"], "dump")]
    assert len(names) == 2 + len(start.COMMANDS) + 1
    assert len(set(names)) == len(names)
