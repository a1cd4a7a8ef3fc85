// A partition of the reader's own: nodes that are to stay in PyTorch, to be in a segment, or to compute in a type,
// written as a partition.json that `compile(partition=…)` takes. What is impossible is refused there, with the path that
// makes it so.

class PartitionEdit {
  constructor(state) {
    this.state = state;
    this.wishes = new Map(); // name of an op node -> the segment that it is to be in, "" for PyTorch
    this.types = new Map(); // name of an op node -> the type that it is to compute in
  }

  get pass() {
    return this.state.run.mainPass;
  }

  // Where a node is, with what was wished.
  placeOf(name) {
    return this.wishes.get(name) ?? this.segmentOf(name);
  }

  segmentOf(name) {
    const region = this.state.run.regionOf.get(name);
    return this.state.run.segments.has(region) ? region : "";
  }

  get segmentNames() {
    return [...new Set([...this.state.run.segments.keys(), ...this.wishes.values()])].filter(Boolean);
  }

  // A name that no segment has.
  freshName() {
    const taken = new Set(this.segmentNames);
    let number = taken.size;
    while (taken.has(`segment-${String(number).padStart(2, "0")}`)) number += 1;
    return `segment-${String(number).padStart(2, "0")}`;
  }

  wish(names, place) {
    for (const name of names) {
      if (this.segmentOf(name) === place) this.wishes.delete(name);
      else this.wishes.set(name, place);
    }
    this.state.notify();
  }

  get count() {
    return this.wishes.size + this.types.size;
  }

  typeOf(name) {
    return floatType(this.pass.graph.byName.get(name));
  }

  wishType(names, type) {
    for (const name of names) {
      if (this.typeOf(name) === type) this.types.delete(name);
      else this.types.set(name, type);
    }
    this.state.notify();
  }

  forget() {
    this.wishes.clear();
    this.types.clear();
    this.state.notify();
  }

  // Why TensorRT cannot have a node, or null if it can be asked to.
  refusal(name) {
    const fact = this.pass.fact(name);
    if (!fact || !["trt", "demoted", "excluded"].includes(fact.verdict))
      return fact ? [...new Set(fact.reasons.map((reason) => reason.code))].join(", ") : "it has no verdict";
    return null;
  }

  toJson() {
    const { graph } = this.pass,
      segments = new Map(this.segmentNames.map((name) => [name, []])),
      verdicts = {};
    for (const { node, fact } of this.state.run.ledger) {
      const wish = this.wishes.get(graph.maker(node.name));
      verdicts[node.name] = wish === undefined ? fact.verdict : wish ? "trt" : "excluded";
      const place = wish ?? this.segmentOf(node.name);
      if (place) segments.get(place).push(node.name);
    }
    const rows = [],
      taken = new Set(segments.keys());
    for (const [name, nodes] of segments) {
      this.parts(name, nodes).forEach((part, index) => {
        let own = name;
        for (let number = index; index && taken.has(own); number += 1) own = `${name}.${number}`;
        taken.add(own);
        rows.push({ name: own, nodes: part });
      });
    }
    const precision = Object.fromEntries(this.types),
      derived = [...this.state.run.derived];
    return { schema: 1, segments: rows, verdicts, precision, derived };
  }

  // A segment that lost nodes is cut where what it computes comes back through them: no part waits for itself.
  parts(name, nodes) {
    if (![...this.wishes.keys()].some((lost) => this.segmentOf(lost) === name)) return nodes.length ? [nodes] : [];
    const members = new Set(nodes),
      returns = new Map(),
      parts = [];
    for (const node of this.pass.graph.nodes) {
      const isMember = members.has(node.name);
      let most = isMember ? 0 : -1;
      for (const input of node.inputs) {
        const before = returns.get(input) ?? -1;
        most = Math.max(most, isMember && before >= 0 && !members.has(input) ? before + 1 : before);
      }
      returns.set(node.name, most);
      if (isMember) (parts[most] ||= []).push(node.name);
    }
    return parts.filter(Boolean);
  }

  save() {
    saveFile("partition.json", "application/json", `${JSON.stringify(this.toJson(), null, 1)}\n`);
  }

  // What the details of a node, or of a group of nodes, say and offer.
  section(nodes) {
    const { graph } = this.pass;
    const names = [
      ...new Set(
        nodes
          .filter((node) => OPERATIONS.has(node.kind) && graph.has(node.name))
          .map((node) => graph.maker(node.name))
          .filter((name) => this.pass.fact(name)),
      ),
    ];
    if (!this.state.run.segments.size || (!names.length && !this.count)) return null;
    const typed = names.filter((name) => this.typeOf(name) && !this.state.run.derived.has(name));
    const inside = names.filter((name) => this.placeOf(name)),
      able = names.filter((name) => this.refusal(name) === null);
    return el(
      "section",
      { class: "partition-edit" },
      el("h3", {}, "Partition"),
      names.length === 1 && el("p", {}, this.sentence(names[0])),
      el(
        "p",
        { class: "wishes" },
        inside.length > 0 && button("keep in PyTorch", "Give it the verdict excluded", () => this.wish(inside, "")),
        able.length > 0 && this.chooser(able),
        typed.length > 0 && this.typeChooser(typed),
      ),
      this.count > 0 && this.changes(),
    );
  }

  sentence(name) {
    const place = this.placeOf(name) || "PyTorch",
      wished = this.wishes.has(name);
    const refusal = this.refusal(name);
    const why = refusal && `. TensorRT cannot take it: ${refusal}`;
    const type = this.typeOf(name),
      wanted = this.types.get(name);
    const computes = type && (wanted ? [", and is to compute in ", el("b", {}, wanted)] : `, and computes in ${type}`);
    return [wished ? "Is to be in " : "Is in ", el("b", {}, place), computes || "", why || "", "."];
  }

  typeChooser(names) {
    const options = Object.values(FLOATS).filter((type) =>
      names.some((name) => (this.types.get(name) ?? this.typeOf(name)) !== type),
    );
    return el(
      "select",
      {
        "aria-label": "compute in",
        onchange: (event) => event.target.value && this.wishType(names, event.target.value),
      },
      el("option", { value: "" }, "compute in …"),
      options.map((type) => el("option", { value: type }, type)),
    );
  }

  chooser(names) {
    const options = this.segmentNames.filter((place) => names.some((name) => this.placeOf(name) !== place));
    const fresh = this.freshName();
    return el(
      "select",
      {
        "aria-label": "put into segment",
        onchange: (event) => event.target.value && this.wish(names, event.target.value),
      },
      el("option", { value: "" }, "put into segment …"),
      options.map((place) => el("option", { value: place }, place)),
      el("option", { value: fresh }, `${fresh} (new)`),
    );
  }

  changes() {
    const rows = [
      ...[...this.wishes].map(([name, place]) => [name, place || "PyTorch", () => this.wish([name], this.segmentOf(name))]),
      ...[...this.types].map(([name, type]) => [name, type, () => this.wishType([name], this.typeOf(name))]),
    ];
    const shown = rows.slice(0, 12);
    return el(
      "div",
      { class: "changes" },
      el("h4", {}, `${plural(rows.length, "change")} to partition.json`),
      el(
        "ul",
        {},
        shown.map(([name, wanted, undo]) =>
          el("li", {}, nodeLink(this.state, name), ` → ${wanted} `, button("undo", "Leave it as it was", undo)),
        ),
        rows.length > shown.length && el("li", {}, `and ${countText(rows.length - shown.length)} more`),
      ),
      button("save partition.json", "For compile(partition=…) and --set partition=…", () => this.save()),
      " ",
      button("forget all", "Leave all where they were", () => this.forget()),
      el("p", { class: "muted" }, "Give it to ", el("code", {}, 'compile(…, partition="partition.json")'), "."),
    );
  }
}

function saveFile(name, type, content) {
  const address = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type }));
  el("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}
