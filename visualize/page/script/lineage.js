// Where a node went, and where it came from, across passes that create and erase nodes.
// Node names are stable while a node lives. Between two graphs an erased node continues in the node that its users
// read instead; where that does not say it, in those that were made for the same line of the same module.

function linkGraphs(before, after) {
  const forward = new Map(),
    back = new Map();
  const link = (from, to) => {
    if (!forward.has(from)) forward.set(from, new Set());
    if (!back.has(to)) back.set(to, new Set());
    forward.get(from).add(to);
    back.get(to).add(from);
  };
  const erased = before.nodes.filter((node) => !after.has(node.name));
  const created = after.nodes.filter((node) => !before.has(node.name));
  for (const node of after.nodes) {
    const old = before.byName.get(node.name);
    if (!old || old === node || old.inputs.length !== node.inputs.length) continue;
    old.inputs.forEach((name, index) => {
      if (name !== node.inputs[index] && !after.has(name)) link(name, node.inputs[index]);
    });
  }
  const place = (node) => (node.source && OPERATIONS.has(node.kind) ? `${node.module}\n${node.source}` : null);
  const groups = new Map();
  const join = (nodes, side, linked) => {
    for (const node of nodes) {
      const key = linked.has(node.name) ? null : place(node);
      if (key === null) continue;
      if (!groups.has(key)) groups.set(key, { erased: [], created: [] });
      groups.get(key)[side].push(node.name);
    }
  };
  join(erased, "erased", forward);
  join(created, "created", back);
  for (const group of groups.values()) {
    for (const from of group.erased) for (const to of group.created) link(from, to);
  }
  for (const node of erased.toReversed()) {
    if (forward.has(node.name)) continue;
    for (const user of before.users(node.name)) for (const to of forward.get(user) || []) link(node.name, to);
  }
  return { forward, back };
}

class Lineage {
  constructor(run) {
    this.run = run;
    this.links = new Map();
  }

  between(before, after) {
    const key = `${before.graphIndex} ${after.graphIndex}`;
    if (!this.links.has(key)) this.links.set(key, linkGraphs(before.graph, after.graph));
    return this.links.get(key);
  }

  // The names under which a node lives in every pass: one set per pass, empty where it does not exist.
  homes(pass, name) {
    const passes = this.run.passes,
      homes = passes.map(() => new Set());
    homes[pass.index].add(name);
    for (let i = pass.index + 1; i < passes.length; i += 1)
      homes[i] = this.step(passes[i - 1], passes[i], homes[i - 1]);
    for (let i = pass.index - 1; i >= 0; i -= 1) homes[i] = this.step(passes[i + 1], passes[i], homes[i + 1]);
    return homes;
  }

  step(from, to, names) {
    if (from.graphIndex === to.graphIndex) return names;
    const onward = to.index > from.index;
    const links = onward ? this.between(from, to).forward : this.between(to, from).back;
    const found = new Set();
    for (const name of names) {
      if (to.graph.has(name)) found.add(name);
      for (const other of links.get(name) || []) found.add(other);
      const call = onward ? this.engineCall(to, from.fact(name)) : null;
      if (call) found.add(call);
      if (!onward && from.graph.byName.get(name)?.op === "trt_passes.execute_engine") {
        for (const member of this.run.segments.get(from.fact(name)?.segment)?.nodes || []) found.add(member);
      }
    }
    return found;
  }

  engineCall(pass, fact) {
    const name = fact && fact.segment && fact.segment.replaceAll("-", "_");
    return name && pass.graph.byName.get(name)?.op === "trt_passes.execute_engine" ? name : null;
  }
}
