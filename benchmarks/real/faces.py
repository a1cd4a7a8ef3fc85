"""facenet-pytorch's MTCNN: the faces in a photograph, by three networks and the package's code between them."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib.util import find_spec
from types import ModuleType

import numpy as np
import torch
import trt_passes as tp
from case import Call, Case, Part, Result, Standing
from numpy.typing import NDArray
from torch import Tensor

SMALLEST_FACE = 40


def batched_nms(boxes: Tensor, scores: Tensor, groups: Tensor, threshold: float) -> Tensor:
    """What torchvision's function of this name does: indices of boxes that no better one of their group overlaps.

    Args:
        boxes: corners x1, y1, x2, y2, [n, 4].
        scores: [n]; groups: [n]. The kept indices come from the best score to the worst.
        threshold: of intersection over union.
    """
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    waiting = torch.argsort(scores, descending=True, stable=True)
    kept: list[Tensor] = []
    while len(waiting):
        best, waiting = waiting[0], waiting[1:]
        kept.append(best)
        low = torch.maximum(boxes[best, :2], boxes[waiting, :2])
        high = torch.minimum(boxes[best, 2:], boxes[waiting, 2:])
        shared = (high - low).clamp(min=0).prod(1)
        overlap = shared / (areas[best] + areas[waiting] - shared)
        waiting = waiting[(overlap <= threshold) | (groups[waiting] != groups[best])]
    return torch.stack(kept) if kept else torch.empty(0, dtype=torch.int64)


def stand_in_for_torchvision() -> bool:
    """Let facenet_pytorch be imported without torchvision, of which it calls `batched_nms` on the CPU only.

    PyPI's torchvision does not load beside a PyTorch built without CUDA. True if it is missing.
    """
    if find_spec("torchvision") is not None:
        return False
    modules = {name: ModuleType(name) for name in ("torchvision", "torchvision.transforms", "torchvision.ops")}
    functional, boxes = ModuleType("torchvision.transforms.functional"), ModuleType("torchvision.ops.boxes")
    boxes.batched_nms = batched_nms  # type: ignore[attr-defined]
    modules["torchvision.transforms"].functional = functional  # type: ignore[attr-defined]
    modules |= {functional.__name__: functional, boxes.__name__: boxes}
    sys.modules.update(modules)
    return True


def photograph() -> NDArray[np.uint8]:
    """The photograph of an astronaut that scikit-image ships, and the same smaller at its side: [360, 600, 3]."""
    from skimage import data
    from skimage.transform import resize

    person = data.astronaut()
    canvas = np.full((360, 600, 3), 127, np.uint8)
    for size, left in ((360, 0), (240, 360)):
        canvas[-size:, left : left + size] = np.round(resize(person, (size, size), anti_aliasing=True) * 255)
    return canvas


def case() -> Case:
    """Boxes and the five points of each face, in pixels."""
    replaced = stand_in_for_torchvision()
    from facenet_pytorch.models.mtcnn import MTCNN

    picture = photograph()
    model = MTCNN(keep_all=True, min_face_size=SMALLEST_FACE).eval()
    networks = {"pnet": model.pnet, "rnet": model.rnet, "onet": model.onet}

    def perform(parts: Mapping[str, Call]) -> Result:
        user = MTCNN(keep_all=True, min_face_size=SMALLEST_FACE)
        for name, network in networks.items():
            setattr(user, name, Standing(network, parts[name]))
        boxes, _, points = user.detect(picture, landmarks=True)
        if boxes is None:
            return Result((), "no faces")
        corners = [[round(float(edge)) for edge in box] for box in boxes]
        values = (*np.asarray(boxes, float).flatten(), *np.asarray(points, float).flatten())
        return Result(tuple(map(float, values)), f"{len(corners)} faces at {', '.join(map(str, corners))}")

    ranges = {
        "pnet": tp.Input(min_shape=(1, 3, 12, 12), opt_shape=(1, 3, 108, 180), max_shape=(1, 3, 360, 600)),
        "rnet": tp.Input(min_shape=(1, 3, 24, 24), opt_shape=(32, 3, 24, 24), max_shape=(512, 3, 24, 24)),
        "onet": tp.Input(min_shape=(1, 3, 48, 48), opt_shape=(8, 3, 48, 48), max_shape=(512, 3, 48, 48)),
    }
    more = {"pnet": (1, 3, 12, 12), "rnet": (1, 3, 24, 24), "onet": (1, 3, 48, 48)}
    return Case(
        package="facenet-pytorch",
        task="boxes and landmarks of the faces in a photograph",
        parts={
            name: Part(network, (ranges[name],), ((torch.randn(more[name]),),)) for name, network in networks.items()
        },
        perform=perform,
        tolerance=1,
        unit="pixels",
        note="non-maximum suppression between the networks is ours, as torchvision is not installed"
        if replaced
        else "",
    )
