// A laid-out scene as SVG. Elements know their box by `data-box`; how they are coloured is decided in paint.js.

const SMALL_TEXT = 0.3;
const SHARE_ORDER = ["trt", "failed", "unsupported", "rejected", "excluded", "demoted", ""];

function drawScene(shown, layout, scale) {
  return svg(
    "g",
    { class: "scene" },
    svg("g", { class: "frames" }, shown.frames.map((frame) => drawFrame(frame))),
    svg(
      "g",
      { class: "edges" },
      shown.edges.map((edge, index) => drawEdge(edge, index, layout, scale)),
    ),
    svg(
      "g",
      { class: "labels" },
      scale > 0.25 && shown.frames.map((frame) => drawFrameName(frame)),
      shown.edges.filter((edge) => edge.label).map((edge) => drawEdgeLabel(edge, layout)),
    ),
    svg(
      "g",
      { class: "boxes" },
      (layout.titles || []).map(({ x, text }) =>
        svg("text", { x, y: -10, class: "side-title", style: { "font-size": `${layout.titleSize}px` } }, text),
      ),
      shown.boxes.map((box) => (box.block ? drawBlock(box, scale) : drawBox(box, scale))),
    ),
  );
}

function drawFrame({ x, y, width, height }) {
  return svg("rect", { class: "frame", x, y, width, height, rx: 7 });
}

function drawFrameName({ group, x, y }) {
  const { key, label, leaves } = group;
  return svg(
    "text",
    { x: x + 9, y: y + 18, class: "frame-name", "data-group": key },
    svg("title", {}, `${key}: ${plural(leaves.length, "node")}. Click to fold it up.`),
    `− ${label}`,
  );
}

function drawEdgeLabel({ from, to, label }, layout) {
  const [x, y] = layout.nested
    ? [(from.x + from.width / 2 + to.x + to.width / 2) / 2, (from.y + from.height + to.y) / 2]
    : layout.labels.get(`${from.id} ${to.id}`);
  return svg("text", { x, y: y + 4, class: "edge-label" }, label);
}

// A path that is seen, and a wider one for the pointer.
function drawEdge(edge, index, layout, scale) {
  const d = layout.nested ? curveBetween(edge.from, edge.to) : layout.edges.get(`${edge.from.id} ${edge.to.id}`);
  edge.path = svg("path", { class: ["edge", edge.isSize && "size"], d, "marker-end": "url(#arrow)" });
  return svg("g", { "data-edge": index }, scale > 0.4 && svg("path", { class: "edge-reach", d }), edge.path);
}

function edgeTitle(edge) {
  const shown = edge.values.slice(0, 6).map((value) => `%${value.name}  ${value.type}  ${bytesText(value.bytes)}`);
  const more = edge.values.length > 6 ? [`and ${edge.values.length - 6} more`] : [];
  return [`${edge.from.title} → ${edge.to.title}`, ...shown, ...more].join("\n");
}

// Texts that are too small to be read are left out.
function drawBox(box, scale) {
  const { x: left, y: top, width, height } = box,
    x = left + width / 2,
    y = top + height / 2;
  const title = box.note ? -4 : 4;
  const shift = box.group ? -4 : 0;
  box.shape = svg("rect", {
    class: "shape",
    x: left,
    y: top,
    width,
    height,
    rx: box.node && box.node.kind !== "operator" ? 13 : 5,
  });
  box.element = svg(
    "g",
    { class: ["box", box.group ? "closed" : box.node.kind], "data-box": box.id },
    box.group && scale > 0.3 && svg("rect", { class: "stack", x: left + 3, y: top + 3, width, height, rx: 5 }),
    box.shape,
    scale > SMALL_TEXT && svg("text", { x, y: y + title + shift, class: "title" }, box.group ? `+ ${box.title}` : box.title),
    box.note && scale > SMALL_TEXT && svg("text", { x, y: y + 11 + shift, class: "note" }, box.note),
  );
  return box.element;
}

// A frame seen from afar: its name is as large as it can be read.
function drawBlock(box, scale) {
  const { x, y, width, height } = box;
  const size = Math.min(12 / scale, (width / Math.max(box.title.length, 1)) * 1.5, height * 0.5);
  box.shape = svg("rect", { class: "shape", x, y, width, height, rx: 6 });
  box.element = svg(
    "g",
    { class: "box closed block", "data-box": box.id },
    box.shape,
    size * scale > 5 &&
      svg(
        "text",
        { x: x + width / 2, y: y + height / 2 + size * 0.2, class: "title", style: { "font-size": `${size.toFixed(1)}px` } },
        box.title,
      ),
  );
  return box.element;
}

function boxTitle(box) {
  if (box.block) return `${box.group.key || box.title}: ${box.note}. Double-click to go there.`;
  if (box.group) return `${box.group.key || box.title}: ${box.note}. Double-click to open.`;
  const node = box.node;
  return [`%${node.name} = ${node.op}`, node.type, node.module, node.source].filter(Boolean).join("\n");
}

function verdictShares(counts) {
  return SHARE_ORDER.filter((verdict) => counts.has(verdict)).map((verdict) => ({
    count: counts.get(verdict),
    class: `share v-${verdict || "unjudged"}`,
  }));
}

// A bar along the lower edge of a folded box: which share of it has which verdict, or is of which category.
function drawShares(box, shares) {
  const bar = svg("g", { class: "shares" });
  const total = shares.reduce((sum, { count }) => sum + count, 0);
  if (!total) return bar;
  const inset = Math.min(8, box.width * 0.1),
    thick = box.block ? Math.max(4, box.height * 0.12) : 4;
  const width = box.width - 2 * inset;
  const least = shares.length > 1 ? Math.min(box.block ? width * 0.06 : 5, width / shares.length) : 0;
  const free = width - least * shares.length;
  let x = box.x + inset;
  for (const share of shares) {
    const part = least + (free * share.count) / total;
    bar.append(
      svg("rect", {
        x,
        y: box.y + box.height - thick - Math.min(5, thick),
        width: part,
        height: thick,
        class: share.class,
        style: share.hue ? { "--hue": share.hue } : {},
      }),
    );
    x += part;
  }
  return bar;
}
