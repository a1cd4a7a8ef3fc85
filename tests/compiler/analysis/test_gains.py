"""Gains by hand, and against partitioning again for real with the verdicts changed."""

from __future__ import annotations

import json
import math
import random
from collections import Counter

import pytest
import torch
from trt_passes.compiler.analysis import gains
from trt_passes.compiler.analysis.cost import boundary_cost
from trt_passes.compiler.analysis.fallbacks import demoted_groups, fallback_groups
from trt_passes.compiler.analysis.gains import Gain, fallback_gains
from trt_passes.compiler.ir.annotations import annotations_of, set_verdict
from trt_passes.compiler.ir.ledger import Verdict
from trt_passes.compiler.ir.program import Program
from trt_passes.compiler.pass_base import Context
from trt_passes.compiler.settings import Settings
from trt_passes.passes.partition import Partition

from tests.compiler.analysis.partitioned import at_line, exported, judged, partitioned, random_program

X = torch.randn(2, 16, 64)  # 8,192 bytes


class TwoRegions(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.relu().exp().sort().values.sin().cos()


two_regions = TwoRegions()


def test_a_fallback_between_two_segments() -> None:
    program = partitioned(judged(exported(two_regions, (X,)), {"sort"}))
    found = fallback_gains(program)
    (item,) = found.fallbacks
    assert item.group.ops == ("aten.sort",)
    assert item.group.nodes == ("sort", "getitem")
    assert item.group.line == "return x.relu().exp().sort().values.sin().cos()"
    assert item.group.source is not None
    assert item.group.source.endswith(f"test_gains.py:{TwoRegions.forward.__code__.co_firstlineno + 1}")
    gain = item.gain
    assert gain is not None
    assert (gain.engines_before, gain.engines_after, gain.merged) == (2, 1, (("segment-00", "segment-01"),))
    assert (gain.own_nodes, gain.joined_nodes, gain.lost_nodes) == (2, 0, 0)
    # Of the 4 crossings (x in, exp out, the sorted values in, cos out), 2 remain.
    assert gain.bytes_saved == 2 * 8192
    assert [str(copies) for copies in gain.copies_saved] == ["2 copies of f32[2,16,64]"]
    assert str(gain) == (
        f"supporting aten.sort at {item.group.source} merges segment-00 and segment-01: "
        "2 engines → 1, 2 op nodes gained, 2 copies of f32[2,16,64] saved (16 KiB)"
    )
    assert (found.together, found.smaller_blocks, found.left_out) == (None, (), 0)


def test_demoted_neighbours_join() -> None:
    program = partitioned(judged(exported(two_regions, (X,)), {"sort"}), floor=3)
    assert not program.segments
    (item,) = fallback_gains(program).fallbacks
    gain = item.gain
    assert gain is not None
    assert (gain.engines_before, gain.engines_after, gain.merged) == (0, 1, ())
    assert (gain.own_nodes, gain.joined_nodes, gain.bytes_saved) == (2, 4, -2 * 8192)
    assert [str(copies) for copies in gain.copies_added] == ["2 copies of f32[2,16,64]"]
    assert str(gain).endswith(": 0 engines → 1, 6 op nodes gained, 2 copies of f32[2,16,64] added (16 KiB)")


def test_a_smaller_block_keeps_demoted_nodes() -> None:
    def forward(x: torch.Tensor) -> torch.Tensor:
        return x.relu().exp().sin().sort().values.cos().tan().sort().values.abs()

    program = partitioned(judged(exported(forward, (X,)), {"sort"}), floor=3)
    assert [item.nodes for item in program.segments] == [("relu", "exp", "sin")]
    one_less, all_of_them = fallback_gains(program).smaller_blocks
    assert one_less.change == "lowering min_block_size from 3 to 2"
    assert (one_less.engines_after, one_less.nodes_gained) == (2, 2)
    assert all_of_them.change == "lowering min_block_size from 3 to 1"
    assert (all_of_them.engines_after, all_of_them.nodes_gained) == (3, 3)


def test_the_settings_give_the_block_size_where_the_pass_does_not() -> None:
    settings = Settings(min_block_size=3)
    program = Partition().run(judged(exported(two_regions, (X,)), {"sort"}), Context(settings=settings))
    (gain,) = fallback_gains(program, settings).smaller_blocks
    assert (gain.change, gain.engines_after) == ("lowering min_block_size from 3 to 2", 2)


def test_lines_that_only_help_together_say_so() -> None:
    def forward(x: torch.Tensor) -> torch.Tensor:
        return x.relu().exp().sort().values.cumsum(0).sin()

    program = at_line(exported(forward, (X,)), lambda name: 2 if name == "cumsum" else 1)
    program = partitioned(judged(program, {"sort", "cumsum"}), floor=2)
    found = fallback_gains(program)
    assert [item.group.ops for item in found.fallbacks] == [("aten.sort",), ("aten.cumsum",)]
    assert [item.gain.nodes_gained for item in found.fallbacks if item.gain] == [2, 2]
    assert found.together is not None
    assert found.together.change == "supporting all 2 source lines"
    assert (found.together.engines_before, found.together.engines_after) == (1, 1)
    assert (found.together.own_nodes, found.together.joined_nodes) == (3, 1)


def test_pairs_that_only_help_together_are_found() -> None:
    def forward(x: torch.Tensor) -> torch.Tensor:
        y = x.relu().exp().sort().values.cumsum(0).sin().cos()
        return y.abs().tan()

    lines = {"sort": 2, "getitem": 2, "cumsum": 3, "tan": 4}
    program = at_line(exported(forward, (X,)), lambda name: lines.get(name, 1))
    program = partitioned(judged(program, {"sort", "cumsum", "tan"}), floor=1)
    found = fallback_gains(program)
    assert not any(item.gain.helps for item in found.fallbacks if item.gain)
    (pair,) = found.pairs
    assert {group.source for group in pair.groups} == {"model.py:2", "model.py:3"}
    assert pair.gain.merged == (("segment-00", "segment-01"),)
    assert str(pair.gain).startswith("supporting aten.sort at model.py:2 and aten.cumsum at model.py:3 together merges")
    changed = program.copy()
    for name in (*pair.groups[0].nodes, *pair.groups[1].nodes):
        set_verdict(changed.node(name), Verdict.TRT)
    own = {*pair.groups[0].nodes, *pair.groups[1].nodes}
    assert_is_difference(pair.gain, program, partitioned(changed, 1), own)


def test_what_a_fallback_costs() -> None:
    program = partitioned(judged(exported(two_regions, (X,)), {"sort"}))
    cost = boundary_cost(program, fallback_groups(program)[0].nodes)
    assert (cost.read, cost.given, cost.nbytes, cost.unknown) == (1, 1, 2 * 8192, 0)
    assert str(cost) == "reads 1 tensor from engines and gives 1 tensor to engines on every call, 16 KiB"
    assert str(boundary_cost(program, ())) == "exchanges no tensor with an engine"


def test_a_fallback_that_gains_nothing() -> None:
    program = partitioned(judged(exported(two_regions, (X,)), {"sort", "sin", "exp", "relu", "cos"}), floor=6)
    program = at_line(program, lambda name: len(name))
    texts = [str(item.gain) for item in fallback_gains(program).fallbacks]
    assert "supporting aten.relu, aten.sort at model.py:4 changes nothing by itself" in texts


def test_what_the_user_excluded_is_allowed_not_supported() -> None:
    program = partitioned(judged(exported(two_regions, (X,)), {"sort"}, Verdict.EXCLUDED))
    (item,) = fallback_gains(program).fallbacks
    assert str(item.gain).startswith("allowing aten.sort at ")


def chain_with_fallbacks() -> Program:
    """10 operators on lines 1 to 10; `tan`, which stays in PyTorch, on lines 3 (between segments) and 10 (the last)."""

    def forward(x: torch.Tensor) -> torch.Tensor:
        return x.sin().cos().tan().exp().abs().neg().sin().cos().exp().tan()

    program = exported(forward, (X,))
    lines = {node.name: index + 1 for index, node in enumerate(program.op_nodes)}
    return partitioned(judged(at_line(program, lines.__getitem__), {"tan"}), floor=2)


def test_gains_are_ranked_and_the_most_promising_are_analysed() -> None:
    program = chain_with_fallbacks()
    found = fallback_gains(program)
    assert [item.group.source for item in found.fallbacks] == ["model.py:3", "model.py:10"]
    backwards = judged(program.copy(), {"tan", "sin_1", "sin"})
    found = fallback_gains(partitioned(backwards, floor=1), most_groups=1)
    assert [item.gain is not None for item in found.fallbacks] == [True, False, False, False]
    assert found.fallbacks[0].group.source == "model.py:3"
    assert found.left_out == 3
    assert str(found).splitlines()[-1] == "3 more source lines not analysed"


def test_large_programs_get_few_partitions(monkeypatch: pytest.MonkeyPatch) -> None:
    program = judged(chain_with_fallbacks(), {"tan", "exp", "neg"})
    monkeypatch.setattr(gains, "PARTITIONED_NODES", 10)
    found = fallback_gains(partitioned(program))
    assert (len(found.fallbacks), found.left_out) == (5, 5 - gains.LEAST_GROUPS)


def test_without_a_partition_every_group_is_left_out() -> None:
    program = judged(exported(two_regions, (X,)), {"sort"})
    found = fallback_gains(program)
    assert (found.left_out, found.together, found.smaller_blocks) == (1, None, ())


def test_groups_cover_every_fallback_once() -> None:
    program = partitioned(judged(exported(two_regions, (X,)), {"sort"}), floor=3)
    grouped = [name for group in (*fallback_groups(program), *demoted_groups(program)) for name in group.nodes]
    expected = [row.node for row in program.ledger if row.verdict is not Verdict.TRT]
    assert sorted(grouped) == sorted(expected)
    (demoted,) = demoted_groups(program)
    assert (demoted.ops, demoted.codes) == (("aten.relu", "aten.exp", "aten.sin", "aten.cos"), ("TP301",))


def test_nodes_without_a_line_are_grouped_by_operator_and_module() -> None:
    program = partitioned(judged(exported(two_regions, (X,)), {"sort", "sin", "cos"}))
    for node in program.op_nodes:
        node.meta.pop("stack_trace")
    groups = fallback_groups(program)
    assert [(group.source, group.line, group.ops) for group in groups] == [
        (None, "", ("aten.sort",)),
        (None, "", ("aten.sin",)),
        (None, "", ("aten.cos",)),
    ]
    assert str(groups[0]) == "aten.sort at %sort"


def test_gains_are_json() -> None:
    program = partitioned(judged(chain_with_fallbacks(), {"tan"}), floor=3)
    data = json.loads(json.dumps(fallback_gains(program).to_json()))
    assert data["fallbacks"][0]["gain"]["engines_after"] == 1
    assert data["fallbacks"][0]["group"]["source"] == "model.py:3"
    assert data["left_out"] == 0


# --- against partitioning again ---------------------------------------------------------------------------------------
def bytes_at_borders(program: Program) -> int:
    total = 0
    for segment in program.segments:
        for name in (*segment.inputs, *segment.outputs):
            value = program.node(name).meta["val"]
            sizes = [size if isinstance(size, int) else size.node.hint for size in value.shape]
            total += math.prod(sizes) * value.element_size()
    return total


def merged_by_hand(before: Program, after: Program) -> set[frozenset[str]]:
    """Segments whose nodes mostly end up in the same segment, the first of them where there are several."""
    homes = {}
    for segment in before.segments:
        counts = Counter(n.name for n in after.segments for name in segment.nodes if name in n.nodes)
        homes[segment.name] = max(counts, key=lambda name: counts[name]) if counts else None
    groups = {frozenset(s for s, home in homes.items() if home == target) for target in homes.values() if target}
    return {group for group in groups if len(group) > 1}


def assert_is_difference(gain: Gain, before: Program, after: Program, own: set[str]) -> None:
    taken = {row.node for row in before.ledger if row.verdict is Verdict.TRT}
    would = {row.node for row in after.ledger if row.verdict is Verdict.TRT}
    assert (gain.engines_before, gain.engines_after) == (len(before.segments), len(after.segments))
    assert gain.own_nodes == len((would - taken) & own)
    assert gain.joined_nodes == len((would - taken) - own)
    assert gain.lost_nodes == len(taken - would)
    assert gain.bytes_saved == bytes_at_borders(before) - bytes_at_borders(after)
    assert {frozenset(names) for names in gain.merged} == merged_by_hand(before, after)


@pytest.mark.parametrize("seed", range(6))
def test_gains_equal_those_of_partitioning_again(seed: int) -> None:
    whole = random_program(seed, 14)
    rng = random.Random(seed)
    names = [node.name for node in whole.op_nodes if not node.name.startswith(("getitem", "sym_size", "mul_sym"))]
    for _ in range(5):
        fallbacks = set(rng.sample(names, rng.randrange(1, 6)))
        floor = rng.choice((1, 2, 3, 5))
        options = {"merge_independent": rng.random() < 0.7, "max_segment_nodes": rng.choice((10, 2000))}
        before = partitioned(judged(whole.copy(), fallbacks), floor, **options)
        text = str([(node.name, annotations_of(node)) for node in before.op_nodes])
        found = fallback_gains(before)
        assert text == str([(node.name, annotations_of(node)) for node in before.op_nodes])
        ranks = [item.gain.rank for item in found.fallbacks if item.gain]
        assert ranks == sorted(ranks, reverse=True)
        assert len(ranks) == len(found.fallbacks)
        for item in found.fallbacks:
            changed = before.copy()
            for name in item.group.nodes:
                set_verdict(changed.node(name), Verdict.TRT)
            assert item.gain is not None
            assert_is_difference(item.gain, before, partitioned(changed, floor, **options), set(item.group.nodes))
        for gain in found.smaller_blocks:
            lower = int(gain.change.rpartition(" ")[2])
            assert lower < floor
            assert_is_difference(gain, before, partitioned(before, lower, **options), set())
