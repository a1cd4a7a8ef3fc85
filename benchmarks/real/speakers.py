"""Resemblyzer: which of four voices speaks."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
import trt_passes as tp
from case import Call, Case, Part, Result
from resemblyzer import VoiceEncoder, preprocess_wav
from speech import spoken

VOICES = {"Ada": ("en-us+f3", 70), "Bert": ("en-us+m3", 20), "Cleo": ("en-us+f5", 55), "Dan": ("en-us+m7", 40)}
KNOWN = "The quick brown fox jumps over the lazy dog, and nobody in the whole village takes any notice of it."
HEARD = "Please hold the line until somebody is free to answer your call, it will not take much longer now."


def case() -> Case:
    """One sentence of each speaker is known; who speaks another sentence is the one with the most similar voice."""
    known, heard = (
        [preprocess_wav(spoken(text, voice, pitch=pitch)) for voice, pitch in VOICES.values()]
        for text in (KNOWN, HEARD)
    )
    names = list(VOICES)

    def perform(parts: Mapping[str, Call]) -> Result:
        encoder = VoiceEncoder("cpu", verbose=False)
        encoder.forward = parts["encoder"]
        references = np.stack([encoder.embed_utterance(sound) for sound in known])
        rankings = [np.argsort(-(references @ encoder.embed_utterance(sound))).tolist() for sound in heard]
        said = ", ".join(
            f"{name} is taken for {names[ranking[0]]}" for name, ranking in zip(names, rankings, strict=True)
        )
        return Result(tuple(ranking[0] for ranking in rankings), said)

    ranges = (tp.Input(min_shape=(1, 160, 40), opt_shape=(4, 160, 40), max_shape=(16, 160, 40)),)
    return Case(
        package="Resemblyzer",
        task="who of 4 speakers says a sentence",
        parts={
            "encoder": Part(
                VoiceEncoder("cpu", verbose=False).eval(),
                ranges,
                more=((torch.rand(1, 160, 40),), (torch.rand(16, 160, 40),)),
            )
        },
        perform=perform,
    )
