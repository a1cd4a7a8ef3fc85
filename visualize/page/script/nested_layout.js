// Where boxes go when there are too many for Graphviz: every frame is laid out by itself, in layers by what reads what,
// and a long pile of layers is folded into columns, so that all of it fits a screen. Linear in boxes and edges.

const GAP = { x: 18, y: 26, column: 40, side: 12, head: 30 };
const SHAPE = 1.5; // how much wider than high a frame becomes
const LONG_PILE = 700;

function nestedLayout(scene) {
  for (const box of scene.boxes) measureBox(box);
  const root = { inside: scene.tree, frame: null };
  liftEdges(scene, root);
  const size = arrange(root);
  const layout = { width: size.width, height: size.height, boxes: new Map(), frames: new Map(), nested: true };
  settle(root, 0, 0, layout);
  return layout;
}

// An edge orders the two items that hold its ends and are in the same frame.
function liftEdges(scene, root) {
  const depth = (item) => (item.frame ? item.frame.depth : 0);
  for (const item of [root, ...scene.frames]) {
    item.inside.forEach((child, index) => {
      child.index = index;
      child.sources = [];
    });
  }
  for (const { from, to } of scene.edges) {
    let [a, b] = [from, to],
      [m, n] = [depth(a), depth(b)];
    for (; m > n; m -= 1) a = a.frame;
    for (; n > m; n -= 1) b = b.frame;
    while (a.frame !== b.frame) [a, b] = [a.frame, b.frame];
    if (a.index < b.index) b.sources.push(a);
  }
}

function arrange(frame) {
  for (const child of frame.inside) {
    if (!child.inside) continue;
    const size = arrange(child);
    const title = quickWidth(`− ${child.group.label}`, FONT_TITLE) + 24;
    child.width = Math.max(size.width + 2 * GAP.side, title);
    child.height = size.height + GAP.side + GAP.head;
  }
  return inColumns(rowsOf(frame));
}

// Layers from top to bottom, each ordered by where what it reads is; one that is too wide becomes several rows.
function rowsOf(frame) {
  const layers = [];
  let area = 0;
  for (const child of frame.inside) {
    child.layer = child.want = 0;
    for (const source of child.sources) {
      child.layer = Math.max(child.layer, source.layer + 1);
      child.want += source.want / child.sources.length;
    }
    child.want ||= child.index / 1e4;
    (layers[child.layer] ||= []).push(child);
    area += (child.width + GAP.x) * (child.height + GAP.y);
  }
  const widest = Math.max(900, Math.sqrt(area * SHAPE));
  const rows = [];
  for (const layer of layers) {
    layer.sort((a, b) => a.want - b.want || a.index - b.index);
    let row = null;
    for (const child of layer) {
      if (!row || row.width + child.width + GAP.x > widest) rows.push((row = { items: [], width: 0, height: 0 }));
      row.width += child.width + (row.items.length ? GAP.x : 0);
      row.height = Math.max(row.height, child.height);
      row.items.push(child);
    }
  }
  return rows;
}

function inColumns(rows) {
  const total = rows.reduce((sum, row) => sum + row.height + GAP.y, 0),
    widest = rows.reduce((most, row) => Math.max(most, row.width), 1);
  const count = total > LONG_PILE ? Math.max(1, Math.round(Math.sqrt((SHAPE * total) / (widest + GAP.column)))) : 1;
  const columns = filled(rows, leastHeight(rows, total, count));
  let left = 0,
    height = 0;
  for (const column of columns) {
    let top = 0;
    for (const row of column.rows) {
      let x = left + (column.width - row.width) / 2;
      for (const item of row.items) {
        item.left = x;
        item.top = top + (row.height - item.height) / 2;
        x += item.width + GAP.x;
      }
      top += row.height + GAP.y;
    }
    height = Math.max(height, top - GAP.y);
    left += column.width + GAP.column;
  }
  return { width: Math.max(left - GAP.column, 1), height: Math.max(height, 1) };
}

// Columns of rows, none higher than `most` unless a single row is.
function filled(rows, most) {
  const columns = [{ rows: [], width: 0, height: 0 }];
  for (const row of rows) {
    let column = columns.at(-1);
    if (column.rows.length && column.height + row.height > most)
      columns.push((column = { rows: [], width: 0, height: 0 }));
    column.rows.push(row);
    column.width = Math.max(column.width, row.width);
    column.height += row.height + GAP.y;
  }
  return columns;
}

// The least height with which the rows fit into so many columns, to a hundredth.
function leastHeight(rows, total, count) {
  let low = total / count - GAP.y,
    high = total;
  while (count > 1 && high - low > total / count / 100) {
    const middle = (low + high) / 2;
    if (filled(rows, middle).length <= count) high = middle;
    else low = middle;
  }
  return high;
}

function settle(frame, x, y, layout) {
  for (const item of frame.inside) {
    const left = x + item.left,
      top = y + item.top;
    if (item.inside) {
      layout.frames.set(item.id, { x: left, y: top, width: item.width, height: item.height });
      settle(item, left + GAP.side, top + GAP.head, layout);
    } else layout.boxes.set(item.id, [left + item.width / 2, top + item.height / 2]);
  }
}

// From the lower side of one box to the upper side of another; around what lies between.
function curveBetween(from, to) {
  const [x1, y1] = [from.x + from.width / 2, from.y + from.height],
    [x2, y2] = [to.x + to.width / 2, to.y];
  const down = y2 - y1;
  const bow = down > 60 && Math.abs(x1 - x2) < (from.width + to.width) / 2 ? Math.max(from.width, to.width) / 2 + 14 : 0;
  const reach = down > 0 ? Math.min(Math.max(down / 2, 8), 60) : 50;
  const numbers = [x1 + bow, y1 + reach, x2 + bow, y2 - reach, x2, y2].map((value) => value.toFixed(1));
  return `M${x1.toFixed(1)},${y1.toFixed(1)} C${numbers.join(" ")}`;
}
