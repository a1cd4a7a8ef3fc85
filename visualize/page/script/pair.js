// Two passes side by side: one layout of all that is in either, drawn twice, so that what is in both has the same place
// on both sides. Where a pass made or erased a node, the other side has a gap.

const PAIR_GAP = 120;

// The nodes of both, in an order that suits both; of a node that was rewired, its later form.
class MergedPass {
  constructor(before, after) {
    const named = new Map();
    for (const { node } of diffLines(before, after))
      if (!named.has(node.name)) named.set(node.name, after.graph.byName.get(node.name) || node);
    Object.assign(this, { run: after.run, before, after, graph: new Graph([...named.values()]) });
  }

  fact(name) {
    return this.after.fact(name) || this.before.fact(name);
  }
}

// What one of the two has of the common picture.
class Side {
  constructor(common, pass, id, shift, change) {
    Object.assign(this, { pass, id, shift, change, boxes: [], frames: [], owner: new Map() });
    this.tree = this.copies(common.tree, null);
    this.edges = Scene.prototype.connect.call(this);
  }

  copies(children, frame) {
    return children.map((child) => (child.inside ? this.frameOf(child, frame) : this.box(child, frame))).filter(Boolean);
  }

  frameOf(child, frame) {
    const leaves = this.present(child.group.leaves);
    if (!leaves.length) return null;
    const made = { ...child, id: `cluster_${this.id}${child.id}`, frame, leaves, pass: this.pass, x: child.x + this.shift };
    this.frames.push(made);
    made.inside = this.copies(child.inside, made);
    return made;
  }

  box(child, frame) {
    const nodes = this.present(child.nodes);
    if (!nodes.length || (child.node && !this.pass.graph.has(child.node.name))) return null;
    const node = child.node && nodes[0];
    const { created, rewired, erased, annotated } = this.change;
    const any = (names) => nodes.some((item) => names.has(item.name));
    const change = any(created) ? "made" : any(erased) ? "gone" : any(rewired) ? "rewired" : any(annotated) ? "judged" : "";
    const made = { ...child, id: `${this.id}${child.id}`, nodes, node, frame, pass: this.pass, change, x: child.x + this.shift };
    delete made.worst;
    if (node) made.note = noteOf(node);
    this.boxes.push(made);
    for (const item of nodes) this.owner.set(item.name, made);
    return made;
  }

  present(nodes) {
    return nodes.map((node) => this.pass.graph.byName.get(node.name)).filter(Boolean);
  }

  boxOf(name) {
    return this.owner.get(this.pass.graph.maker(name)) || null;
  }
}

// Both sides as one scene; names are looked for on the right, which is the chosen pass.
class PairScene {
  constructor(merged, root, isOpen) {
    const common = new Scene(merged, root, isOpen);
    const layout = nestedLayout(common);
    place(common, layout);
    const change = merged.after.compareWith(merged.before);
    this.left = new Side(common, merged.before, "l", 0, change);
    this.right = new Side(common, merged.after, "r", layout.width + PAIR_GAP, change);
    this.pass = merged.after;
    this.pair = merged;
    for (const key of ["boxes", "frames", "tree", "edges"]) this[key] = [...this.left[key], ...this.right[key]];
    this.layout = {
      nested: true,
      width: 2 * layout.width + PAIR_GAP,
      height: layout.height,
      titleSize: Math.max(15, layout.height / 40),
      titles: [
        { x: 0, text: merged.before.name },
        { x: layout.width + PAIR_GAP, text: merged.after.name },
      ],
    };
    this.whole = this.boxes.length <= DRAWN_WHOLE;
  }

  boxOf(name) {
    return this.right.boxOf(name) || this.left.boxOf(name);
  }

  shownBoxOf(name) {
    return shownFor(this, this.boxOf(name));
  }

  // The boxes of the names under which the chosen node lives, on both sides.
  boxesOf(homes) {
    return [this.left, this.right].flatMap((side) =>
      [...homes[side.pass.index]].map((name) => shownFor(this, side.boxOf(name))),
    );
  }
}

function shownFor(scene, box) {
  let item = box;
  for (let frame = box?.frame; frame; frame = frame.frame) item = scene.shown.blocks.get(frame) || item;
  return item;
}
