"""150 models of timm, by rule: one of every file of its models, then a second, and so on, small ones first."""

from __future__ import annotations

import re
from contextlib import suppress

import torch
from sweep_models import LARGEST, Made, NotMade, randomised

COUNT, BATCH = 150, 2
_SMALL = re.compile(r"atto|femto|pico|nano|tiny|xxs|_xs|micro|mini|small|_b0|_s0|18|_x0|_0")
_OTHERS = ("tf_", "test_", "samvit_")
"""Names of models that only repeat others, have nothing to do, or are larger than any image here."""


def timm_models() -> list[str]:
    """The names of the models."""
    from timm.models import _registry

    families = {
        module: sorted(
            (name for name in names if not name.startswith(_OTHERS)), key=lambda name: (not _SMALL.search(name), name)
        )
        for module, names in sorted(_registry._module_to_models.items())
    }
    longest = max(map(len, families.values()))
    turns = (names[turn] for turn in range(longest) for names in families.values() if turn < len(names))
    return list(dict.fromkeys(turns))[:COUNT]


def made_by_timm(name: str, device: str = "cpu") -> Made:
    """The model of that name with random weights, called once, where it is to run: some keep tensors of the first call.

    Raises:
        NotMade: it is too large, or does not take an image of the size that it names.
    """
    import timm

    torch.manual_seed(0)
    try:
        with suppress(RuntimeError, NotImplementedError), torch.device("meta"):  # some read numbers of their weights
            size = sum(parameter.numel() for parameter in timm.create_model(name).parameters())
            if size > 2 * LARGEST:
                raise NotMade(f"{size:,} parameters")
        model = randomised(timm.create_model(name).eval()).to(device)
        image = torch.randn(BATCH, *model.pretrained_cfg.get("input_size", (3, 224, 224))).to(device)
        with torch.no_grad():
            model(image)
    except Exception as error:
        raise NotMade(f"{type(error).__name__}: {' '.join(str(error).split())[:200]}") from error
    return Made(model, {"x": image}, 1)
