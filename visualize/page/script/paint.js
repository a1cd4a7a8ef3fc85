// Colours of boxes: by verdict, segment, or a number per node; what the pass changed; what is chosen or found.

const WORST_FIRST = ["failed", "unsupported", "rejected", "excluded", "demoted", "trt"];
const SEGMENT_HUES = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8f7ee0", "#b5a300"];
const SCALE_STEPS = 7;

function verdictCounts(pass, nodes) {
  const counts = new Map();
  for (const node of nodes) {
    if (!OPERATIONS.has(node.kind)) continue;
    const verdict = pass.fact(node.name)?.verdict || "";
    counts.set(verdict, (counts.get(verdict) || 0) + 1);
  }
  return counts;
}

// Groups belong to a tree that is made for one pass and its verdicts.
function countsOf(box, pass) {
  if (box.pass) return (box.counts ??= verdictCounts(box.pass, box.nodes));
  return box.group ? (box.group.counts ??= verdictCounts(pass, box.nodes)) : verdictCounts(pass, box.nodes);
}

function worstVerdict(counts) {
  return WORST_FIRST.find((verdict) => counts.has(verdict)) || "";
}

function segmentHue(run, name) {
  const index = [...run.segments.keys()].indexOf(name);
  return index < 0 ? null : SEGMENT_HUES[index % SEGMENT_HUES.length];
}

// The largest value of the nodes of a box, and where it lies between the least and the largest of all, 0 to 1.
class NumberScale {
  constructor(measure) {
    this.measure = measure;
    const finite = Object.values(measure.values).filter((value) => value !== null);
    const least = (values) => values.reduce((low, value) => Math.min(low, value), Infinity);
    this.high = finite.reduce((high, value) => Math.max(high, value), -Infinity);
    const positive = least(finite.filter((value) => value > 0));
    this.isLog = least(finite) >= 0 && this.high / positive > 100;
    this.low = this.isLog ? positive : least(finite);
    // As many digits as tell the least from the largest: errors of a model often lie close together.
    this.digits = [1, 2, 3, 4, 5].find((digits) => this.low.toExponential(digits) !== this.high.toExponential(digits)) || 1;
  }

  // The values that the colours stand for, from the least to the largest; one, where all are the same.
  steps() {
    if (this.low === this.high) return [{ step: 3, value: this.low }];
    return Array.from({ length: SCALE_STEPS }, (_, step) => {
      const at = step / (SCALE_STEPS - 1);
      const value = this.isLog ? this.low * (this.high / this.low) ** at : this.low + at * (this.high - this.low);
      return { step, value };
    });
  }

  of(nodes) {
    const values = nodes.map((node) => this.measure.values[node.name]).filter((value) => value !== undefined);
    if (!values.length) return null;
    const value = values.includes(null) ? Infinity : Math.max(...values);
    if (this.low === this.high && value <= this.high) return { value, step: 3 };
    if (value >= this.high) return { value, step: SCALE_STEPS - 1 };
    const at = this.isLog
      ? Math.log(Math.max(value, this.low) / this.low) / Math.log(this.high / this.low)
      : (value - this.low) / (this.high - this.low);
    return { value, step: Math.round(Math.max(0, at) * (SCALE_STEPS - 1)) };
  }

  text(value) {
    if (value === Infinity) return "not finite";
    if (this.measure.unit === "us") return `${value.toPrecision(3)} µs`;
    if (!this.measure.unit) return String(Number(value.toPrecision(Math.max(4, this.digits + 1))));
    return this.measure.unit === "s" ? secondsText(value) : `${value.toExponential(this.digits)} ${this.measure.unit}`;
  }
}

function colourModes(run) {
  const modes = [["verdict", "verdict"]];
  if (run.segments.size) modes.push(["segment", "segment"]);
  modes.push([PRECISION, PRECISION]);
  modes.push(...[...run.data.measures, ...run.categories].map(({ name }) => [name, name]));
  return modes;
}

function paintScene(scene, state) {
  const { pass, run } = state;
  const measure = run.data.measures.find((item) => item.name === state.color);
  const scale = measure ? new NumberScale(measure) : null;
  const { touched } = pass;
  for (const box of scene.shown.boxes) {
    const counts = countsOf(box, pass);
    const verdict = worstVerdict(counts);
    const classes = ["box", box.group ? "closed" : box.node.kind];
    if (box.block) classes.push("block");
    if (counts.size) classes.push(`line-${verdict || "unjudged"}`);
    const categories = categoriesOf(run, box.pass || pass, state.color),
      kinds = categories?.countsOf(box.nodes);
    const hue = kinds
      ? kinds.size === 1 && categories.hue([...kinds.keys()][0])
      : state.color === "segment" && hueOf(box, box.pass || pass, run);
    const number = scale ? scale.of(box.nodes) : null;
    if (number) classes.push(`scale-${number.step}`);
    else if (hue) classes.push("hued");
    else if (counts.size && state.color === "verdict" && !box.group) classes.push(`v-${verdict || "unjudged"}`);
    box.shape.style.setProperty("--hue", hue || "");
    if (box.change) classes.push(`change-${box.change}`);
    else if (!scene.pair && box.nodes.some((node) => touched.created.has(node.name) || touched.rewired.has(node.name)))
      classes.push("touched");
    if (counts.size && [...counts.keys()].every((name) => state.hidden.has(name))) classes.push("muted");
    box.element.setAttribute("class", classes.join(" "));
    box.element.querySelector(".shares")?.remove();
    if (box.group) box.element.append(drawShares(box, kinds ? categories.shares(kinds) : verdictShares(counts)));
  }
}

function hueOf(box, pass, run) {
  const names = new Set(
    box.nodes.filter((node) => OPERATIONS.has(node.kind)).map((node) => pass.fact(node.name)?.segment || ""),
  );
  return names.size === 1 ? segmentHue(run, [...names][0]) : null;
}

// Marks the boxes of chosen and found nodes, and the edges of the chosen one.
function markScene(scene, state, found) {
  const chosen = state.node === null ? null : scene.shownBoxOf(state.node);
  const same = new Set(state.homes ? scene.boxesOf(state.homes) : []);
  for (const box of scene.shown.boxes) {
    box.element.classList.toggle(
      "chosen",
      box === chosen || Boolean(box.group && box.group.key === state.chosenGroup?.key),
    );
    box.element.classList.toggle("same", box !== chosen && same.has(box));
    box.element.classList.toggle("found", found !== null && box.nodes.some((node) => found.has(node.name)));
    box.element.classList.toggle("not-found", found !== null && !box.nodes.some((node) => found.has(node.name)));
  }
  for (const edge of scene.shown.edges) {
    edge.path.classList.toggle("into", chosen !== null && edge.to === chosen);
    edge.path.classList.toggle("from", chosen !== null && edge.from === chosen);
  }
}
