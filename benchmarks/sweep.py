"""What becomes of every architecture of transformers: docs/models.md, "Every architecture of transformers".

    python benchmarks/sweep.py [NAME ...] [--heads | --timm] [--processes 2] [--limit 240] [--seconds N] [--count N]

Needs `pip install -e .[rtx,bench]`, and timm for `--timm`. Each kind of model (sweep_models.py says which, and how they
are made small), with `--heads` each class of a task beside those, is exported, compiled, called and compared with
PyTorch in a process of its own with a limit of seconds. Results go to benchmarks/sweep.jsonl (sweep_heads.jsonl,
sweep_timm.jsonl), a line per model as soon as it is known; what is there is not measured again unless it is named, or
`--again` is given. `python -m docs.generate` makes the page of it.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
RESULTS, HEADS_RESULTS, TIMM_RESULTS = (FOLDER / f"sweep{part}.jsonl" for part in ("", "_heads", "_timm"))
sys.path.insert(0, str(FOLDER))

OUTCOMES = (
    "one engine",
    "one engine, checks",
    "several",
    "pytorch",
    "export refuses",
    "export differs",
    "wrong",
    "crash",
    "slow",
    "not made",
)
"""What can become of a model; docs/generator/architectures.py says them in words."""


_OF_CHECKS = frozenset(
    {
        *("aten._local_scalar_dense", "aten._assert_scalar", "aten._assert_async.msg", "sym_ite", "sym_not"),
        *("eq", "ne", "ge", "gt", "le", "lt"),
    }
)
"""What reads a number of a tensor and raises if it is not as the model asks; its users are such nodes only."""


def measure(kind: str, class_name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Make, export, compile, call and compare one model in this process; its row."""
    import torch
    from sweep_models import NotMade, made

    torch.set_num_threads(1)
    try:
        if options.timm:
            from sweep_timm import made_by_timm

            sample = made_by_timm(kind, "cuda" if options.executor == "tensorrt" else "cpu")
        else:
            sample = made(class_name, kind) if options.heads else made(kind, class_name)
    except NotMade as error:
        return {"outcome": "not made", "words": str(error)}
    model, inputs = sample.model, dict(sample.inputs)
    if options.executor == "tensorrt":
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_tf32 = False
        model, inputs = model.cuda(), {name: value.cuda() for name, value in inputs.items()}
    row = compared(model, inputs, options.executor)
    if row["outcome"] == "export differs" and "attention_mask" in inputs:
        # transformers leaves out a mask without padding, unless it is traced, and some models attend otherwise then.
        inputs["attention_mask"] = inputs["attention_mask"].clone()
        inputs["attention_mask"][-1, -2:] = 0
        row = {**compared(model, inputs, options.executor), "padded": True}
    return {**row, "divisor": sample.divisor}


def compared(model: Any, inputs: Mapping[str, Any], executor: str) -> dict[str, Any]:
    """What becomes of a model."""
    import trt_passes as tp
    from sweep_judge import in_tf32, in_truncated_tf32, judged

    started = time.perf_counter()
    refusal = ""
    try:
        program = tp.trace(model, [], dict(inputs))
    except Exception as error:
        refusal = _words(error)
        try:
            program = tp.trace(model, [], dict(inputs), decide_by_examples=True)
        except Exception:
            return {"outcome": "export refuses", "words": refusal}
    exported = time.perf_counter() - started
    try:
        compiled = tp.compile(program, executor=executor, disable_tf32=True)
        seconds = time.perf_counter() - started - exported
        tf32 = [in_tf32(model), in_truncated_tf32(model)] if executor == "tensorrt" else []
        answer = judged(model, compiled, inputs, tf32)
    except Exception as failure:
        traceback.print_exc()
        return {"outcome": "crash", "words": _words(failure)}
    report = compiled.report
    left = [row for row in report.ledger if row.verdict.value != "trt"]
    if not answer.is_right:
        outcome = "wrong" if judged(model, program.exported.module(), inputs).is_right else "export differs"
    elif not report.segments:
        outcome = "pytorch"
    elif len(report.segments) > 1 or any(row.op not in _OF_CHECKS for row in left):
        outcome = "several"
    else:
        outcome = "one engine, checks" if left else "one engine"
    return {
        "outcome": outcome,
        "words": _why(left) if left else "",
        "nodes": len(report.program.op_nodes),
        "trt": report.verdicts["trt"],
        "engines": len(report.segments),
        "error": float(f"{answer.error:.1e}"),
        "unstable": [float(f"{each:.1e}") for each in (answer.unstable_error, answer.own_error)],
        "seconds": [round(exported, 1), round(seconds, 1)],
        **({"by_examples": refusal} if refusal else {}),
    }


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def _why(left: Sequence[Any]) -> str:
    """The commonest reason, with how many nodes have it."""
    reasons = Counter((row.op, row.reasons[0].code) for row in left if row.reasons)
    return "; ".join(f"{count} × {op} ({code})" for (op, code), count in reasons.most_common(3))


# --- processes -------------------------------------------------------------------------------------------------------
def _work(kind: str, class_name: str, options: argparse.Namespace, log: str, answer: Connection) -> None:
    with open(log, "w") as file:
        sys.stdout = sys.stderr = file
        try:
            row = measure(kind, class_name, options)
        except BaseException as error:
            traceback.print_exc()
            row = {"outcome": "crash", "words": _words(error)}
        answer.send(row)


def sweep(kinds: Mapping[str, str], options: argparse.Namespace) -> None:
    """Measure kinds of models, several at a time, and append each row to the file as soon as it is there."""
    context = get_context("fork")  # with torch and transformers imported once
    logs = Path(options.logs)
    logs.mkdir(parents=True, exist_ok=True)
    waiting, running = list(kinds.items()), {}
    end = time.monotonic() + options.seconds
    while running or (waiting and time.monotonic() < end):
        while waiting and len(running) < options.processes and time.monotonic() < end:
            kind, class_name = waiting.pop(0)
            receiver, sender = context.Pipe(duplex=False)
            log = str(logs / f"{kind}.log")
            process = context.Process(target=_work, args=(kind, class_name, options, log, sender))
            process.start()
            sender.close()
            running[receiver] = (kind, class_name, process, time.monotonic())
        ready = wait(list(running), timeout=1)
        for receiver in list(running):
            kind, class_name, process, started = running[receiver]
            late = time.monotonic() - started > options.limit or time.monotonic() > end + 20
            if receiver not in ready and not late:
                continue
            row = _answer(receiver, process, receiver in ready, time.monotonic() > end + 20)
            del running[receiver]
            if row is not None:
                took = round(time.monotonic() - started, 1)
                _write(Path(options.results), {"kind": kind, "class": class_name, **row, "took": took})
    if waiting:
        print(f"{len(waiting)} left: run the same command again", flush=True)


def _answer(receiver: Connection, process: Any, is_ready: bool, out_of_time: bool) -> dict[str, Any] | None:
    row: dict[str, Any] | None
    if is_ready:
        try:
            row = receiver.recv()
        except EOFError:
            row = {"outcome": "crash", "words": "the process died"}
    else:
        row = None if out_of_time else {"outcome": "slow", "words": ""}
        process.kill()
    process.join()
    receiver.close()
    return row


def _write(results: Path, row: Mapping[str, Any]) -> None:
    from importlib.metadata import version

    package = "timm" if results.name == TIMM_RESULTS.name else "transformers"
    asked = subprocess.run(["git", "-C", str(FOLDER), "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    code = {"code": asked.stdout.strip()} if asked.returncode == 0 else {}
    versions = {**{name: version(name) for name in ("torch", package)}, **code, "date": str(date.today())}
    with results.open("a", encoding="utf-8") as file:
        file.write(json.dumps({**row, "versions": versions}) + "\n")
    print(f"{row['kind']:32} {row['outcome']:15} {row['took']:6.1f} s  {str(row.get('words', ''))[:110]}", flush=True)


def rows(results: Path = RESULTS) -> dict[str, dict[str, Any]]:
    """The newest row of each kind."""
    if not results.exists():
        return {}
    lines = (json.loads(line) for line in results.read_text(encoding="utf-8").splitlines())
    newest = {line["kind"]: line for line in lines}
    return {kind: newest[kind] for kind in sorted(newest)}


def main(arguments: Iterable[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--limit", type=float, default=240, help="seconds for one model")
    parser.add_argument(
        "--seconds", type=float, default=float("inf"), help="start no more models after so many seconds"
    )
    parser.add_argument("--executor", default="reference", choices=("reference", "tensorrt", "pytorch"))
    parser.add_argument("--timm", action="store_true", help="150 models of timm instead")
    parser.add_argument("--heads", action="store_true", help="classes of tasks instead, such as BertForMaskedLM")
    parser.add_argument("--count", type=int, help="no more models than this")
    parser.add_argument("--again", action="store_true", help="forget what is in the file of rows")
    parser.add_argument("--results", help="file of rows to add to")
    parser.add_argument("--logs", default="/tmp/trt-passes-sweep", help="folder for what each model printed")
    parser.add_argument("--part", default="1/1", help="2/3: the second third of what is left")
    options = parser.parse_args(list(arguments) if arguments is not None else None)
    results = Path(options.results or (TIMM_RESULTS if options.timm else HEADS_RESULTS if options.heads else RESULTS))
    options.results = str(results)
    if options.again:
        results.unlink(missing_ok=True)
    if options.timm:
        from sweep_timm import timm_models

        classes = dict.fromkeys(timm_models(), "")
    else:
        import transformers  # noqa: F401  here, so that every process has it
        from sweep_models import head_classes, model_classes

        classes = head_classes() if options.heads else model_classes()
    known = rows(results)
    chosen = {kind: classes[kind] for kind in options.kinds} or {
        kind: name for kind, name in classes.items() if kind not in known
    }
    part, parts = (int(text) for text in options.part.split("/"))
    sweep(dict(list(chosen.items())[: options.count][part - 1 :: parts]), options)
    counts = Counter(row["outcome"] for row in rows(results).values())
    print(", ".join(f"{counts[name]} {name}" for name in OUTCOMES), f"on {platform.machine()}")


if __name__ == "__main__":
    main()
