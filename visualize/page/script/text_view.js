// The text of the chosen pass, whole or as the difference to another pass.

class TextView {
  constructor(state, search) {
    this.state = state;
    this.search = search;
    this.lines = [];
    this.rows = new VirtualRows(20, (index) => this.row(this.lines[index]), {
      class: "scroller code",
      "aria-label": "text",
    });
    this.mode = el(
      "select",
      { "aria-label": "lines", onchange: () => this.show() },
      el("option", { value: "all" }, "all lines"),
      el("option", { value: "changes" }, "changes only"),
      el("option", { value: "plain" }, "without changes"),
    );
    this.against = el("select", { "aria-label": "compare with", onchange: () => this.compareWith(this.against.value) });
    this.wrap = el("input", { type: "checkbox", checked: true, onchange: () => this.show() });
    this.summary = el("span", { class: "status" });
    this.element = el(
      "section",
      { class: "view text-view" },
      el(
        "div",
        { class: "toolbar" },
        this.mode,
        el("label", {}, " compared with ", this.against),
        el("label", { title: "Break long lines, or scroll to their end" }, this.wrap, " wrap lines"),
        this.summary,
      ),
      this.rows.element,
    );
  }

  compareWith(folder) {
    this.state.compare = this.state.run.passes.find((pass) => pass.folder === folder) || null;
    this.show();
  }

  before() {
    const { pass, compare } = this.state;
    return compare && compare !== pass ? compare : pass.previous;
  }

  show() {
    const { pass, run } = this.state,
      before = this.before();
    this.against.replaceChildren(
      ...run.passes
        .filter((other) => other !== pass)
        .map((other) =>
          el(
            "option",
            { value: other.folder, selected: other === before },
            other === pass.previous ? `${other.name} (the pass before)` : other.name,
          ),
        ),
    );
    this.against.disabled = before === null;
    const changed = before === null ? [] : diffLines(before, pass);
    const counts = (sign) => changed.filter((line) => line.sign === sign).length;
    if (this.mode.value === "plain" || before === null) this.lines = plainLines(pass);
    else this.lines = this.mode.value === "changes" ? onlyChanges(changed) : changed;
    this.summary.textContent =
      before === null
        ? plural(pass.graph.nodes.length, "line")
        : `${counts("+")} added, ${counts("-")} removed, ${plural(counts("~"), "verdict")} changed`;
    const wraps = this.wrap.checked;
    const longest = wraps ? 0 : this.lines.reduce((most, line) => Math.max(most, line.node ? this.width(line) : 0), 0);
    this.rows.show(this.lines.length, wraps ? "" : `${longest + 12}ch`, wraps);
    const chosen = this.lines.findIndex((line) => line.node && line.sign !== "-" && line.node.name === this.state.node);
    if (chosen >= 0) this.rows.reveal(chosen);
  }

  width(line) {
    return this.state.run.lineText(line.node).length + line.node.module.length + line.node.source.length + 40;
  }

  row(line) {
    if (!line.node) return el("div", { class: "line skipped" }, `⋯ ${plural(line.skipped, "line")} the same`);
    const { node, sign, fact, was } = line,
      { run } = this.state;
    const found = this.search.found();
    const chosen = this.state.homes && this.state.homes[line.pass.index].has(node.name);
    const change = sign === "~" ? [verdictChip(was?.verdict, factText(was)), "→"] : [];
    return el(
      "div",
      {
        class: [
          "line",
          { "+": "added", "-": "removed", "~": "judged" }[sign],
          chosen && "chosen",
          found?.has(node.name) && "found",
        ],
        "data-node": node.name,
        onclick: () => this.state.set({ pass: line.pass, node: node.name }),
      },
      el("span", { class: "sign" }, sign),
      el("span", { class: "ir" }, colouredLine(run, node, line.pass, this.state)),
      el(
        "span",
        { class: "notes" },
        change,
        fact && verdictChip(fact.verdict, factText(fact)),
        node.module && el("span", { class: "module" }, node.module),
        node.source && el("span", { class: "source" }, node.source),
      ),
    );
  }
}

function factText(fact) {
  if (!fact) return "none";
  if (fact.verdict === "trt") return fact.segment || "trt";
  return [fact.verdict, ...new Set(fact.reasons.map((reason) => reason.code))].join(" ");
}

// A line of text with its names as links to the nodes.
function colouredLine(run, node, pass, state) {
  const parts = run.lineText(node).split(/(%[\w.]+)/);
  return parts.map((part, index) => {
    if (!part.startsWith("%") || !pass.graph.has(part.slice(1))) return part;
    const name = part.slice(1);
    if (index === 1 && node.kind !== "output") return el("b", {}, part);
    return el(
      "a",
      {
        href: "#",
        onclick: (event) => {
          event.preventDefault();
          event.stopPropagation();
          state.set({ pass, node: name });
        },
      },
      part,
    );
  });
}
