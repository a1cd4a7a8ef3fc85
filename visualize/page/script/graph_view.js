// The graph of the chosen pass: folds, lays out, draws, colours, and keeps what is chosen in sight.

const BOXES_AT_FIRST = 70;
const LEAST_SCALE_AT_FIRST = 0.85;
const LARGE_GRAPH = 4000; // nodes

class GraphView {
  constructor(state, search) {
    this.state = state;
    this.search = search;
    this.engine = new LayoutEngine();
    this.trees = new Map();
    this.turn = 0;
    this.refit = true;
    this.canvas = el("div", { class: "canvas", tabindex: "0", "aria-label": "graph" });
    this.busy = el("div", { class: "busy", hidden: true }, "laying out …");
    this.status = el("span", { class: "status" });
    this.legend = el("div", { class: "legend" });
    this.element = el("section", { class: "view graph-view" }, this.toolbar(), this.canvas, this.busy, this.legend);
    this.viewport = new Viewport(
      this.canvas,
      (event) => this.click(event),
      () => this.moved(),
    );
    new ResizeObserver(() => this.viewport.resized()).observe(this.canvas);
    this.hover = new Hover(this);
    this.minimap = new Minimap(this.viewport);
    this.element.append(this.minimap.canvas);
    this.canvas.addEventListener("dblclick", (event) => this.doubleClick(event));
  }

  toolbar() {
    const choose = (key, options) =>
      el(
        "select",
        { "aria-label": key, onchange: (event) => this.state.set({ [key]: event.target.value }) },
        options.map(([value, text]) => el("option", { value }, text)),
      );
    this.grouping = choose("group", [
      ["module", "by module"],
      ...(this.state.run.segments.size ? [["segment", "by segment"]] : []),
      ["none", "flat"],
    ]);
    this.colour = choose("color", colourModes(this.state.run));
    this.file = el("input", {
      type: "file",
      accept: ".json,.csv,.tsv,.txt",
      hidden: true,
      "aria-label": "data file",
      onchange: () => this.importData(this.file.files[0]),
    });
    this.beside = el(
      "select",
      {
        "aria-label": "beside",
        title: "Another pass on the left, with the same nodes at the same places",
        onchange: () => {
          this.refit = true;
          this.state.set({ beside: this.state.run.passById(this.beside.value) });
        },
      },
      el("option", { value: "" }, "no other pass"),
      this.state.run.passes.map((pass) => el("option", { value: pass.id }, pass.name)),
    );
    return el(
      "div",
      { class: "toolbar" },
      el("label", {}, "beside ", this.beside),
      el("label", {}, "group ", this.grouping),
      el("label", {}, "colour ", this.colour),
      el(
        "span",
        { class: "buttons" },
        button("fold all", "Fold everything up (Shift+C)", () => this.foldAll()),
        button("open all", "Open everything (Shift+E)", () => this.openAll()),
        button("fit", "Show everything (f)", () => this.viewport.fit()),
        button("−", "Zoom out (-)", () => this.viewport.zoom(1 / 1.3)),
        button("+", "Zoom in (+)", () => this.viewport.zoom(1.3)),
      ),
      el(
        "span",
        { class: "buttons" },
        button("SVG", "Save what is seen as an SVG", () =>
          saveFile("graph.svg", "image/svg+xml", exportedSvg(this.viewport)),
        ),
        button("PNG", "Save what is seen as a PNG", async () =>
          saveFile("graph.png", "image/png", await exportedPng(this.viewport)),
        ),
        button("data …", "Colour by data of your own: JSON or CSV of node names and values", () => this.file.click()),
      ),
      this.file,
      this.status,
    );
  }

  // Data per node from a file: the first column of it colours the graph at once.
  async importData(file) {
    if (!file) return;
    const { run, pass } = this.state;
    this.file.value = "";
    try {
      const found = readOverlay(file.name, await file.text());
      const names = new Set(found.flatMap((measure) => Object.keys(measure.values)));
      const known = [...names].filter((name) => run.passes.some((item) => item.graph.has(name)));
      if (!known.length) throw new Error(`no name in ${file.name} is that of a node, such as ${pass.graph.nodes[0].name}`);
      const replaced = new Set(found.map((item) => item.name));
      const merged = (old, isText) => [
        ...old.filter((item) => !replaced.has(item.name)),
        ...found.filter((item) => Boolean(item.isText) === isText),
      ];
      run.data.measures = merged(run.data.measures, false);
      run.categories = merged(run.categories, true);
      this.colour.replaceChildren(...colourModes(run).map(([value, text]) => el("option", { value }, text)));
      this.said = `${plural(known.length, "node")} of ${file.name}, ${names.size - known.length} unknown names`;
      this.state.set({ color: found[0].name });
    } catch (error) {
      this.said = `${file.name} cannot be read: ${error.message}`;
      this.mark();
    }
  }

  tree() {
    const { pass, group, beside } = this.state;
    const isPair = beside !== null && beside !== pass;
    const key = `${pass.graphIndex} ${pass.factsIndex} ${group} ${isPair ? `${beside.index} ${pass.index}` : ""}`;
    if (!this.trees.has(key)) {
      const shown = isPair ? new MergedPass(beside, pass) : pass,
        root = groupTree(shown, group);
      const open = openAtFirst(root, shown, BOXES_AT_FIRST);
      this.trees.set(key, { root, open, around: groupsByLeaf(root), merged: isPair ? shown : null });
    }
    return this.trees.get(key);
  }

  isOpen(group) {
    if (this.state.opened.has(group.key) || this.ancestors.has(group.key)) return true;
    return !this.state.closed.has(group.key) && this.tree().open.has(group.key);
  }

  // The groups around the chosen node are open, so that it can be seen.
  ancestorsOf(name) {
    const keys = new Set();
    if (name === null) return keys;
    for (let group = this.tree().around.get(this.state.pass.graph.maker(name)); group; group = group.parent)
      keys.add(group.key);
    return keys;
  }

  async show() {
    this.grouping.value = this.state.group;
    this.beside.value = this.state.beside && this.state.beside !== this.state.pass ? this.state.beside.id : "";
    this.colour.value = this.state.color;
    this.ancestors = this.ancestorsOf(this.state.node);
    const key = this.sceneKey();
    const turn = (this.turn += 1);
    if (key !== this.key) {
      const { root, merged, whole } = this.tree(),
        isOpen = (group) => this.isOpen(group);
      let scene = whole?.key === key ? whole.scene : null;
      if (!scene) scene = merged ? new PairScene(merged, root, isOpen) : new Scene(this.state.pass, root, isOpen);
      const layout = scene.layout || (await this.laidOut(scene));
      if (turn !== this.turn || layout === null) return; // something else is wanted by now
      this.draw(scene, layout, key);
      this.prepare();
    }
    this.busy.hidden = true;
    this.mark();
    this.element.dataset.ready = this.state.hash;
  }

  // What decides which boxes there are.
  sceneKey(isOpen = (group) => this.isOpen(group)) {
    const { pass, group, beside } = this.state;
    const open = (parent) => groupsOf(parent).map((child) => (isOpen(child) ? `(${open(child)})` : "."));
    return `${pass.index} ${beside?.index} ${group} ${open(this.tree().root).join("")}`;
  }

  // What "open all" shows of a large graph is laid out while the reader looks at something else.
  prepare() {
    const tree = this.tree(),
      { pass } = this.state;
    if (tree.merged || tree.whole !== undefined || pass.graph.operations.length < LARGE_GRAPH) return;
    tree.whole = null;
    whenIdle(() => {
      if (this.tree() !== tree) return void (tree.whole = undefined);
      const scene = new Scene(pass, tree.root, () => true);
      place(scene, nestedLayout(scene));
      tree.whole = { key: this.sceneKey(() => true), scene };
    });
  }

  // Small graphs are laid out by Graphviz, which routes edges better; large ones at once.
  async laidOut(scene) {
    const isLarge = scene.boxes.length > DRAWN_WHOLE || scene.pass.graph.nodes.length > LARGE_GRAPH;
    return (!isLarge && (await this.byGraphviz(dotOf(scene)))) || (this.gaveUp && !isLarge ? null : nestedLayout(scene));
  }

  async byGraphviz(dot) {
    this.gaveUp = false;
    const timer = setTimeout(() => {
      this.busy.hidden = false;
    }, 150);
    try {
      const layout = await this.engine.layout(dot);
      this.gaveUp = layout === null;
      return layout;
    } catch {
      return null; // it is laid out without Graphviz then
    } finally {
      clearTimeout(timer);
    }
  }

  draw(scene, layout, key) {
    const anchor = this.anchor();
    if (!scene.layout) place(scene, layout);
    Object.assign(this, { scene, key });
    this.viewport.size = layout;
    this.drawn = null;
    if (this.refit || !this.restore(anchor)) {
      const top = scene.boxes.reduce((first, box) => (box.y < first.y ? box : first), scene.boxes[0]);
      this.viewport.fit(scene.pair || scene.boxes.length > DRAWN_WHOLE ? 0 : LEAST_SCALE_AT_FIRST, top);
    }
    this.refit = false;
    this.drawPart();
    setTimeout(() => scene === this.scene && this.minimap.show(scene));
  }

  // Draws what is in sight, and a little around it.
  drawPart() {
    const { scene, viewport } = this;
    this.drawn = { region: viewport.region(0.12), scale: viewport.scale };
    scene.shown = choose(scene, this.drawn.region, viewport.scale);
    scene.shownById = new Map(scene.shown.boxes.map((box) => [box.id, box]));
    viewport.show(drawScene(scene.shown, scene.layout, scene.whole ? 1 : viewport.scale));
    this.paint();
    markScene(scene, this.state, this.search.found());
  }

  paint() {
    const { pass, color, hidden } = this.state;
    this.painted = [pass.index, color, ...hidden].join(" ");
    paintScene(this.scene, this.state);
    this.showLegend();
  }

  moved() {
    this.minimap.move();
    if (!this.scene || this.scene.whole || !this.drawn || this.waiting) return;
    this.waiting = requestAnimationFrame(() => {
      this.waiting = 0;
      const now = this.viewport.region(),
        { region, scale } = this.drawn,
        ratio = this.viewport.scale / scale;
      const inside =
        now.x >= region.x &&
        now.y >= region.y &&
        now.x + now.width <= region.x + region.width &&
        now.y + now.height <= region.y + region.height;
      if (!inside || ratio > 1.25 || ratio < 0.8) this.drawPart();
    });
  }

  // Something that stays where it is on the screen while the picture around it changes.
  anchor() {
    const key = this.held ?? this.state.node;
    this.held = null;
    const box = this.scene && key !== null && this.boxNamed(key);
    return box
      ? { key, x: this.viewport.x + box.x * this.viewport.scale, y: this.viewport.y + box.y * this.viewport.scale }
      : null;
  }

  boxNamed(key) {
    const groupBox = this.scene.boxes.find((box) => box.group && box.group.key === key);
    const frame = this.scene.frames.find((item) => item.group.key === key);
    return (
      groupBox ||
      (frame && this.scene.boxes.find((box) => frame.group.leaves.includes(box.nodes[0]))) ||
      this.scene.boxOf(key)
    );
  }

  restore(anchor) {
    const box = anchor && this.boxNamed(anchor.key);
    if (!box) return false;
    this.viewport.x = anchor.x - box.x * this.viewport.scale;
    this.viewport.y = anchor.y - box.y * this.viewport.scale;
    this.viewport.apply();
    return true;
  }

  mark() {
    const { pass, color, hidden } = this.state;
    if (this.painted !== [pass.index, color, ...hidden].join(" ")) this.paint();
    markScene(this.scene, this.state, this.search.found());
    const chosen = this.state.node === null ? null : this.scene.boxOf(this.state.node);
    if (chosen && this.state.node !== this.centred && !this.viewport.isVisible(chosen)) this.viewport.center(chosen);
    this.centred = this.state.node;
    const drawn = this.scene.boxes.length,
      groups = this.scene.shown.blocks.size,
      all = this.state.pass.graph.operations.length;
    const afar = groups ? "; zoom in to see more" : "";
    const { pair } = this.scene;
    if (pair) this.said ||= `${pair.before.name} on the left, ${pair.after.name} on the right`;
    this.status.textContent = this.said || `${plural(all, "op node")} in ${plural(drawn, "box")}${afar}`;
    this.said = "";
  }

  showLegend() {
    const { state } = this,
      measure = state.run.data.measures.find((item) => item.name === state.color);
    const { counts } = state.pass;
    const verdicts = SHARE_ORDER.filter((verdict) => counts.has(verdict)).map((verdict) =>
      el(
        "button",
        {
          type: "button",
          class: ["chip", `v-${verdict || "unjudged"}`, state.hidden.has(verdict) && "off"],
          title: "Click to fade these out, or back in",
          "aria-pressed": String(!state.hidden.has(verdict)),
          onclick: () => this.toggle(verdict),
        },
        `${verdict || "no verdict"} ${countText(counts.get(verdict))}`,
      ),
    );
    const extra = [];
    if (measure) {
      const scale = new NumberScale(measure);
      extra.push(
        el(
          "span",
          { class: "scale" },
          scale.low === scale.high ? "all" : scale.text(scale.low),
          scale.steps().map(({ step, value }) => el("i", { class: `step-${step}`, title: `about ${scale.text(value)}` })),
          scale.text(scale.high),
        ),
      );
    } else if (categoriesOf(state.run, state.pass, state.color)) {
      extra.push(...categoryLegend(categoriesOf(state.run, state.pass, state.color)));
    } else if (state.color === "segment") {
      for (const name of [...state.run.segments.keys()].slice(0, 12)) {
        extra.push(el("span", { class: "chip hued", style: { "--hue": segmentHue(state.run, name) } }, name));
      }
      if (state.run.segments.size > 12) extra.push(`and ${state.run.segments.size - 12} more`);
    }
    const touched = state.pass.touched;
    if (this.scene.pair) extra.push(changeKey("made"), changeKey("gone"), changeKey("rewired"));
    else if (touched.created.size + touched.rewired.size)
      extra.push(el("span", { class: "chip touched-key" }, "changed by this pass"));
    this.legend.replaceChildren(...verdicts, ...extra);
  }

  toggle(verdict) {
    if (!this.state.hidden.delete(verdict)) this.state.hidden.add(verdict);
    this.state.notify();
  }

  click(event) {
    const box = this.boxAt(event.target),
      frame = event.target.closest(".frame-name");
    if (frame) this.fold(frame.dataset.group);
    else if (!box) this.state.set({ node: null, chosenGroup: null });
    else if (box.node) this.state.set({ node: this.nameHere(box), chosenGroup: null });
    else this.state.set({ node: null, chosenGroup: box.group });
  }

  // The name of a box's node in the chosen pass: on the left there is what became of it.
  nameHere({ node, pass }) {
    const { state } = this;
    if (!pass || state.pass.graph.has(node.name)) return node.name;
    return [...state.lineage.homes(pass, node.name)[state.pass.index]][0] ?? state.node;
  }

  doubleClick(event) {
    const box = this.boxAt(event.target);
    if (box && box.block) this.viewport.zoomTo(box);
    else if (box && box.group) this.open(box.group.key);
  }

  boxAt(target) {
    const element = target.closest("[data-box]");
    return element ? this.scene.shownById.get(element.dataset.box) || null : null;
  }

  open(key) {
    this.held = key;
    this.state.closed.delete(key);
    this.state.opened.add(key);
    this.state.set({ chosenGroup: null });
  }

  fold(key) {
    const inside = this.scene.frames.find((frame) => frame.group.key === key);
    const holdsChosen =
      inside &&
      this.state.node !== null &&
      inside.group.leaves.some((node) => node.name === this.state.pass.graph.maker(this.state.node));
    this.held = key;
    this.state.opened.delete(key);
    this.state.closed.add(key);
    this.state.set(holdsChosen ? { node: null } : {});
  }

  openChosen() {
    if (this.state.chosenGroup) this.open(this.state.chosenGroup.key);
  }

  // The innermost group around the chosen node, to fold with a key.
  foldAround() {
    const box = this.state.node === null ? null : this.scene.boxOf(this.state.node);
    if (box && box.frame) this.fold(box.frame.group.key);
  }

  foldAll() {
    this.state.opened.clear();
    for (const group of allGroups(this.tree().root)) this.state.closed.add(group.key);
    this.refit = true;
    this.state.set({ node: null });
  }

  openAll() {
    this.state.closed.clear();
    for (const group of allGroups(this.tree().root)) this.state.opened.add(group.key);
    this.refit = true;
    this.state.set({});
  }

  // The producer, a user, or a neighbour among the users of the producer of the chosen node.
  step(direction) {
    const { pass, node } = this.state;
    if (node === null) return false;
    const graph = pass.graph,
      drawn = (name) => this.scene.boxOf(name) !== null;
    const inputs = graph.byName
      .get(graph.maker(node))
      .inputs.map((name) => graph.maker(name))
      .filter(drawn);
    const users = (name) =>
      [name, ...graph.users(name).filter((user) => graph.byName.get(user).kind === "item")]
        .flatMap((maker) => graph.users(maker))
        .filter((user) => graph.byName.get(user).kind !== "item");
    let next;
    if (direction === "up") next = inputs[0];
    else if (direction === "down") next = users(graph.maker(node))[0];
    else if (inputs.length) {
      const siblings = [...new Set(users(inputs[0]))];
      next = siblings[siblings.indexOf(graph.maker(node)) + (direction === "right" ? 1 : -1)];
    }
    if (next !== undefined) this.state.set({ node: next });
    return true;
  }
}

function whenIdle(action) {
  if (window.requestIdleCallback) requestIdleCallback(action, { timeout: 2000 });
  else setTimeout(action, 300);
}

function allGroups(group) {
  return groupsOf(group).flatMap((child) => [child, ...allGroups(child)]);
}

function changeKey(kind) {
  return el("span", { class: `chip change-key ${kind}` }, kind);
}
