"""torchcrepe: the pitch of a glide, by its full model and its Viterbi decoder."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
import torchcrepe
import trt_passes as tp
from case import Call, Case, Part, Result, Standing
from tones import RATE, glide, in_cents

SECONDS, STEP = 0.4, 0.01


def case() -> Case:
    """Frames of 1024 samples, as many as the sound has."""
    torchcrepe.load.model("cpu", "full")
    model = torchcrepe.infer.model
    sound = glide(SECONDS)[None]

    def perform(parts: Mapping[str, Call]) -> Result:
        torchcrepe.infer.model = Standing(model, parts["crepe"], dropped=("embed",))
        torchcrepe.infer.capacity = "full"
        np.random.seed(0)  # torchcrepe dithers
        pitch = torchcrepe.predict(sound, RATE, hop_length=int(STEP * RATE), fmin=50, fmax=1000, model="full")
        return in_cents(pitch[0].tolist(), STEP, SECONDS)

    ranges = (tp.Input(min_shape=(1, 1024), opt_shape=(100, 1024), max_shape=(256, 1024)),)
    return Case(
        package="torchcrepe",
        task="pitch of a glide from 196 to 440 Hz",
        parts={"crepe": Part(model, ranges, more=((torch.randn(1, 1024),), (torch.randn(7, 1024),)))},
        perform=perform,
        tolerance=10,
        unit="cents",
    )
