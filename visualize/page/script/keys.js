// The keyboard, and the overlay that explains it.

const KEY_HELP = [
  ["/", "search; Enter and Shift+Enter go from hit to hit"],
  ["j  k", "next and previous pass"],
  ["1 … 6", "graph, text, ledger, why, segments, timing"],
  ["← ↑ ↓ →", "from the chosen node to its producer, user, neighbours; without one, move the picture"],
  ["+  −  f", "zoom in, zoom out, show everything"],
  ["e  c", "open the chosen group, fold up the one around the chosen node"],
  ["Shift+E  Shift+C", "open all groups, fold all"],
  ["s", "group by module, or by segment"],
  ["d", "dark or light"],
  ["p", "show or hide the passes"],
  ["Esc", "let go of the node, the search, this help"],
  ["?", "this help"],
];

class Keys {
  constructor(app) {
    this.app = app;
    this.help = el(
      "dialog",
      { class: "help", "aria-label": "keyboard" },
      el("h2", {}, "Keyboard"),
      el(
        "dl",
        {},
        KEY_HELP.map(([keys, text]) => [
          el(
            "dt",
            {},
            keys.split("  ").map((key) => el("kbd", {}, key)),
          ),
          el("dd", {}, text),
        ]),
      ),
      el(
        "p",
        { class: "muted" },
        "With the mouse: drag to move, wheel to zoom, click a node to follow it through all passes, " +
          "double-click a folded group to open it, click the name of a frame to fold it.",
      ),
      el(
        "p",
        { class: "muted" },
        "Graphs are laid out by Graphviz (Eclipse Public License) as @hpcc-js/wasm-graphviz (Apache License 2.0).",
      ),
      button("close", "Close (Esc)", () => this.help.close()),
    );
    this.help.addEventListener("click", (event) => {
      if (event.target === this.help) this.help.close();
    });
    document.addEventListener("keydown", (event) => this.press(event));
  }

  press(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (/^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    if (this.help.open && event.key !== "?") return;
    if (this.run(event.key, event.shiftKey)) event.preventDefault();
  }

  run(key, shift) {
    const { app } = this,
      { state, graph } = app,
      inGraph = state.view === "graph";
    const number = Number(key);
    if (number >= 1 && number <= VIEWS.length) return app.view(VIEWS[number - 1]);
    const arrows = {
      ArrowUp: ["up", 0, 60],
      ArrowDown: ["down", 0, -60],
      ArrowLeft: ["left", 60, 0],
      ArrowRight: ["right", -60, 0],
    };
    if (key in arrows) {
      if (!inGraph) return false;
      const [direction, dx, dy] = arrows[key];
      if (shift || !graph.step(direction)) graph.viewport.pan(dx, dy);
      return true;
    }
    const actions = {
      "/": () => {
        app.search.input.focus();
        app.search.input.select();
      },
      j: () => app.passes.step(1),
      k: () => app.passes.step(-1),
      d: () => app.toggleTheme(),
      p: () => app.togglePasses(),
      "?": () => (this.help.open ? this.help.close() : this.help.showModal()),
      Escape: () => app.release(),
    };
    const graphActions = {
      "+": () => graph.viewport.zoom(1.3),
      "=": () => graph.viewport.zoom(1.3),
      "-": () => graph.viewport.zoom(1 / 1.3),
      f: () => graph.viewport.fit(),
      e: () => graph.openChosen(),
      c: () => graph.foldAround(),
      C: () => graph.foldAll(),
      E: () => graph.openAll(),
      s: () => state.set({ group: state.group === "module" && state.run.segments.size ? "segment" : "module" }),
    };
    const action = actions[key] || (inGraph && graphActions[key]);
    if (action) action();
    return Boolean(action);
  }
}
