"""Speech, spoken by eSpeak NG (its library and voices come with the package `espeakng-loader`)."""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

RATE = 16000
_SYNCHRONOUS, _NO_EXIT, _UTF8 = 2, 0x8000, 1
_SPEED, _PITCH = 1, 3
_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


@cache
def _library() -> tuple[Any, int]:
    import espeakng_loader

    library = ctypes.CDLL(espeakng_loader.get_library_path())
    folder = Path(espeakng_loader.get_data_path()).parent
    rate = library.espeak_Initialize(_SYNCHRONOUS, 0, str(folder).encode(), _NO_EXIT)
    if rate <= 0:
        raise RuntimeError(f"eSpeak NG finds no voices in {folder}")
    return library, rate


def spoken(text: str, voice: str = "en-us", *, speed: int = 160, pitch: int = 50) -> NDArray[np.float32]:
    """A sentence at 16 kHz, in [-1, 1].

    Args:
        voice: one of eSpeak NG's with or without a variant, such as "en-us+f3".
        speed: words a minute.
        pitch: 0 to 100.
    """
    import librosa

    library, rate = _library()
    pieces: list[NDArray[np.float32]] = []

    @_CALLBACK
    def receive(samples: Any, count: int, _events: Any) -> int:
        if samples and count > 0:
            pieces.append(np.ctypeslib.as_array(samples, (count,)).astype(np.float32) / 32768)
        return 0

    library.espeak_SetSynthCallback(receive)
    if library.espeak_SetVoiceByName(voice.encode()) != 0:
        raise ValueError(f"eSpeak NG has no voice {voice!r}")
    library.espeak_SetParameter(_SPEED, speed, 0)
    library.espeak_SetParameter(_PITCH, pitch, 0)
    encoded = text.encode() + b"\0"
    library.espeak_Synth(encoded, len(encoded), 0, 1, 0, _UTF8, None, None)
    library.espeak_Synchronize()
    return librosa.resample(np.concatenate(pieces), orig_sr=rate, target_sr=RATE).astype(np.float32)
