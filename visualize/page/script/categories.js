// Colours by what nodes are rather than by how much: the type of their numbers, or texts per node from a file of the
// reader's own. The most frequent have a colour each, the rest one for all.

const PRECISION = "precision";
const OTHER_HUE = "#8a8f98";

class Categories {
  constructor(textOf, nodes) {
    this.textOf = textOf;
    this.counts = new Map();
    for (const node of nodes) {
      const text = textOf(node);
      if (text) this.counts.set(text, (this.counts.get(text) || 0) + 1);
    }
    const ordered = [...this.counts].sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1));
    this.counts = new Map(ordered);
    this.places = new Map(ordered.map(([text], place) => [text, place]));
  }

  hue(text) {
    return SEGMENT_HUES[this.places.get(text)] || OTHER_HUE;
  }

  countsOf(nodes) {
    const counts = new Map();
    for (const node of nodes) {
      const text = OPERATIONS.has(node.kind) ? this.textOf(node) : "";
      if (text) counts.set(text, (counts.get(text) || 0) + 1);
    }
    return counts;
  }

  // The parts of a bar along the lower edge of a folded box, in the order of the legend.
  shares(counts) {
    return [...counts]
      .sort(([a], [b]) => this.places.get(a) - this.places.get(b))
      .map(([text, count]) => ({ count, class: "share hued", hue: this.hue(text) }));
  }
}

// The categories that the graph of a pass is coloured by, or null.
function categoriesOf(run, pass, color) {
  const own = run.categories.find((item) => item.name === color);
  if (!own && color !== PRECISION) return null;
  pass.categories ??= new Map();
  const key = own || PRECISION;
  if (!pass.categories.has(key)) {
    const textOf = own ? (node) => own.values[node.name] || "" : (node) => floatType(node) || otherType(node);
    pass.categories.set(key, new Categories(textOf, pass.graph.operations));
  }
  return pass.categories.get(key);
}

const FLOATS = { f32: "float32", f16: "float16", bf16: "bfloat16" };

// The type in which a node computes, as a partition.json says it; "" for what is no such number.
function floatType(node) {
  return FLOATS[otherType(node)] || "";
}

function otherType(node) {
  return /(?:^|[(\s])(\w+)\[/.exec(node.type)?.[1] || "";
}

function categoryLegend(categories) {
  const shown = [...categories.counts].slice(0, SEGMENT_HUES.length),
    rest = categories.counts.size - shown.length;
  return [
    ...shown.map(([text, count]) =>
      el("span", { class: "chip hued", style: { "--hue": categories.hue(text) } }, `${text} ${countText(count)}`),
    ),
    rest > 0 && el("span", { class: "chip hued", style: { "--hue": OTHER_HUE } }, plural(rest, "other text")),
  ].filter(Boolean);
}
