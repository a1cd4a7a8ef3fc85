"""Verdicts of a run: kept line by line, counted, shown."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path

from .judge import FAILURES, Kind, Verdict
from .program import Program
from .refusals import kind_of


@dataclass
class Results:
    """Verdicts by number, kept in a folder if there is one."""

    folder: Path | None = None
    verdicts: dict[int, Verdict] = field(default_factory=dict)

    @classmethod
    def of(cls, folder: Path | None) -> Results:
        """What a folder holds of an earlier run; the folder is made if it is missing."""
        results = cls(folder)
        if folder is not None:
            (folder / "failures").mkdir(parents=True, exist_ok=True)
            file = folder / "verdicts.jsonl"
            for line in file.read_text().splitlines() if file.exists() else ():
                record = json.loads(line)
                results.verdicts[record["number"]] = Verdict(**{**record, "kind": Kind(record["kind"])})
        return results

    def add(self, verdict: Verdict) -> None:
        """Take a verdict, and write it down at once."""
        self.verdicts[verdict.number] = verdict
        if self.folder is not None:
            if verdict.source:
                (self.folder / "failures" / f"program_{verdict.number}_whole.py").write_text(verdict.source)
            with (self.folder / "verdicts.jsonl").open("a") as file:
                file.write(json.dumps({**asdict(verdict), "source": ""}) + "\n")

    def failures(self) -> list[Verdict]:
        """What failed, by number."""
        return [verdict for _, verdict in sorted(self.verdicts.items()) if verdict.kind in FAILURES]

    def examples(self) -> list[Verdict]:
        """One failure of every group, the largest groups first; of wrong ones, which look alike, each."""
        groups = Counter(verdict.group for verdict in self.failures())
        found: dict[str, Verdict] = {}
        for verdict in self.failures():
            found.setdefault(f"{verdict.number}" if verdict.kind is Kind.WRONG else verdict.group, verdict)
        return sorted(found.values(), key=lambda v: (v.kind is not Kind.WRONG, -groups[v.group]))

    def keep(self, program: Program, verdict: Verdict) -> str:
        """The text of a program made short; it is written to `failures/`."""
        text = program.file(
            f"Random program {verdict.number}, made short: {verdict.kind}.\n\n{verdict.message[:600]}\n"
        )
        if self.folder is not None:
            (self.folder / "failures" / f"program_{verdict.number}.py").write_text(text)
        body = program.source().partition("class Model")[2]
        case = f"{program.ranges} {program.case}\n{program.arguments}"
        return f"program {verdict.number}: {verdict.kind}: {verdict.message[:400]}\nclass Model{body}{case}"

    def counts(self) -> dict[str, int]:
        """How many of each kind."""
        counts = Counter(verdict.kind for verdict in self.verdicts.values())
        return {str(kind): counts[kind] for kind in Kind if counts[kind]}

    def table(self) -> str:
        """Counts, refusals by sentence, and failures by group, as text."""
        lines = [f"{count:6} {kind}" for kind, count in self.counts().items()]
        refused = [v for v in self.verdicts.values() if v.kind in (Kind.REFUSED, Kind.PLAINER, Kind.PYTORCH)]
        lines += _grouped("refusals and PyTorch's own failures", {v.number: kind_of(v.message) for v in refused})
        lines += _grouped("failures", {v.number: v.group for v in self.failures()})
        slow = sorted(self.verdicts.values(), key=lambda v: -v.seconds)[:5]
        lines += ["", "slowest: " + ", ".join(f"{v.number} ({v.seconds:.0f} s)" for v in slow)]
        return "\n".join(lines)

    def write(self) -> None:
        """Write `results.json` and `table.txt`."""
        if self.folder is None:
            return
        record = {"counts": self.counts(), "failures": [asdict(verdict) for verdict in self.failures()]}
        (self.folder / "results.json").write_text(json.dumps(record, indent=1) + "\n")
        (self.folder / "table.txt").write_text(self.table() + "\n")


def _grouped(title: str, sentences: dict[int, str]) -> list[str]:
    groups: dict[str, list[int]] = {}
    for number, sentence in sorted(sentences.items()):
        groups.setdefault(sentence, []).append(number)
    if not groups:
        return []
    ordered = sorted(groups.items(), key=lambda item: -len(item[1]))
    return ["", f"{title}:", *(f"{len(numbers):6} {text} (as in {numbers[0]})" for text, numbers in ordered)]
