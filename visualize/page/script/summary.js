// The right side while no node is chosen: the chosen pass, or the chosen group of nodes.

class Summary {
  constructor(state) {
    this.state = state;
    this.quantised = new QuantisedLayers(state);
  }

  content() {
    const group = this.state.chosenGroup;
    return group ? this.group(group) : this.pass(this.state.pass);
  }

  group(group) {
    const { pass, run } = this.state,
      counts = verdictCounts(pass, group.leaves);
    const operations = group.leaves.filter((node) => OPERATIONS.has(node.kind));
    const kinds = new Map();
    for (const node of operations) kinds.set(node.op, (kinds.get(node.op) || 0) + 1);
    const sources = [...new Set(operations.map((node) => node.source).filter(Boolean))];
    const touched = group.leaves.filter(
      (node) => pass.touched.created.has(node.name) || pass.touched.rewired.has(node.name),
    );
    return [
      el(
        "header",
        {},
        el("h2", {}, group.label),
        button("×", "Let go (Esc)", () => this.state.set({ chosenGroup: null }), { class: "close" }),
      ),
      el("p", { class: "muted" }, "Double-click it, or press e, to open it."),
      el(
        "p",
        {},
        run.data.modules[group.key] && el("code", {}, run.data.modules[group.key]),
        " ",
        plural(operations.length, "op node"),
      ),
      el(
        "p",
        {},
        [...counts].map(([verdict, count]) => [verdictChip(verdict, `${verdict || "no verdict"} ${count}`), " "]),
      ),
      definitions([
        ["path", group.kind === "run" ? null : group.key],
        ["source", sources.slice(0, 6).join(", ")],
        [
          "changed here",
          touched.length
            ? manyLinks(
                this.state,
                touched.map((node) => node.name),
                8,
              )
            : null,
        ],
      ]),
      this.state.edits.section(group.leaves),
      el("h3", {}, "Operators"),
      el(
        "ul",
        { class: "counts" },
        [...kinds]
          .sort(([, a], [, b]) => b - a)
          .slice(0, 24)
          .map(([op, count]) => el("li", {}, el("code", {}, op), el("span", { class: "number" }, count))),
      ),
    ];
  }

  pass(pass) {
    const { run } = this.state,
      { touched, counts } = pass;
    const names = (set) => (set.size ? manyLinks(this.state, set, 8) : null);
    return [
      el("header", {}, el("h2", {}, pass.name)),
      el("p", {}, withCode(pass.about)),
      pass.unchanged && el("p", { class: "muted" }, "It changed nothing in the graph."),
      el(
        "p",
        {},
        [...counts]
          .filter(([verdict]) => verdict)
          .map(([verdict, count]) => [verdictChip(verdict, `${verdict} ${countText(count)}`), " "]),
      ),
      definitions([
        ["took", secondsText(pass.seconds)],
        ["op nodes", countText(pass.graph.operations.length)],
        ["created", names(touched.created)],
        ["rewired", names(touched.rewired)],
        ["judged anew", names(touched.annotated)],
        ["erased", touched.erased.size ? this.erased(pass, touched.erased) : null],
        ["files", pass.files.length ? fileLinks(pass) : null],
      ]),
      this.state.edits.count > 0 && this.state.edits.section([]),
      ...this.run(run),
    ];
  }

  erased(pass, names) {
    const list = [...names];
    return [
      list.slice(0, 8).map((name) => [
        el(
          "a",
          {
            href: "#",
            onclick: (event) => {
              event.preventDefault();
              this.state.set({ pass: pass.previous, node: name });
            },
          },
          `%${name}`,
        ),
        " ",
      ]),
      list.length > 8 && `and ${countText(list.length - 8)} more`,
    ];
  }

  run(run) {
    const { report } = run;
    const settings = Object.entries(report.settings).map(([name, value]) => [name, JSON.stringify(value)]);
    return [
      this.quantised.section(),
      report.notes.length > 0 &&
        el(
          "section",
          {},
          el("h3", {}, "Notes"),
          el(
            "ul",
            {},
            report.notes.map((note) => el("li", {}, note)),
          ),
        ),
      el(
        "section",
        {},
        el("h3", {}, "The run"),
        definitions([
          ["command", report.command && el("code", {}, report.command)],
          ["pipeline", el("code", {}, report.pipeline.split(/(?<=,)/).map((name) => [name, el("wbr")]))],
          ...Object.entries(report.versions).map(([name, version]) => [name.replaceAll("_", "-"), version]),
        ]),
        el("details", {}, el("summary", {}, "settings"), definitions(settings)),
        run.data.passes.some((pass) => pass.files.length) &&
          el(
            "p",
            {},
            ["why.txt", "ledger.jsonl", "run.json"].map((name) => [el("a", { href: name }, name), " "]),
          ),
      ),
    ];
  }
}
