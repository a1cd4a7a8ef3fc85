// The right side: everything about the chosen node.

class Details {
  constructor(state) {
    this.state = state;
    this.summary = new Summary(state);
    this.body = el("div", { class: "details-body" });
    this.element = el("aside", { class: "details", "aria-label": "details", tabindex: "-1" }, this.body);
  }

  show() {
    const { state } = this,
      node = state.node === null ? null : state.pass.graph.byName.get(state.node);
    this.element.classList.toggle("has-node", node !== null || state.chosenGroup !== null);
    this.body.replaceChildren(...(node ? this.node(node, state.pass) : this.summary.content()).filter(Boolean));
  }

  reveal() {
    this.element.scrollTop = 0;
  }

  node(node, pass) {
    const fact = pass.fact(node.name) || this.lastFact();
    return [
      el(
        "header",
        {},
        el("h2", {}, `%${node.name}`),
        button("×", "Let go of the node (Esc)", () => this.state.set({ node: null }), { class: "close" }),
      ),
      el(
        "p",
        { class: "op" },
        el("code", {}, OPERATIONS.has(node.kind) ? node.op : node.kind),
        " ",
        fact && verdictChip(fact.verdict),
        " ",
        fact &&
          fact.segment &&
          el(
            "span",
            { class: "chip hued", style: { "--hue": segmentHue(this.state.run, fact.segment) } },
            fact.segment,
          ),
      ),
      fact && reasonList(this.state, fact),
      this.source(node),
      definitions([
        ["module", node.module && this.modulePath(node.module)],
        ["type", node.type && el("code", {}, node.type)],
        ["bytes", OPERATIONS.has(node.kind) && node.type.includes("[") ? bytesText(node.bytes) : null],
        ["stands for", !OPERATIONS.has(node.kind) && node.op !== node.name && node.kind !== "output" ? node.op : null],
        ["arguments", node.args && el("code", { class: "arguments" }, linkedArguments(this.state, node))],
        ["reads", node.inputs.length > 0 ? manyLinks(this.state, node.inputs) : null],
        ["read by", pass.graph.users(node.name).length ? manyLinks(this.state, pass.graph.users(node.name)) : null],
        ...this.measures(node),
      ]),
      this.state.edits.section([node]),
      this.life(),
      this.tensorrt(),
    ];
  }

  // A graph without verdicts shows those that the node got later.
  lastFact() {
    const passes = [...this.state.run.passes].reverse();
    for (const pass of passes) {
      const names = [...this.state.homes[pass.index]].filter((name) => pass.fact(name));
      if (names.length === 1) return pass.fact(names[0]);
    }
    return null;
  }

  source(node) {
    if (!node.source) return null;
    const line = this.state.run.sourceLine(node.source);
    return el(
      "div",
      { class: "source-place" },
      el("div", { class: "place" }, node.source),
      line && el("pre", { class: "source-line" }, line),
    );
  }

  modulePath(path) {
    const parts = path.split(".");
    const kind = this.state.run.data.modules[path];
    return [path, kind && el("span", { class: "muted" }, ` ${kind}`), parts.length > 1 && null];
  }

  measures(node) {
    return this.state.run.data.measures
      .filter((measure) => node.name in measure.values)
      .map((measure) => [measure.name, new NumberScale(measure).text(measure.values[node.name] ?? Infinity)])
      .concat(
        this.state.run.categories
          .filter(({ values }) => node.name in values)
          .map(({ name, values }) => [name, values[node.name]]),
      );
  }

  // What every pass made of the node: the line where it changed, and where it is not.
  life() {
    const { run, homes, pass: now } = this.state,
      steps = [];
    let last = null;
    run.passes.forEach((pass) => {
      const names = [...homes[pass.index]];
      const nodes = names.map((name) => pass.graph.byName.get(name));
      const lines = nodes.slice(0, 4).map((node) => run.lineText(node));
      const facts = nodes.slice(0, 4).map((node) => factText(pass.fact(node.name)));
      const key = JSON.stringify([lines, facts, names.length]);
      if (key !== last && !(last === null && !names.length)) steps.push({ pass, nodes, facts });
      last = key;
    });
    const current = steps.findLast(({ pass }) => pass.index <= now.index)?.pass;
    return el(
      "section",
      {},
      el("h3", {}, "Before and after"),
      el(
        "ol",
        { class: "life" },
        steps.map(({ pass, nodes, facts }) =>
          el(
            "li",
            { class: pass === current && "now" },
            el("div", { class: "life-pass" }, pass.index ? `after ${pass.name}` : "input"),
            nodes.length === 0 && el("div", { class: "muted" }, "erased"),
            nodes.slice(0, 4).map((node, place) =>
              el(
                "div",
                { class: "life-line" },
                el(
                  "a",
                  {
                    href: "#",
                    onclick: (event) => {
                      event.preventDefault();
                      this.state.set({ pass, node: node.name });
                    },
                  },
                  shortened(run.lineText(node), 150),
                ),
                facts[place] !== "none" && [" ", verdictChip(pass.fact(node.name).verdict, facts[place])],
              ),
            ),
            nodes.length > 4 && el("div", { class: "muted" }, `and ${nodes.length - 4} more nodes`),
          ),
        ),
      ),
    );
  }

  // Layers of the network and kernels of the engine that compute the node, and what else a kernel computes.
  tensorrt() {
    const { run, homes } = this.state,
      main = run.mainPass;
    const names = new Set([...homes[main.index]].flatMap((name) => [name, main.graph.maker(name)]));
    const segments = new Set([...names].map((name) => main.fact(name)?.segment).filter(Boolean));
    if (segments.size !== 1) return null;
    const segment = run.segments.get([...segments][0]);
    if (!segment) return null;
    const layers = segment.network.filter((line) =>
      [...line.matchAll(/\[fx:([^\]]+)\]/g)].some((match) => names.has(match[1])),
    );
    const kernels = segment.layers.filter(([, , nodes]) => nodes && nodes.some((name) => names.has(name)));
    if (!layers.length && !kernels.length) return null;
    return el(
      "section",
      { class: "tensorrt" },
      el("h3", {}, `TensorRT, ${segment.name}`),
      layers.length > 0 &&
        el(
          "div",
          {},
          el("h4", {}, plural(layers.length, "network layer")),
          layers.map((line) => el("pre", {}, line.replace(/\s+# \[fx:.*$/, ""))),
        ),
      kernels.map(([name, type, nodes, tactic]) =>
        el(
          "div",
          { class: "kernel" },
          el("h4", {}, "in the engine"),
          el("code", {}, name),
          ` ${type}`,
          tactic && el("div", { class: "muted" }, tactic),
          nodes.length > 1 &&
            el(
              "p",
              {},
              "one kernel with ",
              manyLinks(
                this.state,
                nodes.filter((item) => !names.has(item)),
                12,
              ),
            ),
        ),
      ),
    );
  }
}

function shortened(text, most) {
  return text.length > most ? `${text.slice(0, most - 1)}…` : text;
}

function linkedArguments(state, node) {
  return shortened(node.args, 1200)
    .split(/(%[\w.]+)/)
    .map((part) =>
      part.startsWith("%") && state.pass.graph.has(part.slice(1)) ? nodeLink(state, part.slice(1)) : part,
    );
}
