// The operators of a graph as a tree: by module, by segment, or in runs of neighbours where a level has too many.

const MOST_CHILDREN = 60;

class Group {
  constructor(key, label, parent, kind) {
    Object.assign(this, { key, label, parent, kind, children: [], leaves: [] });
  }
}

// What is drawn as a box of its own. Parameters are text in their consumer, results of several belong to their maker.
function isDrawn(node) {
  return !CONSTANTS.has(node.kind) && node.kind !== "item";
}

// The groups of a pass by their paths, made when a node asks for them.
class Places {
  constructor(run, grouping, root) {
    Object.assign(this, { run, grouping, root, byKey: new Map(), innermost: new Map() });
  }

  of(node) {
    if (!OPERATIONS.has(node.kind) || this.grouping === "none") return this.root;
    const region = (this.grouping === "segment" && this.run.regionOf.get(node.name)) || "";
    const place = `${region}\n${node.module}`;
    if (!this.innermost.has(place)) this.innermost.set(place, this.made(region, node.module));
    return this.innermost.get(place);
  }

  made(region, module) {
    let group = this.root,
      key = "";
    for (const part of [region, ...module.split(".")].filter(Boolean)) {
      key = key ? `${key}.${part}` : part;
      if (!this.byKey.has(key)) {
        const child = new Group(key, part, group, key === region ? "region" : "module");
        this.byKey.set(key, child);
        group.children.push(child);
      }
      group = this.byKey.get(key);
    }
    return group;
  }
}

function groupTree(pass, grouping) {
  const root = new Group("", "", null, "root");
  const places = new Places(pass.run, grouping, root),
    items = new Map();
  for (const node of pass.graph.nodes) {
    if (node.kind === "item") {
      const maker = pass.graph.maker(node.name);
      if (!items.has(maker)) items.set(maker, []);
      items.get(maker).push(node);
    }
  }
  for (const node of pass.graph.nodes) {
    if (!isDrawn(node)) continue;
    const group = places.of(node);
    group.children.push({ node, items: items.get(node.name) || [], parent: group });
  }
  shorten(root);
  splitLevels(root, pass);
  countLeaves(root);
  return root;
}

// A module that holds nothing but one module is drawn as one box, "encoder.layer"; one that holds one operator as that.
function shorten(group) {
  group.children = group.children.map((child) => {
    let merged = child;
    while (merged.children && merged.kind === "module" && merged.children.length === 1 && merged.children[0].children) {
      const [only] = merged.children;
      only.label = `${merged.label}.${only.label}`;
      only.parent = group;
      merged = only;
    }
    if (!merged.children) return merged;
    shorten(merged);
    if (merged.kind !== "module" || merged.children.length > 1) return merged;
    merged.children[0].parent = group;
    return merged.children[0];
  });
}

function splitLevels(group, pass) {
  for (const child of group.children) if (child.children) splitLevels(child, pass);
  if (group.children.length > MOST_CHILDREN) group.children = intoRuns(group, group.children, pass);
}

function intoRuns(parent, children, pass) {
  const pieces = piecesOf(children, pass);
  return pieces.map((piece) => {
    if (piece.length === 1) return piece[0];
    const first = piece[0].node ? piece[0].node.name : piece[0].key;
    const last = piece.at(-1).node ? piece.at(-1).node.name : piece.at(-1).label;
    const run = new Group(
      `${parent.key}~${first}+${piece.length}`,
      `${first.split(".").at(-1)} … ${last}`,
      parent,
      "run",
    );
    for (const child of piece) child.parent = run;
    run.children = piece.length > MOST_CHILDREN ? intoRuns(run, piece, pass) : piece;
    return run;
  });
}

// Neighbours that share a segment stay together if that makes few enough pieces; else pieces of equal size.
function piecesOf(children, pass) {
  const kind = (child) => {
    if (!child.node) return child.key;
    const fact = pass.fact(child.node.name);
    return OPERATIONS.has(child.node.kind) ? fact && (fact.segment || fact.verdict) : child.node.name;
  };
  const alike = [];
  for (const child of children) {
    if (alike.length && kind(alike.at(-1)[0]) === kind(child)) alike.at(-1).push(child);
    else alike.push([child]);
  }
  if (alike.length > 1 && alike.length <= MOST_CHILDREN) return alike;
  const size = Math.ceil(children.length / 40);
  return Array.from({ length: Math.ceil(children.length / size) }, (_, i) => children.slice(i * size, (i + 1) * size));
}

function countLeaves(group) {
  group.leaves = group.children.flatMap((child) => (child.node ? [child.node, ...child.items] : countLeaves(child)));
  return group.leaves;
}

// The innermost group of every node that is drawn, by name.
function groupsByLeaf(group, found = new Map()) {
  for (const child of group.children) {
    if (child.node) found.set(child.node.name, group);
    else groupsByLeaf(child, found);
  }
  return found;
}

function groupsOf(group) {
  return group.children.filter((child) => child.children);
}

// Groups to open unasked: level by level, all of a level or, if that is too much, those with fallbacks.
function openAtFirst(root, pass, budget) {
  const open = new Set([root.key]);
  const hasFallback = (group) =>
    group.leaves.some((node) => (pass.fact(node.name) || { verdict: "trt" }).verdict !== "trt");
  const added = (groups) => groups.reduce((sum, group) => sum + group.children.length - 1, 0);
  let shown = root.children.length;
  for (let level = groupsOf(root); level.length; level = level.flatMap(groupsOf)) {
    if (shown + added(level) > budget) level = level.filter(hasFallback);
    if (shown + added(level) > budget) break;
    shown += added(level);
    for (const group of level) open.add(group.key);
  }
  return open;
}
