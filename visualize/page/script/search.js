// The search: nodes of all passes that a query accepts (query.js), and what the query can be completed to.

const MOST_RESULTS = 60;

class Search {
  constructor(state) {
    this.state = state;
    this.onchange = () => {}; // what shows the nodes that are found
    this.query = "";
    this.at = -1;
    this.input = el("input", {
      type: "search",
      placeholder: "Search: word, op:, verdict: …",
      title: QUERY_HELP,
      "aria-label": "search nodes",
      spellcheck: "false",
      autocomplete: "off",
      oninput: () => this.change(),
      onkeydown: (event) => this.key(event),
      onfocus: () => this.showResults(),
    });
    this.count = el("span", { class: "count", "aria-live": "polite" });
    this.results = el("ul", { class: "results", hidden: true });
    this.element = el("div", { class: "search", role: "search" }, this.input, this.count, this.results);
    document.addEventListener("pointerdown", (event) => {
      if (!this.element.contains(event.target)) this.results.hidden = true;
    });
  }

  // Nodes of a pass that match, in graph order; remembered for as long as the query is the same.
  matches(pass) {
    if (this.matched?.query !== this.query) this.matched = { query: this.query, parsed: new Query(this.query), of: new Map() };
    const { parsed, of } = this.matched,
      key = `${pass.graphIndex} ${pass.factsIndex}`;
    if (!of.has(key)) {
      const { run } = this.state;
      const accepts = (node) => parsed.accepts(run, node, pass.fact(node.name));
      of.set(key, parsed.terms.length ? pass.graph.nodes.filter(accepts) : []);
    }
    return of.get(key);
  }

  // Names found in the chosen pass; null when nothing is searched for.
  found() {
    if (!new Query(this.query).terms.length) return null;
    const key = `${this.query}\n${this.state.pass.index}`;
    if (this.foundKey !== key) {
      this.foundKey = key;
      this.foundNames = new Set(this.matches(this.state.pass).map((node) => node.name));
    }
    return this.foundNames;
  }

  change() {
    this.query = this.input.value.trim();
    this.at = -1;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      this.showResults();
      this.onchange();
    }, 60);
  }

  // The chosen pass first; what only other passes have comes after.
  collect() {
    const here = this.matches(this.state.pass).map((node) => ({ node, pass: this.state.pass }));
    const known = new Set(here.map(({ node }) => node.name));
    const elsewhere = [];
    const graphs = new Set([`${this.state.pass.graphIndex} ${this.state.pass.factsIndex}`]);
    for (const pass of this.state.run.passes) {
      const key = `${pass.graphIndex} ${pass.factsIndex}`;
      if (graphs.has(key)) continue;
      graphs.add(key);
      if (here.length + elsewhere.length > MOST_RESULTS) break;
      for (const node of this.matches(pass)) {
        if (known.has(node.name)) continue;
        known.add(node.name);
        elsewhere.push({ node, pass });
      }
    }
    return [...here, ...elsewhere];
  }

  showResults() {
    this.items = this.query ? this.collect() : [];
    const here = this.items.filter((item) => item.pass === this.state.pass).length;
    this.count.textContent = this.query
      ? this.items.length
        ? `${here}${this.items.length > here ? ` + ${this.items.length - here}` : ""}`
        : "none"
      : "";
    this.results.hidden = !this.query || document.activeElement !== this.input;
    const shown = this.items.slice(0, MOST_RESULTS).map((item, index) => this.result(item, index));
    if (this.items.length > MOST_RESULTS)
      shown.push(el("li", { class: "muted" }, `and ${this.items.length - MOST_RESULTS} more: add a word`));
    if (!this.items.length && new Query(this.query).terms.length)
      shown.push(el("li", { class: "muted" }, "Nothing matches all of this in any pass."));
    this.results.replaceChildren(...this.completionRows(), ...shown);
  }

  completionRows() {
    return completions(this.input.value, this.state.pass).map((item, index) =>
      el(
        "li",
        {},
        el(
          "button",
          {
            type: "button",
            class: "completion",
            title: index ? null : "Tab",
            onclick: () => this.complete(item),
          },
          el("code", {}, item.text),
          item.count !== null && el("span", { class: "muted" }, plural(item.count, "op node")),
        ),
      ),
    );
  }

  complete({ piece, text }) {
    const before = this.input.value;
    this.input.value = `${before.slice(0, before.length - piece.length)}${text}${text.endsWith(":") ? "" : " "}`;
    this.input.focus();
    this.change();
  }

  result({ node, pass }, index) {
    const fact = pass.fact(node.name);
    return el(
      "li",
      {},
      el(
        "button",
        {
          type: "button",
          class: ["result", index === this.at && "at"],
          onclick: () => this.go(index),
        },
        el("b", {}, `%${node.name}`),
        el("code", {}, node.op),
        fact && verdictChip(fact.verdict, factText(fact)),
        el(
          "span",
          { class: "muted" },
          [pass !== this.state.pass && `in ${pass.name}`, node.source].filter(Boolean).join(" · "),
        ),
      ),
    );
  }

  key(event) {
    if (event.key === "Tab" && !event.shiftKey && completions(this.input.value, this.state.pass).length) {
      event.preventDefault();
      this.complete(completions(this.input.value, this.state.pass)[0]);
    } else if (event.key === "Escape") {
      this.clear();
      this.input.blur();
    } else if (event.key === "Enter" || event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      if (!this.items || this.items.query !== this.query) this.showResults();
      const back = event.key === "ArrowUp" || (event.key === "Enter" && event.shiftKey);
      if (this.items.length) this.go((this.at + (back ? -1 : 1) + this.items.length) % this.items.length, false);
    } else return;
    event.stopPropagation();
  }

  go(index, close = true) {
    const { node, pass } = this.items[index];
    this.at = index;
    this.state.set({ pass, node: node.name, chosenGroup: null });
    if (close) this.results.hidden = true;
    else
      this.results.replaceChildren(...this.items.slice(0, MOST_RESULTS).map((item, place) => this.result(item, place)));
    this.results.querySelector(".at")?.scrollIntoView({ block: "nearest" });
  }

  clear() {
    this.input.value = this.query = "";
    this.showResults();
    this.onchange();
  }
}
