// What is drawn of a tree: boxes, the frames around them, and the edges between them. Only this is ever laid out.

class Scene {
  constructor(pass, root, isOpen) {
    this.pass = pass;
    this.boxes = [];
    this.frames = [];
    this.owner = new Map();
    this.tree = this.walk(root, isOpen, null);
    this.edges = this.connect();
  }

  walk(group, isOpen, frame) {
    const inside = [];
    const open = [];
    for (const child of group.children) {
      if (child.node) {
        inside.push(this.leaf(child, frame));
        continue;
      }
      if (isOpen(child)) open.push([inside.push(null) - 1, child]);
      else inside.push(this.closed(child, frame));
    }
    for (const [place, child] of open) {
      const depth = frame ? frame.depth + 1 : 1;
      const made = { id: `cluster_${this.frames.length}`, group: child, frame, depth, inside: [] };
      this.frames.push(made);
      made.inside = this.walk(child, isOpen, made);
      inside[place] = made;
    }
    return inside;
  }

  leaf({ node, items }, frame) {
    const box = {
      id: `b${this.boxes.length}`,
      node,
      nodes: [node, ...items],
      frame,
      title: node.name,
      note: noteOf(node),
    };
    this.own(box);
    return box;
  }

  closed(group, frame) {
    const operations = group.leaves.filter((node) => OPERATIONS.has(node.kind)).length;
    const kind = this.pass.run.data.modules[group.key] || "";
    const note = [kind, plural(operations, "op")].filter(Boolean).join(" · ");
    const box = { id: `b${this.boxes.length}`, group, nodes: group.leaves, frame, title: group.label, note };
    this.own(box);
    return box;
  }

  own(box) {
    this.boxes.push(box);
    for (const node of box.nodes) this.owner.set(node.name, box);
  }

  boxOf(name) {
    return this.owner.get(name) || null;
  }

  // The box that stands for a node in what is drawn: its own, or the block of a frame around it.
  shownBoxOf(name) {
    return shownFor(this, this.boxOf(name));
  }

  boxesOf(homes) {
    return [...homes[this.pass.index]].map((name) => this.shownBoxOf(name));
  }

  connect() {
    const { byName } = this.pass.graph,
      lastReader = new Map(),
      edges = [];
    for (const box of this.boxes) {
      const into = new Map();
      for (const node of box.nodes) {
        for (const input of node.inputs) {
          const from = this.boxOf(input);
          if (!from || from === box || lastReader.get(input) === box) continue;
          lastReader.set(input, box);
          if (!into.has(from)) into.set(from, { from, to: box, values: [], isSize: true, label: "" });
          const edge = into.get(from),
            value = byName.get(input);
          edge.values.push(value);
          edge.isSize &&= !value.type.includes("[");
        }
      }
      for (const edge of into.values()) {
        const isBorder = [edge.from, box].some((end) => end.group && end.group.kind === "region");
        if (isBorder && !edge.isSize) edge.label = crossingText(edge.values);
        edges.push(edge);
      }
    }
    return edges;
  }
}

// What crosses between two regions on every call.
function crossingText(values) {
  const known = values.every((value) => value.bytes !== null);
  const bytes = known ? bytesText(values.reduce((sum, value) => sum + value.bytes, 0)) : "size unknown";
  return values.length === 1 ? `${shortType(values[0].type)}, ${bytes}` : `${values.length} tensors, ${bytes}`;
}

function shortType(type) {
  return type.length > 34 ? `${type.slice(0, 32)}…` : type;
}

function noteOf(node) {
  if (node.kind === "output") return "output";
  return node.kind === "input" ? `input ${shortType(node.type)}` : shortType(node.type);
}
