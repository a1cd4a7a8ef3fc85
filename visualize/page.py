"""The dump's `index.html`: one self-contained static page with passes, verdicts, segments and the overview."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from ..compiler.report import Report
from .palette import MUTED, style_of
from .sizes import bytes_text

_STYLE = """
:root{--ink:#1f2328;--muted:#57606a;--line:#d0d7de;--paper:#fff;--soft:#f6f8fa;--link:#0969da}
@media (prefers-color-scheme:dark){
:root{--ink:#e6edf3;--muted:#9da7b3;--line:#30363d;--paper:#0d1117;--soft:#161b22;--link:#6cb0ff}}
*{box-sizing:border-box}
body{margin:0;padding:1.6rem clamp(1rem,3vw,2.6rem) 3rem;background:var(--paper);color:var(--ink);max-width:110rem;
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Helvetica,Arial,sans-serif}
h1{font-size:1.45rem;margin:0 0 .2rem}
h2{font-size:1.05rem;margin:2rem 0 .5rem}
p{margin:.3rem 0}
a{color:var(--link);text-decoration:none}
a:hover{text-decoration:underline}
.muted{color:var(--muted)}
code,pre{font:13px/1.45 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
.columns{display:grid;grid-template-columns:minmax(22rem,3fr) minmax(18rem,2fr);gap:0 2.5rem}
@media (max-width:60rem){.columns{grid-template-columns:1fr}}
table{border-collapse:collapse;width:100%}
th,td{text-align:left;padding:.28rem .8rem .28rem 0;border-bottom:1px solid var(--line);vertical-align:top}
th{color:var(--muted);font-weight:500;font-size:.85rem}
td.number,th.number{text-align:right;white-space:nowrap}
tr.same td{color:var(--muted)}
.chip{display:inline-block;padding:0 .55em;border-radius:.35em;border:1.5px solid;color:#1f2328}
.bar{display:flex;height:1.1rem;border-radius:.35rem;overflow:hidden;margin:.7rem 0;border:1px solid var(--line)}
.bar span{min-width:4px}
.failure{border-left:4px solid #c1121f;background:var(--soft);padding:.6rem 1rem;margin:1rem 0}
.failure code{white-space:pre-wrap}
.picture{border:1px solid var(--line);border-radius:.5rem;overflow:auto;padding:.4rem;max-height:85vh}
.picture svg{max-width:100%;height:auto}
pre{background:var(--soft);border:1px solid var(--line);border-radius:.5rem;padding:.8rem 1rem;overflow:auto;
max-height:32rem;white-space:pre-wrap}
ul.notes{padding-left:1.2rem}
@media print{.picture,pre{max-height:none;overflow:visible}body{max-width:none}}
"""


@dataclass(frozen=True)
class StageFiles:
    """What the page lists of one pass: its folder and the files in it, paths relative to the folder."""

    folder: str
    name: str
    files: tuple[str, ...]


def index_html(
    report: Report,
    stages: Sequence[StageFiles] = (),
    overview_svg: str | None = None,
    why: str = "",
    reproduce: str = "",
) -> str:
    """A run as one page that needs neither a server nor a network.

    Args:
        report: of the run; its `failure` is shown on top.
        stages: the passes' folders, for links; the first may be the input.
        overview_svg: the picture to embed, or None.
        why: the text of `why.txt`, shown when something stayed in PyTorch.
        reproduce: the command that reproduces a failure.
    """
    parts = [
        f"<h1>{escape(_headline(report))}</h1>",
        f'<p class="muted">{escape(_versions(report))}</p>',
        f'<p class="muted"><code>{escape(report.pipeline)}</code></p>',
        *_failure(report, reproduce),
        '<div class="columns"><section>',
        *_passes(report, stages),
        "</section><section>",
        *_verdicts(report.verdicts),
        *_files(),
        "</section></div>",
        *_segments(report),
        *_notes(report.notes),
        *_overview(overview_svg, stages),
        *(["<h2>Why the rest stayed in PyTorch</h2>", f"<pre>{escape(why)}</pre>"] if why else []),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>trt-passes</title>'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<style>{_STYLE}</style></head>\n<body>\n" + "\n".join(parts) + "\n</body></html>\n"
    )


def _headline(report: Report) -> str:
    if report.failure is not None and not len(report.ledger):
        return "The run did not finish"
    if not len(report.ledger):
        return "trt-passes: no verdicts yet"
    engines = len(report.segments)
    trt = report.verdicts["trt"]
    return f"{trt:,} of {len(report.ledger):,} op nodes in {engines} TensorRT engine{'' if engines == 1 else 's'}"


def _versions(report: Report) -> str:
    return " · ".join(f"{name.replace('_', '-')} {version}" for name, version in report.versions.items())


def _failure(report: Report, reproduce: str) -> list[str]:
    if report.failure is None:
        return []
    again = f"<p>Reproduce with <code>{escape(reproduce)}</code></p>" if reproduce else ""
    return [f'<div class="failure"><code>{escape(report.failure)}</code>{again}</div>']


def _passes(report: Report, stages: Sequence[StageFiles]) -> Iterable[str]:
    yield "<h2>Passes</h2><table><tr><th>pass</th><th>changes</th><th class=number>seconds</th><th>look at</th></tr>"
    records = list(report.passes)
    for position, stage in enumerate(stages):
        record = records[position - 1] if 0 < position <= len(records) else None
        changes = "" if record is None else str(record.changes)
        seconds = "" if record is None else f"{record.seconds:.2f}"
        same = record is not None and record.changes.empty
        yield (
            f"<tr{' class=same' if same else ''}><td>{escape(stage.name)}</td><td>{escape(changes)}</td>"
            f"<td class=number>{seconds}</td><td>{_links(stage)}</td></tr>"
        )
    yield "</table>"


def _links(stage: StageFiles) -> str:
    names = [name for name in stage.files if name.rsplit(".", 1)[-1] in ("svg", "txt", "diff", "json", "log")]
    shown = [f'<a href="{escape(f"{stage.folder}/{name}", quote=True)}">{escape(name)}</a>' for name in names[:8]]
    folder = f'<a href="{escape(stage.folder, quote=True)}/">… {len(names) - 8} more</a>'
    return " · ".join([*shown, folder] if len(names) > 8 else shown)


def _verdicts(verdicts: Mapping[str, int]) -> Iterable[str]:
    present = {name: count for name, count in verdicts.items() if count}
    if not present:
        return
    yield "<h2>Verdicts</h2>"
    bar = "".join(
        f'<span style="flex:{count};background:{style_of(name).border}" title="{name} {count}"></span>'
        for name, count in present.items()
    )
    yield f'<div class="bar">{bar}</div><table>'
    for name, count in present.items():
        style = style_of(name)
        paint = f"background:{style.fill};border-color:{style.border};border-style:{_line(name)}"
        yield f'<tr><td><span class="chip" style="{paint}">{name}</span></td><td class=number>{count:,}</td></tr>'
    yield "</table>"


def _line(verdict: str) -> str:
    style = style_of(verdict)
    return "double" if style.double else style.line


def _files() -> Iterable[str]:
    links = " · ".join(f'<a href="{name}">{name}</a>' for name in ("why.txt", "ledger.jsonl", "run.json"))
    yield f"<p>{links}</p>"


def _segments(report: Report) -> Iterable[str]:
    if not report.segments:
        return
    yield (
        "<h2>Segments</h2><table><tr><th>engine</th><th class=number>op nodes</th><th>inputs</th><th>outputs</th>"
        "<th class=number>engine size</th><th class=number>build seconds</th></tr>"
    )
    for record in report.segments:
        size = "" if record.engine_bytes is None else bytes_text(record.engine_bytes)
        seconds = "" if record.build_seconds is None else f"{record.build_seconds:.2f}"
        yield (
            f"<tr><td>{escape(record.name)}</td><td class=number>{record.ops:,}</td><td>{_values(record.inputs)}</td>"
            f"<td>{_values(record.outputs)}</td><td class=number>{size}</td><td class=number>{seconds}</td></tr>"
        )
    yield "</table>"


def _values(values: Sequence[str]) -> str:
    shown = "<br>".join(f"<code>{escape(value)}</code>" for value in values[:4])
    return f'{shown}<br><span style="color:{MUTED}">and {len(values) - 4} more</span>' if len(values) > 4 else shown


def _notes(notes: Sequence[str]) -> Iterable[str]:
    if notes:
        yield f"<h2>Notes</h2><ul class=notes>{''.join(f'<li>{escape(note)}</li>' for note in notes)}</ul>"


def _overview(svg: str | None, stages: Sequence[StageFiles]) -> Iterable[str]:
    if svg is not None:
        yield f'<h2>Overview</h2><div class="picture">{svg}</div>'
        return
    dots = [f"{stage.folder}/{name}" for stage in stages for name in stage.files if name.endswith(".dot")]
    if dots:
        link = f'<a href="{escape(dots[-1], quote=True)}">{escape(dots[-1])}</a>'
        advice = "No Graphviz was found to draw it (install dot or pygraphviz)"
        yield f"<h2>Overview</h2><p>{advice}; the graph is in {link}.</p>"
