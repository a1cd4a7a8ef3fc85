// A laid-out scene as SVG. Elements know their box by `data-box`; how they are coloured is decided in paint.js.

const SHARE_ORDER = ["trt", "failed", "unsupported", "rejected", "excluded", "demoted", ""];

function drawScene(scene, layout) {
  const edges = scene.edges.map((edge) => drawEdge(edge, layout));
  const labels = scene.edges.filter((edge) => edge.label).map((edge) => drawEdgeLabel(edge, layout));
  const frames = scene.frames.map((frame) => drawFrame(frame, layout.frames.get(frame.id)));
  const boxes = scene.boxes.map((box) => drawBox(box, layout.boxes.get(box.id)));
  const names = scene.frames.map((frame) => drawFrameName(frame, layout.frames.get(frame.id)));
  return svg(
    "g",
    { class: "scene" },
    svg("g", { class: "frames" }, frames),
    svg("g", { class: "edges" }, edges),
    svg("g", { class: "labels" }, names, labels),
    svg("g", { class: "boxes" }, boxes),
  );
}

function drawFrame(frame, { x, y, width, height }) {
  return svg("rect", { class: "frame", x, y, width, height, rx: 7 });
}

function drawFrameName(frame, { x, y }) {
  const { key, label, leaves } = frame.group;
  return svg(
    "text",
    { x: x + 9, y: y + 18, class: "frame-name", "data-group": key },
    svg("title", {}, `${key}: ${plural(leaves.length, "node")}. Click to fold it up.`),
    `− ${label}`,
  );
}

function drawEdgeLabel(edge, layout) {
  const [x, y] = layout.labels.get(`${edge.from.id} ${edge.to.id}`);
  return svg("text", { x, y: y + 4, class: "edge-label" }, edge.label);
}

function drawEdge(edge, layout) {
  edge.path = svg(
    "path",
    {
      class: ["edge", edge.isSize && "size"],
      d: layout.edges.get(`${edge.from.id} ${edge.to.id}`),
      "marker-end": "url(#arrow)",
    },
    svg("title", {}, edgeTitle(edge)),
  );
  return edge.path;
}

function edgeTitle(edge) {
  const shown = edge.values.slice(0, 6).map((value) => `%${value.name} ${value.type} ${bytesText(value.bytes)}`);
  const more = edge.values.length > 6 ? [`and ${edge.values.length - 6} more`] : [];
  return [`${edge.from.title} → ${edge.to.title}`, ...shown, ...more].join("\n");
}

function drawBox(box, [x, y]) {
  const { width, height } = box;
  box.x = x - width / 2;
  box.y = y - height / 2;
  const title = box.note ? -4 : 4;
  const shift = box.group ? -4 : 0;
  box.shape = svg("rect", {
    class: "shape",
    x: box.x,
    y: box.y,
    width,
    height,
    rx: box.node && box.node.kind !== "operator" ? 13 : 5,
  });
  box.element = svg(
    "g",
    { class: ["box", box.group ? "closed" : box.node.kind], "data-box": box.id },
    svg("title", {}, boxTitle(box)),
    box.group && svg("rect", { class: "stack", x: box.x + 3, y: box.y + 3, width, height, rx: 5 }),
    box.shape,
    svg("text", { x, y: y + title + shift, class: "title" }, box.group ? `+ ${box.title}` : box.title),
    box.note && svg("text", { x, y: y + 11 + shift, class: "note" }, box.note),
  );
  return box.element;
}

function boxTitle(box) {
  if (box.group) return `${box.group.key || box.title}: ${box.note}. Double-click to open.`;
  const node = box.node;
  return [`%${node.name} = ${node.op}`, node.type, node.module, node.source].filter(Boolean).join("\n");
}

// A bar along the lower edge of a folded box: which share of it has which verdict.
function drawShares(box, counts) {
  const bar = svg("g", { class: "shares" });
  const total = [...counts.values()].reduce((sum, count) => sum + count, 0);
  if (!total) return bar;
  const width = box.width - 16;
  const least = counts.size > 1 ? Math.min(5, width / counts.size) : 0;
  const free = width - least * counts.size;
  let x = box.x + 8;
  for (const verdict of SHARE_ORDER) {
    if (!counts.has(verdict)) continue;
    const part = least + (free * counts.get(verdict)) / total;
    bar.append(
      svg("rect", { x, y: box.y + box.height - 9, width: part, height: 4, class: `share v-${verdict || "unjudged"}` }),
    );
    x += part;
  }
  return bar;
}
