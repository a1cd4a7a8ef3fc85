// The ledger: one row per op node with its final verdict; sorted by any column, filtered by the search and by verdict.
// Columns are as wide as what is in them, the sentence gets the rest and wraps, and columns without content are left out.

const WIDEST_COLUMN = 230;
const LEAST_SENTENCE = 190;

const LEDGER_COLUMNS = [
  ["node", (row) => `%${row.node.name}`],
  ["op", (row) => row.node.op],
  ["verdict", (row) => row.fact.verdict],
  ["codes", (row) => [...new Set(row.fact.reasons.map((reason) => reason.code))].join(" ")],
  ["why", (row) => whyText(row.fact)],
  ["segment", (row) => row.fact.segment],
  ["module", (row) => row.node.module],
  ["source", (row) => row.node.source],
];

class LedgerView {
  constructor(state, search) {
    this.state = state;
    this.search = search;
    this.order = { column: null, down: false };
    this.rows = new VirtualRows(26, (index) => this.row(this.shown[index]), {
      class: "scroller table",
      role: "rowgroup",
    });
    this.filter = el("input", {
      type: "search",
      placeholder: "filter rows",
      "aria-label": "filter rows",
      title: QUERY_HELP,
      oninput: () => this.show(),
    });
    this.chips = el("span", { class: "chips" });
    this.summary = el("span", { class: "status" });
    this.head = el("div", { class: "table-row head", role: "row" });
    this.element = el(
      "section",
      { class: "view ledger-view" },
      el("div", { class: "toolbar" }, this.filter, this.chips, this.summary),
      this.rows.element,
    );
    this.rows.element.prepend(this.head);
    new ResizeObserver(() => {
      if (this.columns && this.isNarrow() !== this.isStacked()) this.show();
    }).observe(this.rows.element);
  }

  isStacked() {
    return this.rows.element.classList.contains("stacked");
  }

  // Whether the columns need more room than there is: then a row has two lines, and nothing is out of sight.
  isNarrow() {
    const { clientWidth } = this.rows.element;
    return clientWidth > 0 && clientWidth < this.least;
  }

  show() {
    const { run, hidden } = this.state,
      all = run.ledger;
    const own = new Query(this.filter.value),
      searched = new Query(this.search.query);
    this.shown = all.filter(
      ({ node, fact }) => !hidden.has(fact.verdict) && own.accepts(run, node, fact) && searched.accepts(run, node, fact),
    );
    this.sort();
    this.layColumns(all);
    this.showHead();
    this.showChips(all);
    const because = this.search.query ? `, as searched for “${this.search.query}”` : "";
    this.summary.textContent = all.length
      ? `${countText(this.shown.length)} of ${plural(all.length, "op node")}${because}`
      : "The run stopped before annotate: no op node has a verdict.";
    this.rows.element.classList.toggle("stacked", this.isNarrow());
    this.rows.show(this.shown.length, "", true);
    const chosen = this.shown.findIndex((row) => row.node.name === this.state.node);
    if (chosen >= 0) this.rows.reveal(chosen);
  }

  // The sentence takes the room that is left.
  layColumns(all) {
    if (this.laidFor === all) return;
    this.laidFor = all;
    const widths = LEDGER_COLUMNS.map(([name, value]) => {
      const font = name === "node" || name === "op" ? FONT_CODE : FONT_CELL;
      const longest = all.reduce((most, row) => Math.max(most, quickWidth(value(row), font)), 0);
      return longest && Math.ceil(Math.min(Math.max(longest, quickWidth(`${name} ↓`, FONT_TITLE)), WIDEST_COLUMN)) + 17;
    });
    this.columns = LEDGER_COLUMNS.map((column, index) => ({ column, index })).filter(({ index }) => widths[index]);
    const text = this.columns.map(({ column: [name], index }) =>
      name === "why" ? `minmax(${LEAST_SENTENCE}px, 1fr)` : `${widths[index]}px`,
    );
    this.least = this.columns.reduce(
      (sum, { column: [name], index }) => sum + (name === "why" ? LEAST_SENTENCE : widths[index]),
      0,
    );
    this.rows.element.style.setProperty("--columns", text.join(" "));
  }

  sort() {
    const { column, down } = this.order;
    if (column === null) return;
    const value = LEDGER_COLUMNS[column][1],
      sign = down ? -1 : 1;
    this.shown = [...this.shown].sort((a, b) => sign * value(a).localeCompare(value(b), "en", { numeric: true }));
  }

  showHead() {
    this.head.replaceChildren(
      ...this.columns.map(({ column: [name], index: column }) => {
        const active = this.order.column === column;
        return el(
          "button",
          {
            type: "button",
            class: `cell c-${name}`,
            role: "columnheader",
            title: `Sort by ${name}`,
            "aria-sort": active ? (this.order.down ? "descending" : "ascending") : "none",
            onclick: () => this.sortBy(column),
          },
          name,
          active ? (this.order.down ? " ↓" : " ↑") : "",
        );
      }),
    );
  }

  // Up, down, then the order of the graph again.
  sortBy(column) {
    const { column: current, down } = this.order;
    if (current !== column) this.order = { column, down: false };
    else this.order = down ? { column: null, down: false } : { column, down: true };
    this.show();
  }

  showChips(all) {
    const counts = new Map();
    for (const { fact } of all) counts.set(fact.verdict, (counts.get(fact.verdict) || 0) + 1);
    this.chips.replaceChildren(
      ...SHARE_ORDER.filter((verdict) => counts.has(verdict)).map((verdict) =>
        el(
          "button",
          {
            type: "button",
            class: ["chip", `v-${verdict}`, this.state.hidden.has(verdict) && "off"],
            "aria-pressed": String(!this.state.hidden.has(verdict)),
            title: "Click to leave these out, or take them in again",
            onclick: () => {
              if (!this.state.hidden.delete(verdict)) this.state.hidden.add(verdict);
              this.state.notify();
            },
          },
          `${verdict} ${countText(counts.get(verdict))}`,
        ),
      ),
    );
  }

  row(row) {
    const { node } = row;
    return el(
      "div",
      {
        class: ["table-row", node.name === this.state.node && "chosen"],
        role: "row",
        "data-node": node.name,
        onclick: () =>
          this.state.set({
            pass: this.state.pass.graph.has(node.name) ? this.state.pass : this.state.run.mainPass,
            node: node.name,
          }),
      },
      this.columns.map(({ column: [name, value] }) =>
        el("div", { class: `cell c-${name}`, role: "cell" }, name === "verdict" ? verdictChip(value(row)) : value(row)),
      ),
    );
  }
}

function whyText(fact) {
  return fact.reasons.map((reason) => reason.message).join(" ") || (fact.because ? `because of %${fact.because}` : "");
}
