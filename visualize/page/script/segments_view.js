// Every segment: what crosses its boundary, the layers of its network, the kernels of its engine.

class SegmentsView {
  constructor(state) {
    this.state = state;
    this.body = el("div", { class: "prose" });
    this.element = el("section", { class: "view segments-view" }, el("div", { class: "page" }, this.body));
  }

  show() {
    if (!this.made) this.body.replaceChildren(...this.content());
    this.made = true;
    const name = this.state.node === null ? "" : this.state.run.mainPass.fact(this.state.node)?.segment;
    for (const card of this.body.querySelectorAll("[data-segment]"))
      card.classList.toggle("chosen", card.dataset.segment === name);
  }

  content() {
    const { run } = this.state,
      { segments, islands } = run.data,
      { boundary } = run.report;
    if (!segments.length)
      return [el("p", {}, "There are no segments: the run stopped before partition, or nothing went to TensorRT.")];
    const unknown = boundary.unknown ? ` and ${boundary.unknown} of unknown size` : "";
    return [
      el("h2", {}, `${plural(segments.length, "engine")}, ${plural(islands.length, "PyTorch island")}`),
      el(
        "p",
        {},
        `${plural(boundary.crossings, "tensor")} cross engine boundaries per call: ${bytesText(boundary.bytes)}${unknown}, `,
        `with ${plural(boundary.casts, "cast")}. `,
        button("show as a graph", "The graph, folded into engines and islands", () => this.asGraph()),
      ),
      ...segments.map((segment) => this.card(segment)),
      ...(islands.length ? [el("h2", {}, "PyTorch islands")] : []),
      ...islands.map((island) =>
        el(
          "p",
          {},
          el("b", {}, island.name),
          ` ${plural(island.nodes.length, "op node")}: `,
          island.nodes.slice(0, 12).map((name) => [nodeLink(this.state, name), " "]),
          island.nodes.length > 12 && `and ${island.nodes.length - 12} more`,
        ),
      ),
    ];
  }

  asGraph() {
    for (const region of [...this.state.run.data.segments, ...this.state.run.data.islands])
      this.state.closed.add(region.name);
    this.state.set({ view: "graph", group: "segment", pass: this.state.run.mainPass, node: null });
  }

  card(segment) {
    const bill = this.state.run.report.boundary.engines.find((engine) => engine.segment === segment.name);
    const facts = [
      plural(segment.ops, "op node"),
      segment.engine_bytes !== null && `engine ${bytesText(segment.engine_bytes)}`,
      segment.build_seconds !== null && `built in ${secondsText(segment.build_seconds)}`,
    ].filter(Boolean);
    return el(
      "article",
      { class: "segment", "data-segment": segment.name, style: { "--hue": segmentHue(this.state.run, segment.name) } },
      el("h3", {}, segment.name, el("span", { class: "muted" }, ` ${facts.join(" · ")}`)),
      bill && this.boundary(bill),
      this.lines(`network: ${plural(segment.network.length, "line")}`, segment.network, (line) => line),
      this.lines(`engine: ${plural(segment.layers.length, "kernel")}`, segment.layers, (layer) => layerText(layer)),
    );
  }

  boundary(bill) {
    const row = (item) =>
      el(
        "tr",
        {},
        el("td", {}, item.direction),
        el("td", {}, nodeLink(this.state, item.name)),
        el("td", {}, el("code", {}, item.type)),
        el("td", { class: "number" }, bytesText(item.nbytes)),
        el("td", {}, `${item.made_in} → ${item.read_in.join(", ")}`),
        el("td", {}, item.casts.map((cast) => `${cast.source} → ${cast.target} in ${cast.place}`).join(", ")),
      );
    const rows = [...bill.inputs, ...bill.outputs];
    const table = (some) =>
      el(
        "div",
        { class: "table-scroll" },
        el(
          "table",
          {},
          el(
            "thead",
            {},
            el(
              "tr",
              {},
              ["", "tensor", "type", "bytes", "from → to", "casts"].map((text) => el("th", {}, text)),
            ),
          ),
          el("tbody", {}, some.map(row)),
        ),
      );
    if (rows.length <= 14) return table(rows);
    const more = el(
      "details",
      {
        ontoggle: () => {
          if (more.children.length === 1) more.append(table(rows.slice(10)));
        },
      },
      el("summary", {}, `${rows.length - 10} more tensors`),
    );
    return el("div", {}, table(rows.slice(0, 10)), more);
  }

  lines(title, items, text) {
    if (!items.length) return null;
    const details = el(
      "details",
      {
        ontoggle: () => {
          if (details.children.length > 1) return;
          const rows = new VirtualRows(18, (index) => el("div", { class: "line" }, text(items[index])), {
            class: "scroller code short",
          });
          details.append(rows.element);
          rows.show(items.length, "", true);
        },
      },
      el("summary", {}, title),
    );
    return details;
  }
}

function layerText([name, type, nodes, tactic]) {
  const from = (nodes || []).map((node) => `%${node}`).join(" ");
  return [`${name} [${type}]`, from, tactic].filter(Boolean).join("  ");
}
