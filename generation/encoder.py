"""The encoder of a compiled model, as `generate` calls it."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers.modeling_outputs import BaseModelOutput

from ..compiler.errors import UserError
from .seq2seq import CROSS, Source


class CompiledEncoder(nn.Module):
    """What `generate` calls as the encoder of a model; its results have the decoder's keys and values of the source."""

    source: Source
    program: Any
    config: Any

    def __init__(self, own: Any, source: Source, program: Any) -> None:
        super().__init__()
        # Not as submodules: the weights of the model's own are nowhere.
        vars(self).update(own=own, source=source, program=program, config=own.config)
        self.main_input_name = source.argument

    def forward(
        self, input_ids: Any = None, attention_mask: Any = None, input_features: Any = None, **given: Any
    ) -> BaseModelOutput:
        """The encoder's outputs; arguments as for the model's class, the source also as the first."""
        read = input_features if input_ids is None else input_ids
        for name in ("output_attentions", "output_hidden_states"):
            if given.get(name):
                raise UserError(f"{name}=True is not possible: a compiled model returns logits only.")
        if read is None:
            raise UserError(f"the encoder of a compiled model takes {self.source.argument}.")
        if self.source.has_tokens and read.shape[1] > self.source.shape[0]:
            raise UserError(
                f"the source has {read.shape[1]} tokens, and the model was compiled for up to "
                f"{self.source.shape[0]}: compile it with a larger max_source_len."
            )
        inputs = {"source": read}
        if self.source.has_tokens:
            mask = torch.ones_like(read) if attention_mask is None else attention_mask
            inputs["mask"] = mask.to(torch.int64)
        states, *cross = self.program(**inputs)
        outputs = BaseModelOutput(last_hidden_state=states)
        for number, block in enumerate(cross):
            outputs[f"{CROSS}{number}"] = block
        return outputs
