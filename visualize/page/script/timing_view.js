// Where the time of the run went: passes, engine builds; and the numbers per node that the run measured.

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
      el("h2", {}, `${secondsText(total) || "0 s"} in ${plural(passes.length, "pass")}`),
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
            el("h2", {}, "Engine builds"),
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
      ...run.data.measures.filter((measure) => measure.unit !== "s").flatMap((measure) => this.measure(measure)),
    );
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
