"""Sentences by which programs are refused for a true reason: what PyTorch's own front ends do not take."""

from __future__ import annotations

import re

TRUE_REASONS: tuple[tuple[str, str], ...] = (
    (r"torch\.fx cannot trace the model", "symbolic tracing runs no Python that depends on values or sizes"),
    (r"torch\.fx does not record", "a write that symbolic tracing cannot see"),
    (r"which torch\.fx", "likewise"),
    (r"[Dd]ata[- ]dependent", "torch.export must know what a condition on a value is"),
    (r"Could not (guard|extract specialized)", "likewise"),
    (
        r"must hold|does not allow the range|always (equal|\d)|declare",
        "the model allows fewer sizes than were declared",
    ),
    (r"^torch\.export: |^torch\.jit: ", "PyTorch's own call raised, before this package was asked"),
    (r"changes the shape, strides or memory", "a compiled program writes numbers to its inputs, and no more"),
    (
        r"PyTorch cannot convert .*(prim::Loop|prim::If|data-dependent|prim::Constant)",
        "PyTorch's TorchScript converter",
    ),
    (r"PyTorch cannot convert layer '.*' \((LSTMCell|GRUCell|RNNCell|MultiheadAttention)\)", "likewise"),
)
"""Pattern, and why that is a reason."""


def is_true_reason(sentence: str) -> bool:
    """Whether a refusal is one of those known to be right."""
    return any(re.search(pattern, sentence) for pattern, _ in TRUE_REASONS)


def kind_of(sentence: str) -> str:
    """A sentence without what differs from program to program: numbers, quoted names, places."""
    text = sentence.strip().splitlines()[0] if sentence.strip() else ""
    text = re.sub(r"^(saving: )?at \{.*?\}: ", "at a call: ", text)
    text = re.sub(r"\((-?\d+(, )?,?)*\)", "(N)", text)
    text = re.sub(r"<random_program_\d+>|\S*random_program\S*", "FILE", text)
    text = re.sub(r"'[^']*'|\"[^\"]*\"|`[^`]*`", "'…'", text)
    text = re.sub(r"\b[a-z]+_?\d+\b", "N", text)
    return re.sub(r"-?\d+(\.\d+)?", "N", text)[:220]
