"""Pipelines: text form, editing, and the check of their order."""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trt_passes import Context, Pass, Pipeline, Program, UserError, graph_pass
from trt_passes.compiler.pipeline import DEFAULT_TEXT, STAGES, default_pipeline, known_passes, lower_passes


@dataclass(frozen=True)
class Knobs(Pass):
    """Have an option of every type."""

    name: ClassVar[str] = "knobs"

    count: int = 3
    ratio: float = 0.5
    careful: bool = True
    mode: Literal["fast", "small"] = "fast"
    limit: int | None = None
    names: tuple[str, ...] = ()
    codes: frozenset[int] = field(default_factory=frozenset)

    def run(self, program: Program, ctx: Context) -> Program:
        return program


WORDS = st.from_regex(r"[a-z][a-z0-9.]{0,6}", fullmatch=True)


@st.composite
def knobs(draw: st.DrawFn) -> Knobs:
    return Knobs(
        count=draw(st.integers()),
        ratio=draw(st.floats(allow_nan=False)),
        careful=draw(st.booleans()),
        mode=draw(st.sampled_from(["fast", "small"])),
        limit=draw(st.none() | st.integers()),
        names=tuple(draw(st.lists(WORDS, max_size=3))),
        codes=frozenset(draw(st.lists(st.integers(0, 99), max_size=3))),
    )


def every_pass() -> list[Pass]:
    return [item() for item in known_passes().values()]


@given(st.lists(knobs() | st.sampled_from(every_pass()), min_size=1, max_size=6))
def test_text_round_trips(passes: list[Pass]) -> None:
    pipeline = Pipeline(passes)
    assert Pipeline.parse(str(pipeline), extra=[Knobs]) == pipeline


@given(st.text(alphabet="abdeclowrnv,{}=[]. -\n", max_size=24))
def test_any_text_is_a_pipeline_or_a_user_error(text: str) -> None:
    try:
        pipeline = Pipeline.parse(text)
    except UserError:
        return
    assert Pipeline.parse(str(pipeline)) == pipeline


def test_the_default_is_the_seven_stages() -> None:
    assert str(default_pipeline()) == DEFAULT_TEXT == ",".join(STAGES)
    assert tuple(dict.fromkeys(item.stage for item in default_pipeline())) == STAGES
    assert tuple(item.name for item in default_pipeline()) == tuple(known_passes())


@pytest.mark.parametrize("item", every_pass(), ids=lambda item: item.name)
def test_every_pass_is_documented_data(item: Pass) -> None:
    first = (type(item).__doc__ or "").split("\n")[0]
    assert first.endswith((".", ":", ",")) or len(first) > 60, "the first line says what changes"
    assert dataclasses.is_dataclass(item)
    assert type(item).__dataclass_params__.frozen
    assert Pipeline.parse(item.name).passes == (item,)


def test_options_are_typed() -> None:
    text = " knobs{count=7, ratio=1.5,careful=false,mode=small,limit=2,names=[a,b.c],codes=[2,1]} , knobs{limit=none}"
    first, second = Pipeline.parse(text, extra=[Knobs])
    assert first == Knobs(7, 1.5, False, "small", 2, ("a", "b.c"), frozenset({1, 2}))
    assert second == Knobs()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        ("partion", "unknown pass 'partion'. Did you mean 'partition'"),
        ("lower.remove-noop", "Did you mean 'lower.remove-noops'"),
        ("decompose,,annotate", "no pass name at position 10"),
        ("decompose annotate", "where a comma belongs"),
        ("knobs{count=1", "unclosed"),
        ("knobs{count}", "count=VALUE"),
        ("knobs{cuont=1}", "no option 'cuont'. Did you mean 'count'"),
        ("knobs{count=many}", "give a number"),
        ("knobs{careful=perhaps}", "true or false"),
        ("knobs{mode=smal}", "Did you mean 'small'?"),
        ("lower{x=1}", "lower.fold-constants{…}"),
        ("decompose{x=1}", "no option 'x'"),
    ],
)
def test_wrong_text_is_one_sentence(text: str, words: str) -> None:
    with pytest.raises(UserError) as caught:
        Pipeline.parse(text, extra=[Knobs])
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_until_and_insertion() -> None:
    pipeline = default_pipeline()
    assert str(pipeline.until("lower")) == "decompose,lower"
    assert str(pipeline.until("partition")) == "decompose,lower,annotate,partition"
    assert str(pipeline.insert_before("lower", Knobs()).until("lower")) == "decompose,knobs,lower"
    assert str(pipeline.insert_after("lower", Knobs()).until("annotate")) == "decompose,lower,knobs,annotate"
    last = lower_passes()[-1].name
    assert pipeline.insert_after(last, Knobs()) == pipeline.insert_after("lower", Knobs())
    with pytest.raises(UserError, match="no pass or stage 'knobs'"):
        pipeline.until("knobs")


def test_only_passes_make_a_pipeline() -> None:
    with pytest.raises(UserError, match="a pipeline holds passes"):
        Pipeline([Knobs])  # type: ignore[list-item]


def needing(facts: frozenset[str], name: str) -> Pass:
    @graph_pass(name, kind="analysis", requires=facts)
    def check(program: Program, ctx: Context) -> Program:
        return program

    return check


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("decompose,lower,partition,annotate", "partition needs 'annotated': put annotate before it"),
        ("decompose,annotate,lower,partition", "put annotate between lower."),
        ("decompose,annotate,convert", "convert needs 'partitioned': put partition before it"),
        ("decompose,annotate,partition,splice", "splice needs 'built': put build before it"),
    ],
)
def test_impossible_orders_name_what_to_move(text: str, words: str) -> None:
    with pytest.raises(UserError) as caught:
        Pipeline.parse(text).check(frozenset({"core-aten"}))
    assert words in str(caught.value)


def test_which_orders_can_work() -> None:
    stages = ("decompose", "lower", "annotate", "partition", "convert")
    accepted = []
    for order in itertools.permutations(stages):
        try:
            Pipeline.parse(",".join(order)).check()
        except UserError:
            continue
        accepted.append(order)
    assert accepted == [
        ("decompose", "lower", "annotate", "partition", "convert"),
        ("decompose", "annotate", "partition", "convert", "lower"),
        ("lower", "decompose", "annotate", "partition", "convert"),
    ]


def test_facts_of_the_program_count() -> None:
    item = needing(frozenset({"annotated"}), "needs-annotated")
    Pipeline([item]).check(frozenset({"annotated"}))
    with pytest.raises(UserError, match="put annotate before it"):
        Pipeline([item]).check()


@pytest.mark.parametrize("name", ["Fold", "fold_constants", "a.b.c", "-a", ""])
def test_pass_names_are_kebab_case(name: str) -> None:
    with pytest.raises(TypeError, match="kebab-case"):
        graph_pass(name)(lambda program, ctx: program)


def test_graph_pass_makes_a_pass_of_a_function() -> None:
    seen: list[Any] = []

    @graph_pass("lower.look", kind="analysis", requires={"annotated"})
    def look(program: Program, ctx: Context) -> Program:
        """Look at it."""
        seen.append(program)
        return program

    assert (look.name, look.kind, look.stage, look.requires) == ("lower.look", "analysis", "lower", {"annotated"})
    assert look.__doc__ == "Look at it."
    assert str(Pipeline([look])) == "lower.look"
