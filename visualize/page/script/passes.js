// The left side: the passes with their time and what they changed, and in which of them the chosen node lives.

const CHANGE_SIGNS = [
  ["created", "+"],
  ["erased", "−"],
  ["rewired", "~"],
  ["annotated", "✓"],
];

class PassList {
  constructor(state) {
    this.state = state;
    this.list = el("ol", { class: "pass-list" });
    this.only = el("input", { type: "checkbox", onchange: () => this.show() });
    this.element = el(
      "nav",
      { class: "passes", "aria-label": "passes" },
      el(
        "div",
        { class: "side-head" },
        el("h2", {}, "Passes"),
        el("label", { class: "only", title: "Leave out passes that changed nothing" }, this.only, " changed only"),
      ),
      this.list,
    );
  }

  show() {
    const { run, pass: chosen } = this.state;
    const most = Math.max(...run.passes.map((pass) => pass.seconds || 0), 1e-9);
    const shown = run.passes.filter((pass) => !this.only.checked || pass === chosen || !pass.unchanged);
    this.list.replaceChildren(...shown.map((pass) => this.row(pass, most)));
    if (run.data.failed) this.list.append(this.failedRow(run));
  }

  reveal() {
    this.list.querySelector(".chosen")?.scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  row(pass, most) {
    const { state } = this,
      lives = state.homes ? state.homes[pass.index].size : 0;
    const idle = pass.unchanged && !pass.files.some((name) => name !== "unchanged.txt");
    const changes = pass.changes ? CHANGE_SIGNS.filter(([key]) => pass.changes[key]) : [];
    const label = lives ? `, holds ${plural(lives, "node")} of the choice` : "";
    return el(
      "li",
      {},
      el(
        "button",
        {
          type: "button",
          "data-pass": pass.id,
          "aria-current": pass === state.pass ? "true" : null,
          "aria-label": pass.name + label,
          class: [
            "pass",
            pass === state.pass && "chosen",
            idle && "same",
            state.homes && (lives ? "lives" : "lives-not"),
          ],
          title: [
            pass.about,
            changes.map(([key]) => `${countText(pass.changes[key])} ${key}`).join(", "),
          ].join("\n"),
          onclick: () => state.set({ pass, chosenGroup: null }),
        },
        el("span", { class: "dot" }),
        el("span", { class: "pass-name" }, pass.name),
        el("span", { class: "pass-time" }, secondsText(pass.seconds)),
        el(
          "span",
          { class: "pass-changes" },
          changes.length
            ? changes.map(([key, sign]) =>
                el("span", { class: key }, `${sign}${countText(pass.changes[key])}`),
              )
            : pass.index
              ? idle
                ? "unchanged"
                : "wrote files"
              : `${countText(pass.graph.operations.length)} op nodes`,
        ),
        el("span", { class: "pass-bar" }, el("i", { style: { width: `${(100 * (pass.seconds || 0)) / most}%` } })),
      ),
    );
  }

  // The pass that failed left no graph: it leads to the graph that it was given, and to the node that it failed at.
  failedRow(run) {
    const [name, node] = run.data.failed,
      last = run.passes.at(-1);
    return el(
      "li",
      {},
      el(
        "button",
        {
          type: "button",
          class: "pass failed",
          title: run.report.failure || "",
          onclick: () => this.state.set({ pass: last, node: last.graph.has(node) ? node : null, chosenGroup: null }),
        },
        el("span", { class: "dot" }),
        el("span", { class: "pass-name" }, name),
        el("span", { class: "pass-time" }, "failed"),
        el("span", { class: "pass-changes" }, node && `at %${node}`),
      ),
    );
  }

  step(by) {
    const { run, pass } = this.state;
    const next = run.passes[Math.min(run.passes.length - 1, Math.max(0, pass.index + by))];
    if (next !== pass) this.state.set({ pass: next, chosenGroup: null });
  }
}
