// What turned one graph into another, as lines. A node occurs once in a graph, so the common part is a longest
// increasing run of positions.

function commonNodes(before, after) {
  const pairs = [];
  before.nodes.forEach((node, index) => {
    if (after.byName.get(node.name) === node) pairs.push([index, after.position.get(node.name)]);
  });
  const tails = [],
    ends = [],
    previous = [];
  pairs.forEach(([, position], index) => {
    let low = 0,
      high = tails.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (tails[middle] < position) low = middle + 1;
      else high = middle;
    }
    previous.push(low ? ends[low - 1] : -1);
    tails[low] = position;
    ends[low] = index;
  });
  const run = [];
  for (let index = ends.length ? ends.at(-1) : -1; index >= 0; index = previous[index]) run.push(pairs[index]);
  return run.reverse();
}

// Lines of the later pass, with those that are gone: sign " ", "+", "-", or "~" where only the verdict changed.
function diffLines(before, after) {
  const lines = [];
  let old = 0,
    now = 0;
  const common = [...commonNodes(before.graph, after.graph), [before.graph.nodes.length, after.graph.nodes.length]];
  for (const [stopOld, stopNow] of common) {
    for (; old < stopOld; old += 1) lines.push(lineOf("-", before, before.graph.nodes[old]));
    for (; now < stopNow; now += 1) lines.push(lineOf("+", after, after.graph.nodes[now]));
    if (stopOld === before.graph.nodes.length) break;
    const node = after.graph.nodes[now];
    const line = lineOf(before.fact(node.name) === after.fact(node.name) ? " " : "~", after, node);
    if (line.sign === "~") line.was = before.fact(node.name);
    lines.push(line);
    old += 1;
    now += 1;
  }
  return lines;
}

function lineOf(sign, pass, node) {
  return { sign, node, fact: pass.fact(node.name), pass };
}

function plainLines(pass) {
  return pass.graph.nodes.map((node) => lineOf(" ", pass, node));
}

// Only the changes, with a few lines around them; what is left out is one line that says how much it is.
function onlyChanges(lines, context = 3) {
  const keep = new Uint8Array(lines.length);
  lines.forEach((line, index) => {
    if (line.sign !== " ") keep.fill(1, Math.max(0, index - context), index + context + 1);
  });
  const kept = [];
  let left = 0;
  lines.forEach((line, index) => {
    if (keep[index]) {
      if (left) kept.push({ skipped: left });
      left = 0;
      kept.push(line);
    } else left += 1;
  });
  return left ? [...kept, { skipped: left }] : kept;
}
