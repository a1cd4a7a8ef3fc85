"""Images in a prompt: what a model of images and text makes of them, put in the places of its image tokens."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from ..compiler.errors import UserError

_OTHER_INPUTS = ("image_grid_thw", "token_type_ids", "mm_token_type_ids")
"""Arguments of models that need more of an image than its features: other positions, or another mask."""


@dataclass(frozen=True)
class Images:
    """What a model reads as an image.

    Attributes:
        shape: of one image, [channels, height, width].
        token: the token in whose places features stand.
        width: of the features of one place.
    """

    shape: tuple[int, ...]
    token: int
    width: int

    def to_json(self) -> dict[str, Any]:
        """JSON-able values."""
        return {**asdict(self), "shape": list(self.shape)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Images:
        """What `to_json` wrote."""
        return cls(tuple(data["shape"]), int(data["token"]), int(data["width"]))


def images_of(model: Any) -> Images | None:
    """What a model reads as an image; None if it reads none, or needs more of it than features."""
    names = inspect.signature(type(model).forward).parameters
    vision: Any = getattr(model.config, "vision_config", None)
    token = getattr(model.config, "image_token_id", None)
    if "pixel_values" not in names or "inputs_embeds" not in names or any(name in names for name in _OTHER_INPUTS):
        return None
    if not (isinstance(token, int) and isinstance(getattr(vision, "image_size", None), int)):
        return None
    if not hasattr(model.base_model, "get_image_features"):
        return None
    shape = (int(getattr(vision, "num_channels", 3)), vision.image_size, vision.image_size)
    return Images(shape, token, model.get_input_embeddings().weight.shape[1])


class ImageFeatures(nn.Module):
    """Images [I,C,H,W] to the features of all their places, [I * places, width]."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """See the class."""
        found = self.model.base_model.get_image_features(pixel_values=pixel_values, return_dict=True)
        features = getattr(found, "pooler_output", found)
        return torch.cat(list(features), dim=0) if isinstance(features, list | tuple) else features.flatten(0, 1)


def rows_of_images(
    images: Images, program: Any, ids: torch.Tensor, pixels: torch.Tensor | None, dtype: torch.dtype
) -> torch.Tensor:
    """The features [B,S,width] for tokens i64[B,S]; zeros where there is no image.

    Raises:
        UserError: the images have another size, or there are more or fewer places for them.
    """
    rows = torch.zeros((*ids.shape, images.width), dtype=dtype, device=ids.device)
    if pixels is None:
        return rows
    if tuple(pixels.shape[1:]) != images.shape:
        raise UserError(f"pixel_values has the shape {list(pixels.shape)}, but an image is {list(images.shape)}.")
    features = torch.cat([program(part.to(dtype)) for part in torch.split(pixels, 1)])
    places = ids == images.token
    if int(places.sum()) != features.shape[0]:
        raise UserError(
            f"the prompts have {int(places.sum())} image tokens, and the images have {features.shape[0]} places."
        )
    return rows.masked_scatter(places.unsqueeze(-1), features.to(dtype))
