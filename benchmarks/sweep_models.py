"""Every architecture of transformers, made small by rule: which classes there are, and the first that answers.

Widths are divided by the largest of `DIVISORS` with which the model can be made and called (sweep_configs.py), with
the likeliest inputs that it takes (sweep_inputs.py).
"""

from __future__ import annotations

import copy
import hashlib
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from sweep_configs import small
from sweep_inputs import candidates, with_missing
from torch import nn

DIVISORS = (16, 8, 4, 2, 1)
LARGEST = 100_000_000
"""Parameters. A model that is larger after all rules was not made small, and is left out as such."""


@dataclass(frozen=True)
class Made:
    """A model that answers, with inputs for it by keyword, and the divisor of its widths."""

    model: nn.Module
    inputs: Mapping[str, torch.Tensor]
    divisor: int


class NotMade(Exception):
    """No model of this class could be made small and called by the rules; the message is the last reason."""


def model_classes() -> dict[str, str]:
    """The class that stands for each kind of model: its base model, else the first task that has one."""
    from transformers.models.auto import modeling_auto

    tables = {name: table for name, table in vars(modeling_auto).items() if name.endswith("_MAPPING_NAMES")}
    del tables["CONFIG_MAPPING_NAMES"]
    ordered = [tables.pop("MODEL_MAPPING_NAMES"), tables.pop("MODEL_FOR_CAUSAL_LM_MAPPING_NAMES"), *tables.values()]
    found: dict[str, str] = {}
    for table in ordered:
        for kind, names in table.items():
            found.setdefault(kind, names if isinstance(names, str) else names[0])
    return dict(sorted(found.items()))


def head_classes() -> dict[str, str]:
    """Every other class of a task, with its kind of model: one of each task after the other, in the order of a hash.

    So as many as there is time for are a sample of all tasks.
    """
    from transformers.models.auto import modeling_auto

    stands = set(model_classes().values())
    tasks = []
    for name, table in sorted(vars(modeling_auto).items()):
        if name.endswith("_MAPPING_NAMES") and name not in ("CONFIG_MAPPING_NAMES", "MODEL_MAPPING_NAMES"):
            pairs = [
                (each, kind) for kind, names in table.items() for each in ([names] if isinstance(names, str) else names)
            ]
            tasks.append(sorted(pairs, key=lambda pair: hashlib.sha256(pair[0].encode()).hexdigest()))
    found: dict[str, str] = {}
    for turn in itertools.zip_longest(*tasks):
        for pair in turn:
            if pair is not None and pair[0] not in stands:
                found.setdefault(*pair)
    return found


def made(kind: str, class_name: str) -> Made:
    """The model of that kind with random weights, in eval mode, called once.

    Raises:
        NotMade: no divisor gives a model that can be made and called.
    """
    reasons = []
    for is_completed in (False, True):
        for divisor in DIVISORS:
            try:
                torch.manual_seed(0)
                model = _model(class_name, small(kind, divisor, is_completed))
                inputs, failures = _answered(model)
                if inputs is not None:
                    return Made(model, inputs, divisor)
                reasons += failures[:1]
            except Exception as error:
                reasons.append(_said(error))
    raise NotMade(reasons[0])


def _answered(model: nn.Module) -> tuple[dict[str, torch.Tensor] | None, list[str]]:
    """The first inputs for which a model answers, or why it does not."""
    failures = []
    for candidate in candidates(model):
        inputs: dict[str, torch.Tensor] | None = candidate
        while inputs is not None:
            try:
                with torch.no_grad():
                    model(**inputs)
                return inputs, []
            except Exception as error:
                failures.append(_said(error))
                inputs = with_missing(error, inputs, model.config)
    return None, failures


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def _model(class_name: str, config: Any) -> nn.Module:
    import transformers

    kind = getattr(transformers, class_name)
    with torch.device("meta"):
        size = sum(parameter.numel() for parameter in kind(copy.deepcopy(config)).parameters())
    if size > LARGEST:
        raise ValueError(f"{size:,} parameters after all rules")
    return randomised(kind(config).eval())


def randomised(model: nn.Module) -> nn.Module:
    """The model, with random weights that keep the size of what passes through them."""
    for name, parameter in model.named_parameters():
        with torch.no_grad():
            if parameter.dim() > 1 and parameter.numel():
                parameter.normal_(0, parameter[0].numel() ** -0.5)
            elif name.endswith("bias"):
                parameter.normal_(0, 0.1)
    return model
