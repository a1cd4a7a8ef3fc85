// The page: head, passes on the left, the chosen view in the centre, details on the right.

class App {
  constructor(run) {
    this.state = new State(run);
    this.search = new Search(this.state);
    this.graph = new GraphView(this.state, this.search);
    this.views = {
      graph: this.graph,
      text: new TextView(this.state, this.search),
      ledger: new LedgerView(this.state, this.search),
      why: new WhyView(this.state),
      segments: new SegmentsView(this.state),
      timing: new TimingView(this.state),
    };
    this.passes = new PassList(this.state);
    this.details = new Details(this.state);
    this.keys = new Keys(this);
    this.tabs = el(
      "div",
      { class: "tabs", role: "tablist" },
      VIEWS.map((view, index) =>
        el(
          "button",
          {
            type: "button",
            role: "tab",
            "data-view": view,
            title: `${view} (${index + 1})`,
            onclick: () => this.view(view),
          },
          view,
        ),
      ),
    );
    this.centre = el(
      "main",
      { class: "centre" },
      this.tabs,
      Object.values(this.views).map((view) => view.element),
    );
    this.root = el(
      "div",
      { class: "app" },
      this.header(run),
      this.failure(run),
      this.passes.element,
      this.centre,
      this.details.element,
      this.keys.help,
    );
    document.body.append(this.root);
    this.state.listeners.push(() => this.show());
    this.search.onchange = () => this.views[this.state.view].show();
    this.show();
  }

  header(run) {
    const counts = new Map(Object.entries(run.report.verdicts).filter(([, count]) => count));
    const total = [...counts.values()].reduce((sum, count) => sum + count, 0);
    const bar = el(
      "div",
      {
        class: "coverage",
        role: "img",
        "aria-label": [...counts].map(([name, count]) => `${count} ${name}`).join(", "),
      },
      SHARE_ORDER.filter((name) => counts.has(name)).map((name) =>
        el("i", {
          class: `v-${name}`,
          style: { flex: `${counts.get(name)} 0 3px` },
          title: `${name}: ${plural(counts.get(name), "op node")}`,
        }),
      ),
    );
    return el(
      "header",
      { class: "top" },
      el("h1", { title: run.report.command }, this.headline(run, counts, total)),
      total > 0 && bar,
      this.search.element,
      el(
        "span",
        { class: "top-buttons" },
        button("passes", "Show or hide the passes (p)", () => this.togglePasses(), { class: "passes-button" }),
        button("◐", "Dark or light (d)", () => this.toggleTheme(), {
          class: "theme-button",
          "aria-label": "dark or light",
        }),
        button("?", "Keyboard (?)", () => this.keys.help.showModal(), {
          class: "help-button",
          "aria-label": "keyboard help",
        }),
      ),
    );
  }

  headline(run, counts, total) {
    if (!total) return run.report.failure ? "The run did not finish" : "No verdicts yet";
    const trt = counts.get("trt") || 0,
      engines = run.data.segments.length;
    const where = engines ? `in ${plural(engines, "TensorRT engine")}` : "for TensorRT";
    return [
      el("b", {}, percentText(trt, total)),
      ` ${countText(trt)} of ${plural(total, "op node")} ${where}`,
    ];
  }

  failure(run) {
    if (!run.report.failure) return null;
    return el(
      "div",
      { class: "failure", role: "alert" },
      el("b", {}, "The run failed. "),
      el("span", { class: "failure-text" }, run.report.failure),
      run.data.reproduce &&
        !run.report.failure.includes(run.data.reproduce) &&
        el("div", {}, "Reproduce it with ", el("code", {}, run.data.reproduce)),
    );
  }

  show() {
    const { state } = this;
    document.title = `${state.node === null ? state.pass.name : `%${state.node}`} · trt-passes`;
    for (const [name, view] of Object.entries(this.views)) view.element.hidden = name !== state.view;
    for (const tab of this.tabs.children) tab.setAttribute("aria-selected", String(tab.dataset.view === state.view));
    this.passes.show();
    this.details.show();
    this.passes.reveal(); // scrolling makes the browser lay the page out: once for all of it
    this.details.reveal();
    this.views[state.view].show();
  }

  view(view) {
    this.state.set({ view });
    return true;
  }

  release() {
    if (this.search.query) this.search.clear();
    else this.state.set({ node: null, chosenGroup: null });
  }

  toggleTheme() {
    toggleTheme();
    if (this.graph.scene) this.graph.minimap.show(this.graph.scene);
  }

  togglePasses() {
    this.root.classList.toggle("without-passes");
  }
}

useTheme(storedTheme());
const pageRun = new Run(JSON.parse(document.getElementById("run-data").textContent));
installColours(pageRun.data.styles);
new App(pageRun);
