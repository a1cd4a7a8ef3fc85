// What is being looked at: one object, kept in the address so that every view has a link.

const VIEWS = ["graph", "text", "ledger", "why", "segments", "timing"];
const DEFAULTS = { view: "graph", color: "verdict", group: "module" };

class State {
  constructor(run) {
    this.run = run;
    this.lineage = new Lineage(run);
    this.edits = new PartitionEdit(this);
    this.listeners = [];
    this.opened = new Set();
    this.closed = new Set();
    this.hidden = new Set();
    this.chosenGroup = null;
    this.compare = null;
    this.read();
    window.addEventListener("popstate", () => {
      this.read();
      this.notify();
    });
    window.addEventListener("hashchange", () => {
      this.read();
      this.notify();
    });
  }

  read() {
    const params = new URLSearchParams(location.hash.slice(1));
    this.node = params.get("node") ?? (location.hash ? null : this.run.data.failed?.[1] || null);
    this.pass = this.run.passById(params.get("pass")) || this.passWith(this.node) || this.run.mainPass;
    if (this.node !== null && !this.pass.graph.has(this.node)) this.node = null;
    this.view = VIEWS.includes(params.get("view")) ? params.get("view") : DEFAULTS.view;
    this.beside = this.run.passById(params.get("beside"));
    this.color = params.get("color") || DEFAULTS.color;
    this.group = ["module", "segment", "none"].includes(params.get("group")) ? params.get("group") : DEFAULTS.group;
    this.findHomes();
  }

  passWith(name) {
    if (name === null || this.run.mainPass.graph.has(name)) return null;
    return this.run.passes.find((pass) => pass.graph.has(name)) || null;
  }

  findHomes() {
    this.homes = this.node === null ? null : this.lineage.homes(this.pass, this.node);
  }

  get hash() {
    const params = [
      ["pass", this.pass.id],
      ["node", this.node],
      ["beside", this.beside && this.beside !== this.pass ? this.beside.id : null],
    ];
    for (const key of Object.keys(DEFAULTS)) if (this[key] !== DEFAULTS[key]) params.push([key, this[key]]);
    return `#${params
      .filter(([, value]) => value)
      .map(([key, value]) => `${key}=${encodeURIComponent(value)}`)
      .join("&")}`;
  }

  set(changes) {
    if (changes.pass && !("node" in changes) && this.node !== null) changes.node = this.inPass(changes.pass);
    const moved = changes.node !== undefined && changes.node !== this.node;
    const follow =
      moved && changes.node !== null && this.homes && changes.pass && this.homes[changes.pass.index].has(changes.node);
    Object.assign(this, changes);
    if (moved && !follow) this.findHomes();
    if (this.hash !== location.hash) history.pushState(null, "", this.hash);
    this.notify();
  }

  // The name of the chosen node in another pass: the same, or the first that it became; null if it is not there.
  inPass(pass) {
    const names = this.homes ? this.homes[pass.index] : new Set();
    if (names.has(this.node)) return this.node;
    return pass.graph.nodes.find((node) => names.has(node.name))?.name ?? null;
  }

  select(name) {
    const pass = this.pass.graph.has(name) ? this.pass : this.passWith(name);
    if (pass || this.pass.graph.has(name)) this.set({ node: name, pass: pass || this.pass });
  }

  notify() {
    for (const listener of this.listeners) listener(this);
  }
}
