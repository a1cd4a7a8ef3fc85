"""A small Llama that generates: compiled once, saved to one file, loaded, and asked.

python examples/generate.py

With a model of yours, begin with `AutoModelForCausalLM.from_pretrained(…, dtype=torch.float16).cuda()`.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
import trt_passes as tp
from transformers import LlamaConfig, LlamaForCausalLM
from trt_passes.transformers import compile_for_generation

SIZES = {
    "num_hidden_layers": 2,
    "hidden_size": 64,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 128,
    "vocab_size": 100,
    "initializer_range": 0.3,
}


def build() -> Any:
    """The model in eval mode, with random weights."""
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**SIZES, pad_token_id=0, eos_token_id=None)).eval()


def main() -> None:
    """Compile, save, load, and print what both say to two prompts, the shorter one padded on the left."""
    model = build()
    compiled = compile_for_generation(model, max_cache_len=64, batch=2, prefill=16)
    with tempfile.TemporaryDirectory() as folder:
        tp.save(compiled, Path(folder) / "llama.pt2")
        served = tp.load(Path(folder) / "llama.pt2")
    ids = torch.tensor([[0, 0, 5, 17, 42], [8, 3, 99, 12, 7]])
    mask = (ids != 0).long()
    options = {"attention_mask": mask, "max_new_tokens": 10, "do_sample": False}
    print("eager:   ", model.generate(ids, **options)[:, 5:].tolist())
    print("compiled:", served.generate(ids, **options)[:, 5:].tolist())


if __name__ == "__main__":
    main()
