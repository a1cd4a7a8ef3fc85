"""Which models of transformers generate the same tokens when they are compiled: token for token, in float32.

    python benchmarks/generation.py [--names llama …] [--json generation.jsonl]

Small models with random weights are compiled by `compile_for_generation` and run by the reference executor, which
evaluates the real TensorRT networks on any machine. Each generates as in eager mode: 64 tokens for three prompts that
are padded on the left, and 8 for prompts of 1, 2, 7 and 31 tokens; and 8 when it was saved and loaded. A row says in
how many engines its programs are, and whether they write the cache in place.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

VOCABULARY, POSITIONS, MANY, FEW = 100, 96, 64, 8
PROMPTS = (1, 2, 7, 31)

BASE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "initializer_range": 0.3,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": None,
}
SPECIAL = {"vocab_size": VOCABULARY, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": None}
EXPERTS = {"num_experts_per_tok": 2, "moe_intermediate_size": 32}
GEMMA = {"head_dim": 16, "query_pre_attn_scalar": 16, "bos_token_id": 2}
LATENT = {"q_lora_rank": 24, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 16, "v_head_dim": 16}
OLD = {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 256}

ROPE = {
    "linear": {"rope_type": "linear", "factor": 2.0},
    "dynamic": {"rope_type": "dynamic", "factor": 2.0},
    "yarn": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64},
    "llama3": {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    },
}
LONG = {"rope_type": "longrope", "short_factor": [1.0] * 8, "long_factor": [2.0] * 8}

DECODERS: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("GPT2Config", {**SPECIAL, **OLD, "initializer_range": 0.3}),
    "llama": ("LlamaConfig", BASE),
    "mistral, window of 8": ("MistralConfig", {**BASE, "sliding_window": 8}),
    "qwen3": ("Qwen3Config", {**BASE, "head_dim": 16}),
    "gemma2, windows of 8": ("Gemma2Config", {**BASE, **GEMMA, "sliding_window": 8}),
    "gemma3, windows of 8": ("Gemma3TextConfig", {**BASE, **GEMMA, "sliding_window": 8}),
    "phi3": ("Phi3Config", BASE),
    "olmo2": ("Olmo2Config", BASE),
    "falcon": ("FalconConfig", {**SPECIAL, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}),
    "bloom": ("BloomConfig", {**SPECIAL, "hidden_size": 64, "n_layer": 2, "n_head": 4}),
    "mixtral": ("MixtralConfig", {**BASE, "num_local_experts": 4}),
    "qwen3-moe": ("Qwen3MoeConfig", {**BASE, **EXPERTS, "head_dim": 16, "num_experts": 8}),
    "deepseek-v3": (
        "DeepseekV3Config",
        {
            **BASE,
            **EXPERTS,
            **LATENT,
            "num_key_value_heads": 4,
            "n_routed_experts": 4,
            "n_group": 2,
            "topk_group": 1,
            "first_k_dense_replace": 1,
        },
    ),
    "qwen2, tied": ("Qwen2Config", {**BASE, "tie_word_embeddings": True}),
    "qwen3, tied": ("Qwen3Config", {**BASE, "head_dim": 16, "tie_word_embeddings": True}),
    **{f"llama, rope {name}": ("LlamaConfig", {**BASE, "rope_scaling": rope}) for name, rope in ROPE.items()},
    "phi4 (phi3 with a part rotated)": ("Phi3Config", {**BASE, "partial_rotary_factor": 0.5}),
    "phi3, longrope": ("Phi3Config", {**BASE, "rope_scaling": LONG, "original_max_position_embeddings": 128}),
    "phi": ("PhiConfig", BASE),
    "gemma": ("GemmaConfig", {**BASE, "head_dim": 16, "bos_token_id": 2}),
    "glm": ("GlmConfig", {**BASE, "head_dim": 16}),
    "glm4": ("Glm4Config", {**BASE, "head_dim": 16}),
    "smollm3": ("SmolLM3Config", {**BASE, "no_rope_layer_interval": 2}),
    "granite": ("GraniteConfig", BASE),
    "granitemoe": ("GraniteMoeConfig", {**BASE, "num_local_experts": 4}),
    "stablelm": ("StableLmConfig", BASE),
    "cohere": ("CohereConfig", BASE),
    "cohere2, windows of 8": ("Cohere2Config", {**BASE, "sliding_window": 8}),
    "gpt-neox": ("GPTNeoXConfig", BASE),
    "opt": ("OPTConfig", {**SPECIAL, "hidden_size": 64, "ffn_dim": 96, "num_hidden_layers": 2,
                          "num_attention_heads": 4, "word_embed_proj_dim": 64, "init_std": 0.3}),
    "mpt": ("MptConfig", {**SPECIAL, "d_model": 64, "n_heads": 4, "n_layers": 2, "expansion_ratio": 2}),
    "starcoder2": ("Starcoder2Config", BASE),
    "gpt-bigcode": ("GPTBigCodeConfig", {**SPECIAL, **OLD, "initializer_range": 0.3}),
    "gpt-j": ("GPTJConfig", {**SPECIAL, **OLD, "rotary_dim": 8, "initializer_range": 0.3}),
    "codegen": ("CodeGenConfig", {**SPECIAL, **OLD, "rotary_dim": 8, "initializer_range": 0.3}),
    "gpt-neo, windows of 8": (
        "GPTNeoConfig",
        {**SPECIAL, "hidden_size": 64, "num_layers": 2, "num_heads": 4, "attention_types": [[["global", "local"], 1]],
         "window_size": 8, "max_position_embeddings": 256, "initializer_range": 0.3},
    ),
    "olmo": ("OlmoConfig", BASE),
    "olmo3, windows of 8": ("Olmo3Config", {**BASE, "sliding_window": 8}),
    "olmoe": ("OlmoeConfig", {**BASE, "num_experts": 4, "num_experts_per_tok": 2}),
    "nemotron": ("NemotronConfig", {**BASE, "head_dim": 16}),
    "persimmon": ("PersimmonConfig", BASE),
    "helium": ("HeliumConfig", {**BASE, "head_dim": 16}),
    "exaone4, windows of 8": ("Exaone4Config", {**BASE, "sliding_window": 8, "sliding_window_pattern": 2}),
    "ernie4.5": ("Ernie4_5Config", {**BASE, "head_dim": 16}),
    "arcee": ("ArceeConfig", {**BASE, "head_dim": 16}),
    "seed-oss": ("SeedOssConfig", {**BASE, "head_dim": 16}),
    "apertus": ("ApertusConfig", BASE),
    "gpt-oss, windows of 8": (
        "GptOssConfig",
        {**BASE, "head_dim": 16, "sliding_window": 8, "num_local_experts": 4, "num_experts_per_tok": 2},
    ),
    "xglm": ("XGLMConfig", {**SPECIAL, "d_model": 64, "ffn_dim": 96, "num_layers": 2, "attention_heads": 4,
                            "init_std": 0.3, "max_position_embeddings": 256}),
    "biogpt": ("BioGptConfig", {**BASE, "num_key_value_heads": None}),
    "mamba": ("MambaConfig", {**SPECIAL, "hidden_size": 64, "num_hidden_layers": 2}),
}  # fmt: skip
"""Names of configurations, and what they are given."""


def model_of(name: str) -> Any:
    """A decoder with random weights, in eval mode."""
    import torch
    import transformers as tf

    torch.manual_seed(0)
    kind, options = DECODERS[name]
    return tf.AutoModelForCausalLM.from_config(getattr(tf, kind)(**options)).eval()


def prompts() -> Iterator[tuple[str, dict[str, Any], int]]:
    """Prompts, with names and numbers of new tokens: three that are padded on the left, and single ones."""
    import torch

    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(3, VOCABULARY, (3, 6), generator=generator)
    mask = torch.ones_like(ids)
    for row, count in ((1, 3), (2, 1)):
        ids[row, :count], mask[row, :count] = 0, 0
    yield "padded", {"input_ids": ids, "attention_mask": mask}, MANY
    for length in PROMPTS:
        one = torch.randint(3, VOCABULARY, (1, length), generator=generator)
        yield str(length), {"input_ids": one, "attention_mask": torch.ones_like(one)}, FEW


def answers(model: Any, most: int = MANY) -> dict[str, list[Any]]:
    """What a model says to each prompt."""
    found = {}
    for name, given, count in prompts():
        # Without the limit on repetition many random models say one token for ever, whatever their cache holds.
        options = {"max_new_tokens": min(count, most), "do_sample": False, "no_repeat_ngram_size": 2}
        found[name] = model.generate(**given, **options, pad_token_id=0).tolist()
    return found


def measure(name: str) -> dict[str, Any]:
    """One row, in this process."""
    import trt_passes as tp
    from trt_passes.transformers import compile_for_generation

    row: dict[str, Any] = {"name": name}
    model = model_of(name)
    wanted = answers(model)
    started = time.perf_counter()
    try:
        compiled = compile_for_generation(
            model,
            max_cache_len=POSITIONS,
            batch=3,
            prefill=16,
            executor="reference",
            min_block_size=1,
            token_engine=True,
        )
    except tp.UserError as error:
        return {**row, "refused": str(error)}
    row["compile_s"] = round(time.perf_counter() - started, 1)
    row["engines"] = {part: len(program.report.segments) for part, program in compiled.programs.items()}
    row["coverage"] = min(program.report.coverage for program in compiled.programs.values())
    row["in_place"] = compiled.plan.layout.in_place
    got = answers(compiled)
    row["differ"] = [prompt for prompt, tokens in got.items() if tokens != wanted[prompt]]
    row["distinct"] = len({token for line in wanted["padded"] for token in line})
    with tempfile.TemporaryDirectory() as folder:
        tp.save(compiled, Path(folder) / "model.pt2")
        loaded = answers(tp.load(Path(folder) / "model.pt2", executor="pytorch"), FEW)
    wanted = {prompt: [line[: len(loaded[prompt][0])] for line in tokens] for prompt, tokens in wanted.items()}
    row["differ_loaded"] = [prompt for prompt, tokens in loaded.items() if tokens != wanted[prompt]]
    row["right"] = not row["differ"] and not row["differ_loaded"]
    return row


def in_a_process(name: str, seconds: float) -> dict[str, Any]:
    """`measure` in a process of its own, which ends after some seconds."""
    command = [sys.executable, __file__, "--one", name]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return {"name": name, "failed": f"it took more than {seconds:.0f} s"}
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if lines:
        found: dict[str, Any] = json.loads(lines[-1])
        return found
    errors = [line for line in done.stderr.splitlines() if line.strip()]
    return {"name": name, "failed": errors[-1][:300] if errors else "?"}


def main() -> None:
    """Print a row for each, as soon as it is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--names", nargs="+", choices=DECODERS, default=list(DECODERS))
    parser.add_argument("--seconds", type=float, default=600, help="for each")
    parser.add_argument("--json", type=Path, help="add the rows to this file")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        warnings.simplefilter("ignore")
        print(json.dumps(measure(args.one)), flush=True)
        return
    show: Callable[[dict[str, Any]], None] = lambda row: print(json.dumps(row), flush=True)  # noqa: E731
    for name in args.names:
        row = in_a_process(name, args.seconds)
        show(row)
        if args.json:
            with args.json.open("a") as file:
                file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
