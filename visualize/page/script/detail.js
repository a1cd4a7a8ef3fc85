// Level of detail: which boxes, frames and edges of a laid-out scene are worth drawing in a part of it at a scale.
// A frame whose boxes would be too small to see is one block, so that the work depends on the screen, not on the model.

const LEAST_AREA = 1200; // of a child of a frame on the screen, in square pixels
const LEAST_FRAME = { width: 56, height: 40 };
const MOST_EDGES = 1500;
const DRAWN_WHOLE = 200;

// Puts what a layout says into the boxes and frames of its scene.
function place(scene, layout) {
  for (const box of scene.boxes) {
    const [x, y] = layout.boxes.get(box.id);
    Object.assign(box, { x: x - box.width / 2, y: y - box.height / 2 });
  }
  for (const frame of scene.frames) Object.assign(frame, layout.frames.get(frame.id));
  scene.layout = layout;
  scene.whole = scene.boxes.length <= DRAWN_WHOLE;
}

function overlaps(item, region) {
  return (
    item.x < region.x + region.width &&
    region.x < item.x + item.width &&
    item.y < region.y + region.height &&
    region.y < item.y + item.height
  );
}

function choose(scene, region, scale) {
  const shown = { frames: [], boxes: [], edges: [], blocks: new Map() };
  const walk = (children) => {
    for (const child of children) {
      if (!scene.whole && !overlaps(child, region)) continue;
      if (!child.inside) shown.boxes.push(child);
      else if (!scene.whole && isTooSmall(child, scale)) {
        const block = blockOf(child, scene);
        shown.blocks.set(child, block);
        shown.boxes.push(block);
      } else {
        shown.frames.push(child);
        walk(child.inside);
      }
    }
  };
  walk(scene.tree);
  shown.edges = scene.whole ? scene.edges : edgesOf(scene, shown, region, scale);
  return shown;
}

function isTooSmall(frame, scale) {
  const width = frame.width * scale,
    height = frame.height * scale;
  return (
    width < LEAST_FRAME.width ||
    height < LEAST_FRAME.height ||
    (width * height) / frame.inside.length < LEAST_AREA
  );
}

function blockOf(frame, scene) {
  const { group, x, y, width, height, pass } = frame,
    nodes = frame.leaves || group.leaves,
    change = ["gone", "made", "rewired", "judged"].find((kind) => holdsChange(frame, kind));
  const count = nodes.filter((node) => OPERATIONS.has(node.kind)).length;
  const kind = scene.pass.run.data.modules[group.key] || "";
  const note = [kind, plural(count, "op")].filter(Boolean).join(" · ");
  return { id: `k${frame.id}`, group, block: true, nodes, pass, change, frame, title: group.label, note, x, y, width, height };
}

function holdsChange(frame, kind) {
  return frame.inside.some((child) => (child.inside ? holdsChange(child, kind) : child.change === kind));
}

// Edges between what is drawn, once for each pair; those that are seen in full come first if there are too many.
function edgesOf(scene, shown, region, scale) {
  const found = new Map();
  const drawn = (box) => {
    let item = box;
    for (let frame = box.frame; frame; frame = frame.frame) item = shown.blocks.get(frame) || item;
    return item;
  };
  for (const edge of scene.edges) {
    const [from, to] = [drawn(edge.from), drawn(edge.to)];
    if (from === to) continue;
    const inside = overlaps(from, region) + overlaps(to, region);
    if (!inside) continue;
    const key = `${from.id} ${to.id}`;
    if (!found.has(key)) found.set(key, { from, to, values: [], isSize: true, inside, label: from.block || to.block || scale < 0.5 ? "" : edge.label });
    const one = found.get(key);
    one.values.push(...edge.values);
    one.isSize &&= edge.isSize;
  }
  const edges = [...found.values()];
  return edges.length > MOST_EDGES ? edges.sort((a, b) => b.inside - a.inside).slice(0, MOST_EDGES) : edges;
}
