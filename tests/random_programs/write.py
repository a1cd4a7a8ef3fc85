"""Write the program of a number."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from .builder import Builder, Unfit
from .layouts import LAYOUTS, OVERLAPPING
from .lines import (
    control,
    dtypes,
    indexing,
    layers,
    pointwise,
    reductions,
    search,
    sequences,
    sizes,
    state,
    windows,
    writes,
)
from .program import Argument, Case, Program, mode_of, seed_all

Step = Callable[[Builder], None]

_ATTEMPTS = 14
"""Lines tried in one place, before the program goes on without."""


def random_program(number: int) -> Program:
    """The program of that number, always the same one with the same PyTorch."""
    for variant in range(20):
        choice = random.Random(number * 64 + variant)
        try:
            return _written(number, choice)
        except Unfit:
            continue
    raise Unfit(f"no program {number}")


def _written(number: int, choice: random.Random) -> Program:
    dtype = choice.choices(["float32", "float16", "bfloat16", "float64"], [70, 10, 8, 12])[0]
    case = _case(choice, dtype)
    ranges = {} if case.frontend != "dynamic" and choice.random() < 0.3 else _ranges(choice)
    arguments = _arguments(choice, dtype, ranges, case)
    used = {item for argument in arguments for item in argument.shape if isinstance(item, str)}
    ranges = {name: ends for name, ends in ranges.items() if name in used}
    if case.examples:
        ranges = {name: (usual, usual, usual) for name, (_, usual, _) in ranges.items()}
    empty = Program(number, dtype, arguments, ranges, (), (), "None", case, _defaults(choice, arguments, case))
    builder = Builder(empty, empty.sizes(4), choice)
    strange = choice.random()
    for _ in range(choice.randint(3, 13)):
        _add_line(builder, strange)
    if len(builder.lines) < 2:
        raise Unfit("too short")
    returned = _returned(builder)
    text = "\n".join([*(line.text for line in builder.lines), returned])
    made = tuple(layer for layer in builder.layers if re.search(rf"self\.{_layer_name(layer)}\b", text))
    program = replace(empty, layers=made, lines=tuple(builder.lines), returned=returned)
    _check(program)
    return program


def _layer_name(statement: str) -> str:
    found = re.match(r'self\.(?:register_buffer\("(\w+)"|(\w+) = )', statement)
    assert found is not None
    return found[1] or found[2]


def _check(program: Program) -> None:
    """Raise Unfit unless it runs at all sizes that it will be tried with."""
    for dims in program.sizes():
        args, kwargs = program.placed(program.tensors(dims))
        try:
            with mode_of(program):
                seed_all(program.number)
                program.model()(*args, **kwargs)
        except Exception as error:
            raise Unfit(str(error)) from error


def _case(choice: random.Random, dtype: str) -> Case:
    frontend = choice.choices(
        ["dynamo", "exported", "torch_compile", "dynamic", "ts", "script", "fx"], [36, 10, 12, 8, 8, 8, 18]
    )[0]
    options: dict[str, object] = {"min_block_size": choice.choice([1, 1, 1, 2, 5])}
    if dtype == "float32" and choice.random() < 0.1:
        options["enabled_precisions"] = [choice.choice(["float16", "bfloat16"])]
    if dtype == "float64" and choice.random() < 0.4:
        options["truncate_double"] = True
    executor = "pytorch" if choice.random() < 0.1 else "reference"
    saved = choice.random() < 0.3 and frontend in ("dynamo", "exported", "fx", "ts", "script")
    examples = choice.random() < 0.15 and frontend not in ("dynamic", "exported")
    mode = choice.choices(["no_grad", "grad", "inference"], [80, 14, 6])[0]
    return Case(frontend, executor, options, saved, examples, mode)


def _ranges(choice: random.Random) -> dict[str, tuple[int, int, int]]:
    batch = choice.choice([(1, 2, 4), (1, 3, 3), (2, 2, 5), (1, 4, 8), (0, 2, 4), (2, 3, 7), (1, 1, 6), (0, 1, 2)])
    rows = choice.choice(
        [(9, 12, 40), (2, 5, 9), (1, 4, 13), (3, 3, 11), (4, 8, 16), (0, 3, 6), (7, 7, 8), (1, 16, 33)]
    )
    other = choice.choice([(2, 6, 10), (1, 2, 3), (5, 8, 8), (4, 4, 12)])
    return {"batch": batch, "rows": rows, "width": other}


def _arguments(
    choice: random.Random, dtype: str, ranges: dict[str, tuple[int, int, int]], case: Case
) -> tuple[Argument, ...]:
    dynamic = set(choice.sample(sorted(ranges), choice.randint(1, len(ranges)))) if ranges else set()
    fixed = {"batch": choice.choice([1, 2, 3]), "rows": choice.choice([1, 4, 5, 9]), "width": choice.choice([4, 6])}
    size = {name: name if name in dynamic else fixed[name] for name in fixed}
    features = choice.choice([4, 6, 8, 8, 16, 24])
    if choice.random() < 0.1:
        features = choice.choice([1, 2, 3, 5, 64])
    forms: list[tuple[int | str, ...]] = [
        (size["batch"], features),
        (size["batch"], size["rows"], features),
        (size["batch"], size["rows"], features),
        (size["batch"], features, size["rows"]),
        (size["batch"], 4, size["rows"], size["width"]),
        (size["batch"], 3, 8, size["width"]),
        (size["rows"], features),
        (size["rows"],),
        (features, features),
        (),
        (size["batch"], 0),
        (1, size["rows"], 1),
    ]
    names = choice.sample(["x", "y", "z", "input", "hidden", "weight", "other", "self_", "mask", "out"], 4)
    first = choice.choice(forms[:7])
    values = choice.choice(["normal"] * 5 + ["equal"])
    found = [Argument(names[0], first, dtype, values, layout=_layout(choice), kind=_kind(choice, case))]
    for name in names[1 : choice.choice([1, 1, 2, 2, 3, 4])]:
        draw = choice.random()
        if draw < 0.4:
            shape = choice.choice([first, first, first[-2:], (first[0],), choice.choice(forms)])
            kind, values = choice.choice([dtype, dtype, dtype, "float32", "float16", "float64"]), "normal"
        elif draw < 0.75:
            shape = choice.choice([first[:2], first[:1], first, (4,)])
            kind, values = (
                choice.choice(["int64", "int64", "int32", "uint8", "int8", "int16"]),
                choice.choice(["index", "small"]),
            )
        else:
            shape, kind, values = choice.choice([first, first[:2], first[:1], first[-2:]]), "bool", "mask"
        places = ["positional"] * 10 + ["keyword", "dict", "list", "rest", "named"]
        place = choice.choice(places) if case.frontend not in ("script",) else "positional"
        found.append(Argument(name, tuple(shape), kind, values, place, _layout(choice), _kind(choice, case)))
    return tuple(found)


def _layout(choice: random.Random) -> str:
    if choice.random() > 0.18:
        return "contiguous"
    usual = [name for name in LAYOUTS if name != "contiguous" and name not in OVERLAPPING]
    return choice.choice([*usual, *usual, *sorted(OVERLAPPING)])


def _kind(choice: random.Random, case: Case) -> str:
    if case.frontend == "script" or choice.random() > 0.1:
        return "tensor"
    return choice.choice(["parameter", "subclass", *(["grad"] * 3 if case.mode == "grad" else [])])


def _defaults(choice: random.Random, arguments: Sequence[Argument], case: Case) -> tuple[str, ...]:
    """Arguments with default values, which nobody gives; behind them, `*rest` would be taken for theirs."""
    if case.frontend == "script" or choice.random() > 0.2 or any(a.place == "rest" for a in arguments):
        return ()
    every = ["scale: float = 0.5", "flag: bool = True", "count: int = 2", "extra: Tensor | None = None"]
    return tuple(sorted(choice.sample(every, choice.randint(1, 4)), key=every.index))


# Lines.


def _add_line(builder: Builder, strange: float) -> None:
    """Add one line of some family; nothing if none fits."""
    steps, weights = zip(*_FAMILIES.values(), strict=True)
    odd = [
        weight * (1.6 if name in _STRANGE and strange > 0.5 else 1)
        for name, weight in zip(_FAMILIES, weights, strict=True)
    ]
    for _ in range(_ATTEMPTS):
        try:
            builder.choice.choices(steps, odd)[0](builder)
            return
        except Unfit:
            continue


def _expression(templates: Sequence[str]) -> Step:
    def add(builder: Builder) -> None:
        builder.let(builder.filled(builder.choice.choice(templates)))

    return add


def _statement(templates: Sequence[str]) -> Step:
    def add(builder: Builder) -> None:
        builder.line(builder.filled(builder.choice.choice(templates)))

    return add


def _host(templates: Sequence[str], prefix: str) -> Step:
    def add(builder: Builder) -> None:
        builder.let(builder.filled(builder.choice.choice(templates)), prefix)

    return add


def _layer(choices: Sequence[tuple[str, str]], *, statement: bool = False) -> Step:
    def add(builder: Builder) -> None:
        make, call = builder.choice.choice(choices)
        found = re.search(r"\{([xi]\d?)\}", call)
        given = {}
        if found:
            # The layer is made for the sizes of what it is called with.
            given[found[1]] = builder.filled(f"{{{found[1]}}}")
        layer = builder.layer(builder.filled(make, **given), "layer")
        number = builder.new("")
        text = builder.filled(call, **given, m=layer, N=number)
        if "{N}" in call:
            builder.line(text, f"out{number}")
        elif statement:
            builder.line(text)
        else:
            builder.let(text)

    return add


def _recipe(builder: Builder) -> None:
    statements = builder.choice.choice(list(layers.RECIPES.values()))
    number = builder.new("")
    joined = builder.filled("\n@".join(statements), N=number)
    builder.lines_of(joined.split("\n@"))


def _result(templates: Sequence[str]) -> Step:
    """Statements whose result is `out` and a number."""

    def add(builder: Builder) -> None:
        number = builder.new("")
        builder.line(builder.filled(builder.choice.choice(templates), N=number), f"out{number}")

    return add


_FAMILIES: dict[str, tuple[Step, float]] = {
    "layer": (_layer(layers.LAYERS), 17),
    "subclass": (_layer(layers.SUBCLASSES), 1.5),
    "function": (_expression(layers.FUNCTIONS), 6),
    "recipe": (_recipe, 5),
    "float": (_expression(pointwise.FLOAT), 16),
    "whole": (_expression(pointwise.WHOLE), 5),
    "logical": (_expression(pointwise.LOGICAL), 6),
    "cast": (_expression(pointwise.CASTS), 3),
    "reduction": (_expression(reductions.REDUCTIONS), 9),
    "shape": (_expression(indexing.SHAPES), 11),
    "gather": (_expression(indexing.GATHERS), 6),
    "data-dependent": (_expression(indexing.DATA_DEPENDENT), 2),
    "host": (_host(sizes.HOST, "n"), 4),
    "read": (_host(sizes.READ, "n"), 1),
    "read float": (_host(sizes.READ_FLOAT, "f"), 2.5),
    "use of a number": (_expression(sizes.USES), 7),
    "write": (_statement(writes.WRITES), 6),
    "write to a buffer": (_layer(writes.BUFFERS, statement=True), 1.5),
    "control": (_result(control.CONTROL), 4),
    "cell": (_layer(control.CELLS), 2),
    "promoted": (_expression(dtypes.PROMOTED), 4),
    "limits": (_expression(dtypes.LIMITS), 4),
    "special": (_expression(dtypes.SPECIALS), 4),
    "search": (_expression(search.SEARCH), 7),
    "window": (_layer(windows.WINDOWS), 5),
    "resampled": (_expression(windows.RESAMPLED), 2),
    "sequence": (_layer(sequences.SEQUENCES), 4),
    "attention": (_expression(sequences.ATTENTION), 3),
    "asked": (_result(state.ASKED), 3),
    "state": (_result(state.STATE), 3),
}
_STRANGE = {
    "data-dependent",
    "host",
    "read",
    "read float",
    "use of a number",
    "write",
    "write to a buffer",
    "control",
    "asked",
    "state",
}


# Results.


def _returned(builder: Builder) -> str:
    choice = builder.choice
    made = [n for n in builder.variables if isinstance(builder.value(n), torch.Tensor)]
    unused = [n for n in builder.unused if n in made]
    last = unused[-3:] or made[-1:]
    others = [n for n in unused if n not in last] + choice.sample(made, min(1, len(made)))
    names = list(dict.fromkeys([*last, *(others if choice.random() < 0.3 else [])]))[:4]
    hosts = [n for n in builder.variables if isinstance(builder.value(n), int | float)]
    draw = choice.random()
    if len(names) == 1 and draw < 0.6:
        return names[0]
    if builder.program.case.frontend == "script":
        return ", ".join(names) + ("," if len(names) == 1 else "")
    if hosts and choice.random() < 0.25:
        names.append(choice.choice(hosts))
    forms = [
        "{all},",
        "{all},",
        "[{all}]",
        "{{{dict}}}",
        "Found({first}, {last})",
        "{{'a': {first}, 'rest': ({all},)}}",
        "({first}, ({all},), None)",
        "{first}, {first}",
        "[{first}, {{'n': {last}}}]",
        "{first}.unsqueeze(0).max(0)",
        "Answer(first={first}, last={last})",
        "{{'answer': Answer({first}, {last}), 'all': [{all}]}}",
        "OrderedDict(z={last}, a={first})",
        "{{'z': {first}, 'b': {{'y': {last}, 'a': {first}}}, 'a': {last}}}",
        # The same elements twice, as several tensors.
        "{first}, {first}.reshape(-1), {last}.unsqueeze(0)",
        "{first}.view({first}.shape), {first}.detach(), {first}",
        "{last}[None], {last}[..., None], {first}.clone()",
        "{first}, {first}[..., :1], {last}.mT",
        "(({last},), [], {first}, 2.5, 'text', None, True)",
    ]
    form = choice.choices(forms, [8, 8, 2, 3, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1])[0]
    return form.format(
        all=", ".join(names),
        first=names[0],
        last=names[-1],
        dict=", ".join(f"'{name}': {name}" for name in names),
    )
