// Where boxes go: Graphviz, compiled for browsers, in a worker that can be stopped. It is given sizes and no texts.

const FONT_TITLE = "600 12px system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif";
const FONT_NOTE = "10.5px system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif";
const KEPT_LAYOUTS = 24;
const PATIENCE = 600; // milliseconds after which a layout is given up for one that is wanted more

const measuring = document.createElement("canvas").getContext("2d");

function textWidth(text, font) {
  measuring.font = font;
  return measuring.measureText(text).width;
}

// The width of a text from that of its characters, which is quick for thousands of texts.
const ASCII = 128;
const FONT_CODE = "12px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace";
const FONT_CELL = "14px system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif";
const characterWidths = new Map();

function quickWidth(text, font) {
  if (!characterWidths.has(font)) characterWidths.set(font, new Float64Array(ASCII));
  const widths = characterWidths.get(font);
  let sum = 0;
  for (let index = 0; index < text.length; index += 1) {
    const code = text.charCodeAt(index);
    if (code >= ASCII) return textWidth(text, font);
    sum += widths[code] ||= textWidth(text[index], font);
  }
  return sum;
}

function measureBox(box) {
  const title = quickWidth(box.group ? `+ ${box.title}` : box.title, FONT_TITLE);
  box.width = Math.ceil(Math.max(title, quickWidth(box.note, FONT_NOTE), 44)) + 22;
  box.height = box.note ? 38 : 26;
  if (box.group) box.height += 7;
}

// A label that is only the room for a text.
function space(text, font) {
  const width = Math.ceil(textWidth(text, font)) + 8;
  return `<<TABLE BORDER="0" FIXEDSIZE="TRUE" WIDTH="${width}" HEIGHT="16"><TR><TD></TD></TR></TABLE>>`;
}

function dotOf(scene) {
  const lines = [
    "digraph{",
    "graph[rankdir=TB,nodesep=0.22,ranksep=0.36]",
    'node[shape=box,fixedsize=true,label=""]',
    "edge[arrowsize=0.6]",
  ];
  const inside = (children) => {
    for (const child of children) {
      if (child.inside) {
        lines.push(
          `subgraph ${child.id}{graph[margin=10,labeljust=l,label=${space(`− ${child.group.label}`, FONT_TITLE)}]`,
        );
        inside(child.inside);
        lines.push("}");
      } else {
        lines.push(`${child.id}[width=${(child.width / 72).toFixed(3)},height=${(child.height / 72).toFixed(3)}]`);
      }
    }
  };
  for (const box of scene.boxes) measureBox(box);
  inside(scene.tree);
  for (const edge of scene.edges) {
    const extra = edge.label ? `[label=${space(edge.label, FONT_NOTE)}]` : edge.isSize ? "[weight=0]" : "";
    lines.push(`${edge.from.id}->${edge.to.id}${extra}`);
  }
  return `${lines.join("\n")}\n}`;
}

// The library is an ES module; in a classic worker its export becomes a name.
function workerSource() {
  const library = document
    .getElementById("layout-library")
    .textContent.replace(/export\s*\{[^}]*?\b(\w+) as Graphviz\b[^}]*\};?/, "const GraphvizLibrary=$1;");
  return [
    library,
    `
const ready = GraphvizLibrary.load();
onmessage = async ({ data: { id, dot } }) => {
  try {
    const graphviz = await ready;
    postMessage({ id, layout: graphviz.layout(dot, "json0", "dot") });
  } catch (error) {
    postMessage({ id, error: String(error) });
  }
};`,
  ];
}

class LayoutEngine {
  constructor() {
    this.kept = new Map();
    this.asked = new Map();
    this.serial = 0;
    this.worker = null;
  }

  start() {
    this.address ||= URL.createObjectURL(new Blob(workerSource(), { type: "text/javascript" }));
    this.worker = new Worker(this.address);
    this.worker.onmessage = ({ data }) => this.answer(data);
    this.worker.onerror = (event) => {
      for (const id of [...this.asked.keys()]) this.answer({ id, error: event.message || "the worker failed" });
    };
  }

  // Lays out DOT text; null if that was given up for a later request, because it took too long.
  layout(dot) {
    const known = this.kept.get(dot);
    if (known) return known;
    const [oldest] = this.asked.values();
    if (oldest && performance.now() - oldest.since > PATIENCE) this.restart();
    if (this.worker === null) this.start();
    this.serial += 1;
    const promise = new Promise((resolve, reject) => {
      this.asked.set(this.serial, { dot, resolve, reject, since: performance.now() });
      this.worker.postMessage({ id: this.serial, dot });
    });
    this.keep(dot, promise);
    return promise;
  }

  answer({ id, layout, error }) {
    const { dot, resolve, reject } = this.asked.get(id);
    this.asked.delete(id);
    if (!error) return resolve(readLayout(JSON.parse(layout)));
    this.kept.delete(dot);
    return reject(new Error(error));
  }

  restart() {
    this.worker.terminate();
    for (const { dot, resolve } of this.asked.values()) {
      this.kept.delete(dot);
      resolve(null);
    }
    this.asked.clear();
    this.start();
  }

  keep(dot, promise) {
    this.kept.set(dot, promise);
    if (this.kept.size > KEPT_LAYOUTS) this.kept.delete(this.kept.keys().next().value);
  }
}

// Graphviz counts upwards from the bottom; the page downwards from the top.
function readLayout(json) {
  const [, , width, height] = json.bb.split(",").map(Number);
  const point = (text) => {
    const [x, y] = text.split(",").map(Number);
    return [x, height - y];
  };
  const layout = { width, height, boxes: new Map(), frames: new Map(), edges: new Map(), labels: new Map() };
  const names = new Map();
  for (const object of json.objects || []) {
    names.set(object._gvid, object.name);
    if (object.pos) layout.boxes.set(object.name, point(object.pos));
    else if (object.bb) {
      const [left, bottom, right, top] = object.bb.split(",").map(Number);
      layout.frames.set(object.name, { x: left, y: height - top, width: right - left, height: top - bottom });
    }
  }
  for (const edge of json.edges || []) {
    const key = `${names.get(edge.tail)} ${names.get(edge.head)}`;
    layout.edges.set(key, pathOf(edge.pos, point));
    if (edge.lp) layout.labels.set(key, point(edge.lp));
  }
  return layout;
}

function pathOf(spline, point) {
  const parts = spline.split(" ");
  const end = parts.find((part) => part.startsWith("e,"));
  const points = parts.filter((part) => !/^[es],/.test(part)).map(point);
  const pairs = points.map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`);
  const tip = end
    ? ` L${point(end.slice(2))
        .map((value) => value.toFixed(1))
        .join(",")}`
    : "";
  return `M${pairs[0]} C${pairs.slice(1).join(" ")}${tip}`;
}
