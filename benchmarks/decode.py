"""What a token costs: one decode step with a filled cache, on a GPU, of PyTorch and of this package.

    python benchmarks/decode.py [--rows llama-1b …] [--peers ours eager …] [--jobs 6] [--minutes 8] [--json FILE]

Models in float16 with random weights. Every row and peer is measured in a process of its own. Several of them can
prepare beside each other (`--jobs`), and then take turns on the GPU: one that measures has it alone. What does not fit
into the minutes is left out and said so. The limit is the bytes of the weights that a token reads, at 4.3 TB/s (an
H200).

- `step_ms`: median of 50 steps of one token, from the call to the end on the GPU; the cache is filled to `position`.
- `times_limit`: how many times the limit that is.
- `first_ms`: median of 5 prompts of 512 tokens. torch.compile's is eager, as in transformers' `generate`.
- `start_s`: from the model to the end of the first step, compilation included; longer where others prepare meanwhile.
- `gpu_mib`: what the process holds on the GPU at the end, weights included; `torch_mib` is the part that PyTorch gave
  it, at most, and all that is known with several jobs.
- `cache_copied`: bytes of the cache that a step of ours copies; `without_graphs`: why it is no CUDA graph.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BANDWIDTH = 4.3e12
STEPS, PROMPTS, PROMPT = 50, 5, 512
PEERS = ("ours", "ours-one-engine", "ours-by-pytorch", "ours-no-graphs", "reduce-overhead", "max-autotune", "eager")


@dataclass(frozen=True)
class Row:
    """A model with the state that a step is measured in: sequences, positions of the cache, and how many are filled."""

    model: str
    batch: int
    positions: int
    filled: int


ROWS = {
    "llama-1b": Row("llama-1b", 1, 1024, 512),
    "llama-1b-batch-8": Row("llama-1b", 8, 1024, 512),
    "qwen3-0.6b": Row("qwen3-0.6b", 1, 1024, 512),
    "mistral-7b": Row("mistral-7b", 1, 8192, 4096),
    "mistral-7b-batch-16": Row("mistral-7b", 16, 8192, 4096),
    "whisper-small": Row("whisper-small", 1, 448, 224),
    "t5-base": Row("t5-base", 1, 512, 256),
    "tiny": Row("tiny", 1, 64, 20),
    "tiny-whisper": Row("tiny-whisper", 1, 64, 20),
    "tiny-t5": Row("tiny-t5", 1, 64, 20),
}
SOURCE = 512
"""Tokens that the encoder of T5 reads; that of Whisper reads 30 seconds."""


def config(name: str) -> Any:
    """The configuration of a model."""
    import transformers as tf

    if name == "tiny":
        sizes = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}
        return tf.LlamaConfig(**sizes, num_key_value_heads=2, vocab_size=128)
    if name == "llama-1b":
        sizes = {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 32}
        return tf.LlamaConfig(**sizes, num_key_value_heads=8, vocab_size=128256, tie_word_embeddings=True)
    if name == "qwen3-0.6b":
        sizes = {"hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28, "num_attention_heads": 16}
        heads = {"num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151936, "tie_word_embeddings": True}
        return tf.Qwen3Config(**sizes, **heads)
    if "t5" in name:
        small = {"d_model": 64, "d_ff": 96, "d_kv": 16, "num_layers": 2, "num_heads": 4, "vocab_size": 128}
        base = {"d_model": 768, "d_ff": 3072, "d_kv": 64, "num_layers": 12, "num_heads": 12, "vocab_size": 32128}
        return tf.T5Config(**(small if name.startswith("tiny") else base), decoder_start_token_id=0)
    if "whisper" in name:
        layers, width, heads = (2, 64, 4) if name.startswith("tiny") else (12, 768, 12)
        sides = ("encoder", "decoder")
        return tf.WhisperConfig(
            d_model=width,
            vocab_size=128 if name.startswith("tiny") else 51865,
            **{f"{side}_layers": layers for side in sides},
            **{f"{side}_attention_heads": heads for side in sides},
            **{f"{side}_ffn_dim": 4 * width for side in sides},
            **dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id"), 0),
            decoder_start_token_id=1,
        )
    sizes = {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32}
    return tf.MistralConfig(
        **sizes, num_key_value_heads=8, vocab_size=32768, max_position_embeddings=8192, sliding_window=None
    )


def built(name: str, device: Any) -> Any:
    """A model with random weights, in float16."""
    import torch
    import transformers as tf

    torch.manual_seed(0)
    chosen = config(name)
    kind = tf.AutoModelForCausalLM
    if chosen.is_encoder_decoder:
        kind = tf.AutoModelForSpeechSeq2Seq if hasattr(chosen, "num_mel_bins") else tf.AutoModelForSeq2SeqLM
    with torch.device(device):
        return kind.from_config(chosen, dtype=torch.float16).eval()


def bytes_read(model: Any) -> int:
    """The bytes of the weights that a token reads: all but the embeddings, unless the last product has them, and but
    those of an encoder."""
    unread = 0 if bool(model.config.tie_word_embeddings) else model.get_input_embeddings().weight.nbytes
    if model.config.is_encoder_decoder:
        read = model.get_output_embeddings().weight
        unread += sum(weight.nbytes for weight in model.get_encoder().parameters() if weight is not read)
    return sum(weight.nbytes for weight in model.parameters()) - unread


def source(model: Any, batch: int) -> Any:
    """What an encoder reads."""
    import torch

    if hasattr(model.config, "num_mel_bins"):
        shape = (batch, model.config.num_mel_bins, 2 * model.config.max_source_positions)
        return torch.randn(shape, device=model.device, dtype=model.dtype)
    return torch.randint(1, model.config.vocab_size, (batch, SOURCE), device=model.device)


# --- peers -----------------------------------------------------------------------------------------------------------
Step = Callable[[], Any]


def ours(model: Any, row: Row, peer: str) -> tuple[Step, Step, dict[str, Any]]:
    """A step, a prompt, and what is copied."""
    from trt_passes.generation.step import cache_argument
    from trt_passes.transformers import compile_for_generation

    encodes = model.config.is_encoder_decoder
    compiled = compile_for_generation(
        model,
        max_cache_len=row.positions,
        batch=row.batch,
        prefill=1 if encodes else _prompt(row),
        max_source_len=SOURCE if encodes and not hasattr(model.config, "num_mel_bins") else None,
        cuda_graphs=peer != "ours-no-graphs",
        in_place=False if peer == "ours-by-pytorch" else None,
        token_engine=False if peer == "ours-one-engine" else None,
        executor="tensorrt",
    )
    name = cache_argument(type(model))
    cache, one, many = compiled.new_cache(), *_tokens(model, row)

    report = compiled.programs["step"].report
    found: dict[str, Any] = {
        "engines": {name: len(program.report.segments) for name, program in compiled.programs.items()},
        "coverage": report.coverage,
        "cache_copied": compiled.plan.layout.bytes_copied() * row.batch,
    }

    more: dict[str, Any] = {}
    given = "decoder_input_ids" if encodes else "input_ids"
    read = source(model, row.batch) if encodes else None
    if encodes:
        more["encoder_outputs"] = compiled.get_encoder()(read)

    def step() -> Any:
        cache.length = row.filled
        logits = compiled(**{given: one, name: cache}, **more).logits
        found["without_graphs"] = compiled.without_graphs
        return logits

    def prompt() -> Any:
        if encodes:
            encoded = compiled.get_encoder()(read)
            return compiled(**{given: one, name: compiled.new_cache()}, encoder_outputs=encoded).logits
        return compiled(many, **{name: compiled.new_cache()}).logits

    return step, prompt, found


def pytorch(model: Any, row: Row, mode: str | None) -> tuple[Step, Step, dict[str, Any]]:
    """A step with a static cache, eager or by torch.compile, and an eager prompt."""
    import inspect

    import torch
    from transformers import StaticCache

    name = "cache" if "cache" in inspect.signature(type(model).forward).parameters else "past_key_values"
    one, many = _tokens(model, row)
    if model.config.is_encoder_decoder:
        return pytorch_with_encoder(model, row, mode, name, one)
    cache = StaticCache(config=model.config, max_cache_len=row.positions)
    mask = torch.ones((row.batch, row.filled + 1), dtype=torch.int64, device=model.device)
    places = torch.full((row.batch, 1), row.filled, dtype=torch.int64, device=model.device)
    model(one, use_cache=True, **{name: cache})  # makes the tensors of the cache
    call = model if mode is None else torch.compile(model, mode=mode, fullgraph=True, dynamic=False)

    def fill() -> None:
        for layer in cache.layers:
            layer.cumulative_length.fill_(row.filled)

    options = {"use_cache": True, "logits_to_keep": 1, name: cache}
    fill()
    prepared = model.prepare_inputs_for_generation(
        one, next_sequence_length=1, attention_mask=mask, position_ids=places, **options
    )

    def step() -> Any:
        fill()
        return call(**prepared).logits

    def prompt() -> Any:
        return model(many, use_cache=True, logits_to_keep=1).logits

    return step, prompt, {}


def pytorch_with_encoder(
    model: Any, row: Row, mode: str | None, name: str, one: Any
) -> tuple[Step, Step, dict[str, Any]]:
    """A decoder's step with static caches, and an encoder with the first step, which are eager."""
    import torch
    from transformers import EncoderDecoderCache, StaticCache

    read = source(model, row.batch)

    def filled() -> tuple[Any, dict[str, Any]]:
        encoded = model.get_encoder()(read, return_dict=True)
        length = encoded.last_hidden_state.shape[1]
        own, other = (StaticCache(config=model.config, max_cache_len=size) for size in (row.positions, length))
        cache = EncoderDecoderCache(own, other)
        given = {"encoder_outputs": encoded, "decoder_input_ids": one, "use_cache": True, name: cache}
        return model(**given).logits, given

    _, given = filled()
    call = model if mode is None else torch.compile(model, mode=mode, fullgraph=True, dynamic=False)
    layers = given[name].self_attention_cache.layers

    def step() -> Any:
        for layer in layers:
            layer.cumulative_length.fill_(row.filled)
        return call(**given).logits

    return step, lambda: filled()[0], {}


def _prompt(row: Row) -> int:
    return min(PROMPT, row.positions)


def _tokens(model: Any, row: Row) -> tuple[Any, Any]:
    import torch

    size = model.config.vocab_size
    one = torch.randint(0, size, (row.batch, 1), device=model.device)
    return one, torch.randint(0, size, (row.batch, _prompt(row)), device=model.device)


# --- measuring -------------------------------------------------------------------------------------------------------
def milliseconds(call: Step, count: int, warm_up: int) -> float:
    """The median time of a call, to its end on the GPU."""
    import torch

    times = []
    for number in range(warm_up + count):
        torch.cuda.synchronize()
        started = time.perf_counter()
        call()
        torch.cuda.synchronize()
        if number >= warm_up:
            times.append((time.perf_counter() - started) * 1e3)
    return statistics.median(times)


@contextlib.contextmanager
def turn(path: str) -> Iterator[None]:
    """While entered, no other process that asks for its turn has it."""
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def measure(name: str, peer: str, lock: str, alone: bool) -> dict[str, Any]:
    """One row of one peer, in this process."""
    import torch

    row, device = ROWS[name], torch.device("cuda", 0)
    free = torch.cuda.mem_get_info(device)[0]
    model = built(row.model, device)
    limit = bytes_read(model) / BANDWIDTH * 1e3
    result: dict[str, Any] = {"row": name, "peer": peer, "limit_ms": round(limit, 3)}
    with torch.no_grad():
        started = time.perf_counter()
        if peer.startswith("ours"):
            step, prompt, more = ours(model, row, peer)
        else:
            step, prompt, more = pytorch(model, row, None if peer == "eager" else peer)
        step()
        torch.cuda.synchronize()
        result["start_s"] = round(time.perf_counter() - started, 1)
        print(json.dumps({**result, **more, "so_far": True}), flush=True)
        milliseconds(step, 1, 8)
        with turn(lock):
            result["step_ms"] = round(milliseconds(step, STEPS, 3), 3)
        result["times_limit"] = round(result["step_ms"] / limit, 2)
        print(json.dumps({**result, **more, "so_far": True}), flush=True)
        milliseconds(prompt, 1, 1)
        with turn(lock):
            result["first_ms"] = round(milliseconds(prompt, PROMPTS, 1), 2)
    result["torch_mib"] = round(torch.cuda.max_memory_allocated(device) / 2**20)
    if alone:
        result["gpu_mib"] = round((free - torch.cuda.mem_get_info(device)[0]) / 2**20)
    return {**result, **more}


def in_a_process(name: str, peer: str, seconds: float, lock: str, alone: bool) -> dict[str, Any]:
    """`measure` in a process of its own, which ends after some seconds."""
    if seconds < 20:
        return {"row": name, "peer": peer, "failed": "no time was left"}
    command = [sys.executable, __file__, "--one", name, peer, "--lock", lock, *(["--alone"] if alone else [])]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
        output, errors = done.stdout, done.stderr
    except subprocess.TimeoutExpired as error:
        output, errors = _text(error.stdout), f"it took more than {seconds:.0f} s"
    lines = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    if lines and "so_far" not in lines[-1]:
        return dict(lines[-1])
    reason = [line for line in errors.splitlines() if line.strip()]
    return {"row": name, "peer": peer, **(lines[-1] if lines else {}), "failed": reason[-1][:300] if reason else "?"}


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else value or ""


def table(results: list[dict[str, Any]]) -> str:
    """The results as a Markdown table."""
    columns = ("row", "peer", "limit_ms", "step_ms", "times_limit", "first_ms", "start_s", "torch_mib", "gpu_mib")
    columns += ("cache_copied",)
    lines = [f"| {' | '.join(columns)} |", f"|{' --- |' * len(columns)}"]
    for item in results:
        lines.append(f"| {' | '.join(str(item.get(name, '')) for name in columns)} |")
        if "failed" in item:
            lines.append(f"<!-- {item['row']}, {item['peer']}: {item['failed']} -->")
    return "\n".join(lines)


def main() -> None:
    """Measure what fits into the time, and print a line for each as soon as it is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--rows", nargs="+", choices=ROWS, default=[name for name in ROWS if not name.startswith("tiny")]
    )
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=["ours", "reduce-overhead", "eager"])
    parser.add_argument("--jobs", type=int, default=1, help="processes beside each other")
    parser.add_argument("--minutes", type=float, default=8)
    parser.add_argument("--json", type=Path, help="add the results to this file, a line each")
    parser.add_argument("--one", nargs=2, metavar=("ROW", "PEER"), help=argparse.SUPPRESS)
    parser.add_argument("--lock", default=str(Path(tempfile.gettempdir()) / "gpu.lock"), help="file for taking turns")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(*args.one, args.lock, args.alone)), flush=True)
        return
    end = time.monotonic() + args.minutes * 60
    writing = threading.Lock()

    def one(name: str, peer: str) -> dict[str, Any]:
        result = in_a_process(name, peer, end - time.monotonic() - 5, args.lock, args.jobs == 1)
        with writing:
            print(json.dumps(result), flush=True)
            if args.json:
                with args.json.open("a") as file:
                    file.write(json.dumps(result) + "\n")
        return result

    pairs = [(name, peer) for name in args.rows for peer in args.peers]
    with ThreadPoolExecutor(args.jobs) as pool:
        results = list(pool.map(one, *zip(*pairs, strict=True)))
    print(table(results))


if __name__ == "__main__":
    main()
