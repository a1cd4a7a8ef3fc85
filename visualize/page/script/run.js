// The run as objects: nodes, graphs, facts (verdicts) and passes, decoded from the page's data when they are needed.

const OPERATIONS = new Set(["operator", "item", "size"]);
const CONSTANTS = new Set(["parameter", "buffer", "constant", "object", "token"]);

class Graph {
  constructor(nodes) {
    this.nodes = nodes;
    this.byName = new Map(nodes.map((node) => [node.name, node]));
    this.position = new Map(nodes.map((node, index) => [node.name, index]));
  }

  has(name) {
    return this.byName.has(name);
  }

  get operations() {
    return (this.operationNodes ??= this.nodes.filter((node) => OPERATIONS.has(node.kind)));
  }

  users(name) {
    if (!this.usersByName) {
      this.usersByName = new Map();
      for (const node of this.nodes) {
        for (const input of node.inputs) {
          if (!this.usersByName.has(input)) this.usersByName.set(input, []);
          this.usersByName.get(input).push(node.name);
        }
      }
    }
    return this.usersByName.get(name) || [];
  }

  // A value that an operator returns among several is shown with the operator.
  maker(name) {
    let node = this.byName.get(name);
    while (node && node.kind === "item" && this.byName.has(node.inputs[0])) node = this.byName.get(node.inputs[0]);
    return node ? node.name : name;
  }
}

class Pass {
  constructor(run, row, index) {
    Object.assign(this, { run, index, folder: row.folder, name: row.name, about: row.about, files: row.files });
    Object.assign(this, { seconds: row.seconds, changes: row.changes, graphIndex: row.graph, factsIndex: row.facts });
  }

  get graph() {
    return this.run.graph(this.graphIndex);
  }

  get previous() {
    return this.index ? this.run.passes[this.index - 1] : null;
  }

  get unchanged() {
    return (
      this.index > 0 && this.previous.graphIndex === this.graphIndex && this.previous.factsIndex === this.factsIndex
    );
  }

  get id() {
    return this.run.passes.filter((other) => other.name === this.name).length > 1 ? this.folder : this.name;
  }

  fact(name) {
    const position = this.graph.position.get(name);
    return position === undefined ? null : this.run.facts[this.run.factList(this.factsIndex)[position]];
  }

  // How many op nodes have each verdict.
  get counts() {
    return (this.verdictCounts ??= verdictCounts(this, this.graph.operations));
  }

  // Names that this pass created, rewired and annotated, and those it erased.
  get touched() {
    if (!this.touchedNames) this.touchedNames = this.compareWith(this.previous);
    return this.touchedNames;
  }

  compareWith(before) {
    const result = { created: new Set(), rewired: new Set(), annotated: new Set(), erased: new Set() };
    if (!before || (before.graphIndex === this.graphIndex && before.factsIndex === this.factsIndex)) return result;
    for (const node of this.graph.nodes) {
      const old = before.graph.byName.get(node.name);
      if (!old) result.created.add(node.name);
      else if (old !== node) result.rewired.add(node.name);
      else if (before.fact(node.name) !== this.fact(node.name)) result.annotated.add(node.name);
    }
    for (const node of before.graph.nodes) if (!this.graph.has(node.name)) result.erased.add(node.name);
    return result;
  }
}

class Run {
  constructor(data) {
    const text = (index) => data.strings[index];
    this.data = data;
    this.categories = []; // texts per node, from files of the reader's own
    this.derived = new Set(data.derived || []);
    // Names of nodes and modules are keys: they must not find what every object inherits.
    for (const table of [data.modules, data.lines, data.codes, ...data.measures.map((measure) => measure.values)]) {
      Object.setPrototypeOf(table, null);
    }
    this.report = data.run;
    this.nodes = data.nodes.map(([name, kind, op, args, type, module, source, bytes, inputs]) => ({
      name: text(name),
      kind: text(kind),
      op: text(op),
      args: text(args),
      type: text(type),
      module: text(module),
      source: text(source),
      bytes,
      inputs: inputs.map(text),
    }));
    this.facts = data.facts.map(([verdict, reasons, because, segment]) =>
      verdict === undefined
        ? null
        : {
            verdict: text(verdict),
            because: text(because),
            segment: text(segment),
            reasons: reasons.map(([code, message]) => ({ code: text(code), message: text(message) })),
          },
    );
    this.graphs = [];
    this.factLists = [];
    this.passes = data.passes.map((row, index) => new Pass(this, row, index));
    this.segments = new Map(data.segments.map((segment) => [segment.name, segment]));
    this.regionOf = new Map();
    for (const region of [...data.segments, ...data.islands]) {
      for (const name of region.nodes) this.regionOf.set(name, region.name);
    }
  }

  graph(index) {
    if (!this.graphs[index]) {
      const nodes = [],
        runs = this.data.graphs[index];
      for (let i = 0; i < runs.length; i += 2) {
        for (let k = 0; k < runs[i + 1]; k += 1) nodes.push(this.nodes[runs[i] + k]);
      }
      this.graphs[index] = new Graph(nodes);
    }
    return this.graphs[index];
  }

  factList(index) {
    if (!this.factLists[index]) {
      const values = [],
        runs = this.data.fact_lists[index];
      for (let i = 0; i < runs.length; i += 2) {
        for (let k = 0; k < runs[i + 1]; k += 1) values.push(runs[i]);
      }
      this.factLists[index] = values;
    }
    return this.factLists[index];
  }

  // The pass to open first: the last one whose graph is that of the whole program, with verdicts if there are any.
  get mainPass() {
    return (this.passOpenedFirst ??= this.findMainPass());
  }

  findMainPass() {
    const judged = this.passes.filter((pass) => this.factList(pass.factsIndex).some((fact) => this.facts[fact]));
    const whole = judged.filter((pass) => pass.graph.nodes.every((node) => node.op !== "trt_passes.execute_engine"));
    const last = (whole.length && !this.data.failed ? whole : this.passes).at(-1);
    if (this.data.failed) return last;
    return this.passes.find((pass) => pass.graphIndex === last.graphIndex && pass.factsIndex === last.factsIndex);
  }

  passById(id) {
    return (
      this.passes.find((pass) => pass.id === id || pass.folder === id || pass.name === id) ||
      this.passes.findLast((pass) => pass.name.split(".")[0] === id) ||
      null
    );
  }

  // The final verdicts, one row per op node.
  get ledger() {
    if (!this.ledgerRows) {
      const pass = this.mainPass;
      this.ledgerRows = pass.graph.nodes
        .filter((node) => OPERATIONS.has(node.kind))
        .map((node) => ({ node, fact: pass.fact(node.name) }))
        .filter((row) => row.fact);
    }
    return this.ledgerRows;
  }

  sourceLine(source) {
    return this.data.lines[source] || "";
  }

  lineText(node) {
    if (node.kind === "output") return `return ${node.args}`;
    if (OPERATIONS.has(node.kind)) return `%${node.name} = ${node.op}(${node.args}) : ${node.type}`;
    return `%${node.name} = ${node.kind} : ${node.type}${node.op && node.op !== node.name ? `  # ${node.op}` : ""}`;
  }

  // Whether a word, in lower case, is in the text of a node that a search without a field looks into.
  hasText(node, fact, word) {
    node.text ??= [`%${node.name}`, node.op, node.source, node.module, node.type, this.sourceLine(node.source)]
      .join("\n")
      .toLowerCase();
    if (node.text.includes(word)) return true;
    if (!fact) return false;
    fact.text ??= [fact.verdict, fact.segment, ...fact.reasons.flatMap((reason) => [reason.code, reason.message])]
      .join("\n")
      .toLowerCase();
    return fact.text.includes(word);
  }
}
