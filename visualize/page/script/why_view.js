// Why operators stay in PyTorch: by the line of the user's code, with what fixing each would gain, best first.

class WhyView {
  constructor(state) {
    this.state = state;
    this.body = el("div", { class: "prose" });
    this.element = el("section", { class: "view why-view" }, el("div", { class: "page" }, this.body));
  }

  show() {
    if (!this.made) this.body.replaceChildren(...this.content());
    this.made = true;
    for (const link of this.body.querySelectorAll("[data-node]"))
      link.classList.toggle("chosen", link.dataset.node === this.state.node);
  }

  content() {
    const { run } = this.state,
      rows = run.ledger;
    if (!rows.length) return [el("p", {}, "The run stopped before annotate, so no op node has a verdict.")];
    const left = rows.filter((row) => row.fact.verdict !== "trt");
    const head = el(
      "h2",
      {},
      left.length
        ? `${plural(left.length, "op node")} of ${countText(rows.length)} stay in PyTorch`
        : "Everything went to TensorRT",
    );
    return [head, ...this.gains(), ...this.blockers(left), el("h2", {}, "Coverage by module"), this.modules(rows)];
  }

  gains() {
    const gains = this.state.run.data.gains;
    if (!gains) return [];
    const items = gains.fallbacks.filter((item) => item.gain).map((item) => item.gain);
    const all = [...items, ...(gains.together ? [gains.together] : []), ...gains.smaller_blocks];
    if (!all.length) return [];
    const note = gains.left_out
      ? [el("p", { class: "muted" }, `${plural(gains.left_out, "more source line")} not analysed.`)]
      : [];
    return [
      el("h3", {}, "What fixing each would gain, best first"),
      el(
        "div",
        { class: "table-scroll" },
        el(
          "table",
          { class: "gains" },
          el(
            "thead",
            {},
            el(
              "tr",
              {},
              ["change", "engines", "op nodes in TensorRT", "bytes across engine boundaries"].map((text) =>
                el("th", {}, text),
              ),
            ),
          ),
          el(
            "tbody",
            {},
            all.map((gain) => this.gainRow(gain)),
          ),
        ),
      ),
      ...note,
    ];
  }

  gainRow(gain) {
    const signed = (value) => `${value > 0 ? "+" : value < 0 ? "−" : ""}${countText(Math.abs(value))}`;
    const merged = gain.merged
      .map((names) =>
        names.length > 4 ? `${names.length} segments (${names[0]} to ${names.at(-1)})` : names.join(" + "),
      )
      .join("; ");
    const copies = (list) =>
      list
        .slice(0, 3)
        .map((item) => `${item.count} × ${item.type}`)
        .join(", ");
    return el(
      "tr",
      {},
      el("td", {}, gain.change, merged && el("div", { class: "muted" }, `merges ${merged}`)),
      el("td", { class: "number" }, `${gain.engines_before} → ${gain.engines_after}`),
      el("td", { class: ["number", gain.nodes_gained > 0 && "good"] }, signed(gain.nodes_gained)),
      el(
        "td",
        {
          class: ["number", gain.bytes_saved > 0 && "good"],
          title: [
            copies(gain.copies_saved) && `saved: ${copies(gain.copies_saved)}`,
            copies(gain.copies_added) && `added: ${copies(gain.copies_added)}`,
          ]
            .filter(Boolean)
            .join("\n"),
        },
        gain.bytes_saved === 0
          ? "the same"
          : gain.bytes_saved > 0
            ? `−${bytesText(gain.bytes_saved)}`
            : `+${bytesText(-gain.bytes_saved)}`,
      ),
    );
  }

  blockers(left) {
    const groups = new Map();
    for (const row of left) {
      const key = row.node.source || row.node.module || row.node.name;
      if (!groups.has(key)) groups.set(key, []);
      groups.get(key).push(row);
    }
    const follows = (rows) => rows.every((row) => row.fact.verdict === "demoted");
    return [...groups]
      .sort(([, a], [, b]) => follows(a) - follows(b) || b.length - a.length)
      .map(([place, rows]) => this.blocker(place, rows));
  }

  blocker(place, rows) {
    const { run } = this.state,
      line = run.sourceLine(rows[0].node.source);
    const modules = [...new Set(rows.map((row) => row.node.module))].filter(Boolean);
    const gain = run.data.gains?.fallbacks.find(
      (item) => item.gain && item.group.nodes.includes(rows[0].node.name),
    )?.gain;
    return el(
      "article",
      { class: "blocker", "data-source": place },
      el("h3", {}, place, el("span", { class: "muted" }, ` ${plural(rows.length, "op node")}`)),
      line && el("pre", { class: "source-line" }, line),
      modules.length > 0 &&
        el(
          "p",
          { class: "muted" },
          `in ${modules.slice(0, 4).join(", ")}${modules.length > 4 ? ` and ${modules.length - 4} more` : ""}`,
        ),
      this.reasons(rows),
      gain &&
        el(
          "p",
          { class: "gain" },
          `Supporting it: ${plural(gain.engines_before, "engine")} → ${gain.engines_after}, `,
          `${plural(gain.nodes_gained, "op node")} gained.`,
        ),
    );
  }

  // Operators that stay for the same reasons, together.
  reasons(rows) {
    const alike = new Map();
    for (const row of rows) {
      const key = JSON.stringify([row.node.op, row.fact.verdict, row.fact.reasons.map((reason) => reason.code)]);
      if (!alike.has(key)) alike.set(key, []);
      alike.get(key).push(row);
    }
    return el(
      "ul",
      { class: "reasons" },
      [...alike.values()].map((same) => {
        const [{ node, fact }] = same;
        return el(
          "li",
          {},
          verdictChip(fact.verdict),
          " ",
          el("code", {}, node.op),
          " ",
          same.slice(0, 8).map((row) => [nodeLink(this.state, row.node.name), " "]),
          same.length > 8 && `and ${same.length - 8} more`,
          reasonList(this.state, fact),
        );
      }),
    );
  }

  modules(rows) {
    const errors = this.state.run.data.measures.find((measure) => measure.unit === "relative L2");
    const scale = errors ? new NumberScale(errors) : null;
    const tree = moduleTree(rows);
    const item = (module, depth) => {
      const head = [
        el("span", { class: "module-name" }, module.name || "the model"),
        el("span", { class: "muted" }, this.state.run.data.modules[module.path] || ""),
        el("span", { class: "bar" }, el("i", { style: { width: `${(100 * module.trt) / module.ops}%` } })),
        el("span", { class: "number" }, percentText(module.trt, module.ops)),
        el(
          "span",
          { class: "number muted" },
          `${countText(module.trt)} / ${countText(module.ops)}`,
        ),
        el("span", { class: "number muted" }, worstText(scale, module.nodes)),
      ];
      const children = [...module.children.values()];
      if (!children.length) return el("li", { class: "module-row" }, head);
      const open = (depth < 2 && children.length <= 16 && module.trt < module.ops) || depth === 0;
      return el(
        "li",
        {},
        el(
          "details",
          { open },
          el("summary", { class: "module-row" }, head),
          el(
            "ul",
            {},
            children.map((child) => item(child, depth + 1)),
          ),
        ),
      );
    };
    return el("ul", { class: "modules" }, item(tree, 0));
  }
}

// The largest error in a module, where errors were measured.
function worstText(scale, nodes) {
  const worst = scale && scale.of(nodes);
  return worst ? `error ${scale.text(worst.value)}` : "";
}

function moduleTree(rows) {
  const root = { name: "", path: "", ops: 0, trt: 0, nodes: [], children: new Map() };
  for (const { node, fact } of rows) {
    const parts = node.module ? node.module.split(".") : [];
    let module = root;
    const count = (item) => {
      item.ops += 1;
      item.nodes.push(node);
      item.trt += fact.verdict === "trt" ? 1 : 0;
    };
    count(module);
    parts.forEach((name, index) => {
      if (!module.children.has(name))
        module.children.set(name, {
          name,
          path: parts.slice(0, index + 1).join("."),
          ops: 0,
          trt: 0,
          nodes: [],
          children: new Map(),
        });
      module = module.children.get(name);
      count(module);
    });
  }
  return root;
}
