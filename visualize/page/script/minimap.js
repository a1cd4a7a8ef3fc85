// The whole picture in a corner, with what is seen of it; a click or a drag goes there.

const MAP = { width: 170, height: 120 };
const LEAST_ON_MAP = 3; // pixels of a frame below which it is one spot

function worstOf(item, scene) {
  const pass = item.pass || scene.pass;
  if (item.inside) return worstVerdict(verdictCounts(pass, item.leaves || item.group.leaves));
  return (item.worst ??= worstVerdict(countsOf(item, pass)));
}

class Minimap {
  constructor(viewport) {
    this.viewport = viewport;
    this.canvas = el("canvas", { class: "minimap", title: "The whole graph: click to go there", hidden: true });
    this.canvas.addEventListener("pointerdown", (event) => {
      this.canvas.setPointerCapture(event.pointerId);
      this.go(event);
    });
    this.canvas.addEventListener("pointermove", (event) => event.buttons && this.go(event));
  }

  // Draws the boxes once for a scene and its colours; what is seen is drawn anew on every move.
  show(scene) {
    const { width, height } = scene.layout;
    this.scale = Math.min(MAP.width / width, MAP.height / height);
    this.size = [Math.max(8, width * this.scale), Math.max(8, height * this.scale)];
    this.picture = el("canvas", { width: this.size[0] * 2, height: this.size[1] * 2 });
    this.canvas.width = this.picture.width;
    this.canvas.height = this.picture.height;
    this.canvas.style.width = `${this.size[0]}px`;
    this.canvas.style.height = `${this.size[1]}px`;
    const pen = this.picture.getContext("2d"),
      colours = this.colours();
    const draw = (item, colour, least) => {
      pen.fillStyle = colour;
      const [x, y, w, h] = [item.x, item.y, item.width, item.height].map((value) => value * this.scale * 2);
      pen.fillRect(x, y, Math.max(w, least), Math.max(h, least));
    };
    const fill = (item, verdict) =>
      draw(item, colours(verdict ? `--${verdict}-line` : "--faint"), verdict === "trt" || !verdict ? 1 : 3);
    const walk = (children) => {
      for (const child of children) {
        if (child.inside && child.width * this.scale > LEAST_ON_MAP) {
          draw(child, colours("--frame-fill"), 1);
          walk(child.inside);
        } else fill(child, worstOf(child, scene));
      }
    };
    walk(scene.tree);
    this.mark = colours("--accent");
    colours(null);
    this.move();
  }

  // Variables as a canvas understands them: resolved for light or dark.
  colours() {
    const probe = el("i", { hidden: true }),
      known = new Map();
    this.canvas.after(probe);
    return (name) => {
      if (name === null) return probe.remove();
      if (!known.has(name)) {
        probe.style.color = `var(${name})`;
        known.set(name, getComputedStyle(probe).color);
      }
      return known.get(name);
    };
  }

  move() {
    if (!this.picture) return;
    const seen = this.viewport.region(),
      { width, height } = this.viewport.size;
    this.canvas.hidden =
      seen.x <= 0 && seen.y <= 0 && seen.x + seen.width >= width && seen.y + seen.height >= height;
    if (this.canvas.hidden) return;
    const pen = this.canvas.getContext("2d");
    pen.clearRect(0, 0, this.canvas.width, this.canvas.height);
    pen.drawImage(this.picture, 0, 0);
    pen.strokeStyle = this.mark;
    pen.lineWidth = 3;
    const [x, y, w, h] = [seen.x, seen.y, seen.width, seen.height].map((value) => value * this.scale * 2);
    const left = Math.max(x, 1.5),
      top = Math.max(y, 1.5);
    pen.strokeRect(left, top, Math.min(x + w, this.canvas.width - 1.5) - left, Math.min(y + h, this.canvas.height - 1.5) - top);
  }

  go(event) {
    const place = this.canvas.getBoundingClientRect();
    const x = (event.clientX - place.left) / this.scale,
      y = (event.clientY - place.top) / this.scale;
    this.viewport.center({ x, y, width: 0, height: 0 }, this.viewport.scale);
  }
}
