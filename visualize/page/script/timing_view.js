// Where the time of the run went: passes, engine builds; and the numbers per node that the run measured.

const RUN_TIME = "run time";

class TimingView {
  constructor(state) {
    this.state = state;
    this.body = el("div", { class: "prose" });
    this.element = el("section", { class: "view timing-view" }, el("div", { class: "page" }, this.body));
  }

  show() {
    const { run, pass } = this.state;
    const passes = run.passes.filter((item) => item.seconds !== null);
    const total = passes.reduce((sum, item) => sum + item.seconds, 0);
    const built = run.data.segments.filter((segment) => segment.build_seconds !== null);
    this.body.replaceChildren(
      ...this.runTime(),
      el("h2", {}, `Compile time: ${secondsText(total) || "0 s"} in ${plural(passes.length, "pass")}`),
      bars(
        passes.map((item) => ({
          label: item.name,
          value: item.seconds,
          text: secondsText(item.seconds),
          chosen: item === pass,
          action: () => this.state.set({ pass: item, view: "graph" }),
        })),
      ),
      ...(built.length
        ? [
            el("h2", {}, "Build time of engines"),
            bars(
              built.map((segment) => ({
                label: segment.name,
                value: segment.build_seconds,
                text: secondsText(segment.build_seconds),
                note: plural(segment.ops, "op node"),
              })),
            ),
          ]
        : []),
      ...run.data.measures
        .filter((measure) => measure.unit !== "s" && measure.name !== RUN_TIME)
        .flatMap((measure) => this.measure(measure)),
    );
  }

  // What calls of the compiled model take, by op node and by module, where that was measured.
  runTime() {
    const measure = this.state.run.data.measures.find((item) => item.name === RUN_TIME);
    if (!measure) return [];
    const map = el("div", { class: "tree-map" });
    if (this.state.run.data.tree_map) {
      const parsed = new DOMParser().parseFromString(this.state.run.data.tree_map, "image/svg+xml");
      map.append(document.importNode(parsed.documentElement, true));
    }
    return [...this.measure(measure), el("h2", {}, "Run time by module"), map];
  }

  measure(measure) {
    const scale = new NumberScale(measure);
    const worst = Object.entries(measure.values)
      .sort(([, a], [, b]) => (b ?? Infinity) - (a ?? Infinity))
      .slice(0, 25);
    return [
      el("h2", {}, `Largest ${measure.name}`),
      bars(
        worst.map(([name, value]) => ({
          label: `%${name}`,
          value: value ?? scale.high,
          text: scale.text(value ?? Infinity),
          action: () => this.state.select(name),
        })),
      ),
    ];
  }
}

function bars(items) {
  const most = Math.max(...items.map((item) => item.value), 1e-9);
  return el(
    "div",
    { class: "bars" },
    items.map((item) =>
      el(
        item.action ? "button" : "div",
        {
          type: item.action && "button",
          class: ["bar-row", item.chosen && "chosen"],
          onclick: item.action,
        },
        el("span", { class: "label" }, item.label),
        el("span", { class: "track" }, el("i", { style: { width: `${Math.max(0.4, (100 * item.value) / most)}%` } })),
        el("span", { class: "number" }, item.text),
        el("span", { class: "muted" }, item.note || ""),
      ),
    ),
  );
}
