"""The registry: immutable, one converter per target, and importable without TensorRT."""

import subprocess
import sys

import pytest
import torch
from trt_passes.compiler.ir.reasons import REASON_CODES
from trt_passes.passes.convert import Condition, Converter, Family, Registry, default_registry

aten = torch.ops.aten


def nothing(ctx, call):
    return None


def test_importing_the_registry_does_not_import_tensorrt():
    code = (
        "import sys; from trt_passes.passes.convert import default_registry; default_registry();"
        "sys.exit(any(name.split('.')[0] in ('tensorrt', 'tensorrt_rtx') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_two_converters_of_one_target_are_an_error():
    converters = [Converter((aten.relu.default,), nothing), Converter((aten.relu.default,), nothing)]
    with pytest.raises(ValueError, match=r"aten\.relu has two converters"):
        Registry.of(converters)


def test_extended_replaces_and_leaves_the_original_alone():
    extended = default_registry().extended([Converter((aten.relu.default,), nothing)])
    assert extended.get(aten.relu.default).convert is nothing
    assert default_registry().get(aten.relu.default).convert is not nothing


def test_a_condition_has_a_known_code():
    with pytest.raises(ValueError, match="unknown reason code 'TP999'"):
        Condition("TP999", "it is so", lambda call: None)


def test_conditions_are_documented_sentences_with_codes_of_rejections():
    for converter in default_registry().converters.values():
        for condition in converter.rules:
            assert condition.code.startswith("TP2")
            assert condition.code in REASON_CODES
            assert condition.doc
            assert not condition.doc.endswith(".")


def test_every_converter_has_a_docstring():
    for target, converter in default_registry().converters.items():
        assert converter.convert.__doc__, target


def test_a_family_collects_what_it_decorates():
    family = Family("example")

    @family.converter(aten.relu.default, aten.tanh.default, composite=True)
    def both(ctx, call):
        """Both."""

    (converter,) = family
    assert converter.targets == (aten.relu.default, aten.tanh.default)
    assert Registry.of(family).composite_targets() == {aten.relu.default, aten.tanh.default}
