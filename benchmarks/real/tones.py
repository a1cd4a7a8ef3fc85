"""A voice-like tone whose pitch is known at every moment, and how results of pitch trackers are compared."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from case import Result
from torch import Tensor

RATE = 16000
LOW, HIGH = 196.0, 440.0


def glide(seconds: float) -> Tensor:
    """Ten harmonics, each weaker than the one before, that rise from LOW to HIGH hertz: float32 [samples] at 16 kHz."""
    moments = torch.arange(int(seconds * RATE), dtype=torch.float64) / RATE
    growth = math.log(HIGH / LOW) / seconds
    phase = 2 * math.pi * LOW * (torch.exp(growth * moments) - 1) / growth
    tone = sum(torch.sin(phase * number) / number**1.5 for number in range(1, 11))
    assert isinstance(tone, Tensor)
    return (0.4 * tone / tone.abs().max()).float()


def pitch_of_glide(moment: float, seconds: float) -> float:
    """The glide's pitch in hertz."""
    return LOW * (HIGH / LOW) ** (moment / seconds)


def in_cents(pitches: Iterable[float], step: float, seconds: float) -> Result:
    """Pitches in hertz at every `step` seconds as cents above 10 Hz (0 for no pitch), and how near to the truth."""
    found = [float(pitch) for pitch in pitches]
    cents = tuple(_cents(pitch) for pitch in found)
    errors = sorted(
        abs(cent - _cents(pitch_of_glide(index * step, seconds)))
        for index, cent in enumerate(cents)
        if cent and index * step <= seconds
    )
    median = errors[len(errors) // 2] if errors else math.nan
    return Result(cents, f"{len(errors)} of {len(found)} frames have a pitch, half of them within {median:.0f} cents")


def _cents(pitch: float) -> float:
    return 1200 * math.log2(pitch / 10) if pitch > 10 and math.isfinite(pitch) else 0.0
