// The ledger: one row per op node with its final verdict; sorted by any column, filtered by the search and by verdict.

const LEDGER_COLUMNS = [
  ["node", (row) => row.node.name],
  ["op", (row) => row.node.op],
  ["verdict", (row) => row.fact.verdict],
  ["codes", (row) => [...new Set(row.fact.reasons.map((reason) => reason.code))].join(" ")],
  ["why", (row) => row.fact.reasons[0]?.message || ""],
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
  }

  show() {
    const all = this.state.run.ledger,
      words = this.filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    const found = this.search.query ? this.search.matcher() : null;
    this.shown = all.filter(({ node, fact }) => {
      if (this.state.hidden.has(fact.verdict)) return false;
      const text = `${this.state.run.searchText(node, fact)}\n${fact.reasons
        .map((reason) => reason.message)
        .join("\n")
        .toLowerCase()}`;
      return words.every((word) => text.includes(word)) && (!found || found(text));
    });
    this.sort();
    this.showHead();
    this.showChips(all);
    const searched = found ? `, as searched for “${this.search.query}”` : "";
    this.summary.textContent = all.length
      ? `${this.shown.length.toLocaleString("en")} of ${plural(all.length, "op node")}${searched}`
      : "The run stopped before annotate: no op node has a verdict.";
    this.rows.show(this.shown.length);
    const chosen = this.shown.findIndex((row) => row.node.name === this.state.node);
    if (chosen >= 0) this.rows.reveal(chosen);
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
      ...LEDGER_COLUMNS.map(([name], column) => {
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
          `${verdict} ${counts.get(verdict).toLocaleString("en")}`,
        ),
      ),
    );
  }

  row({ node, fact }) {
    const cell = (name, ...content) =>
      el(
        "div",
        {
          class: `cell c-${name}`,
          role: "cell",
          title: content.every((item) => typeof item === "string") ? content.join("") : null,
        },
        content,
      );
    const codes = [...new Set(fact.reasons.map((reason) => reason.code))];
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
      cell("node", `%${node.name}`),
      cell("op", node.op),
      cell("verdict", verdictChip(fact.verdict)),
      cell("codes", codes.join(" ")),
      cell("why", fact.reasons[0]?.message || ""),
      cell("segment", fact.segment),
      cell("module", node.module),
      cell("source", node.source),
    );
  }
}
