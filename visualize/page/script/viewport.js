// Zoom and pan: wheel and pinch around the pointer, drag, keys, and moves that bring something into view.

const SCALES = [0.04, 4];

class Viewport {
  constructor(host, onclick, onmove) {
    this.host = host;
    this.onmove = onmove;
    this.layer = svg("g", { class: "layer" });
    this.surface = svg(
      "svg",
      { class: "surface", role: "img", "aria-label": "graph of the chosen pass" },
      svg(
        "defs",
        {},
        svg(
          "marker",
          {
            id: "arrow",
            viewBox: "0 0 8 8",
            refX: 6.5,
            refY: 4,
            markerWidth: 8,
            markerHeight: 8,
            markerUnits: "userSpaceOnUse",
            orient: "auto",
          },
          svg("path", { d: "M0,0.8 L7,4 L0,7.2 z", class: "arrow" }),
        ),
      ),
      this.layer,
    );
    host.append(this.surface);
    Object.assign(this, { x: 0, y: 0, scale: 1, size: { width: 1, height: 1 }, pointers: new Map(), moved: 0, least: SCALES[0] });
    host.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    host.addEventListener("pointerdown", (event) => this.down(event));
    host.addEventListener("pointermove", (event) => this.move(event));
    for (const type of ["pointerup", "pointercancel"])
      host.addEventListener(type, (event) => this.pointers.delete(event.pointerId));
    this.surface.addEventListener("click", (event) => {
      if (this.moved < 5) onclick(event);
    });
  }

  show(scene) {
    this.layer.replaceChildren(scene);
  }

  // Width and height of the host; asking the browser again and again would make it lay the page out each time.
  get room() {
    if (!this.measured?.[0]) this.measured = [this.host.clientWidth, this.host.clientHeight];
    return this.measured;
  }

  // What is in the middle stays there when the view grows or shrinks.
  resized() {
    const { clientWidth: width, clientHeight: height } = this.host;
    if (!width || !height) return;
    this.measured = [width, height];
    if (this.seen) {
      this.x += (width - this.seen[0]) / 2;
      this.y += Math.min(0, (height - this.seen[1]) / 2);
    }
    this.seen = [width, height];
    this.apply();
  }

  // The part of the picture that is seen, and `margin` times as much around it.
  region(margin = 0) {
    const [width, height] = this.room.map((pixels) => pixels / this.scale);
    return {
      x: -this.x / this.scale - margin * width,
      y: -this.y / this.scale - margin * height,
      width: width * (1 + 2 * margin),
      height: height * (1 + 2 * margin),
    };
  }

  // Some of the picture is always in sight.
  keepInSight() {
    const [width, height] = this.room;
    const rest = 60;
    this.x = Math.min(Math.max(this.x, rest - this.size.width * this.scale), width - rest);
    this.y = Math.min(Math.max(this.y, rest - this.size.height * this.scale), height - rest);
  }

  apply() {
    this.keepInSight();
    this.layer.setAttribute(
      "transform",
      `translate(${this.x.toFixed(2)} ${this.y.toFixed(2)}) scale(${this.scale.toPrecision(5)})`,
    );
    this.onmove();
  }

  zoom(factor, x = this.room[0] / 2, y = this.room[1] / 2) {
    const scale = Math.min(SCALES[1], Math.max(this.least, this.scale * factor));
    this.x = x - ((x - this.x) * scale) / this.scale;
    this.y = y - ((y - this.y) * scale) / this.scale;
    this.scale = scale;
    this.apply();
  }

  pan(dx, dy) {
    this.x += dx;
    this.y += dy;
    this.apply();
  }

  // Everything, but never smaller than `least`: then its upper end, with what is topmost (`top`) in the middle.
  fit(least = 0, top = null) {
    const [width, height] = this.room;
    const whole = Math.min((width - 48) / this.size.width, (height - 96) / this.size.height, 1.25);
    this.least = Math.min(SCALES[0], whole);
    this.scale = Math.max(whole, least);
    const over = this.size.width * this.scale > width - 48 && top;
    this.x = width / 2 - (over ? top.x + top.width / 2 : this.size.width / 2) * this.scale;
    if (over) this.x = Math.max(Math.min(this.x, 24), width - 24 - this.size.width * this.scale);
    this.y = Math.max((height - this.size.height * this.scale) / 2, 44);
    this.apply();
  }

  // A part of the picture as large as it can be seen.
  zoomTo(part) {
    const [width, height] = this.room;
    this.scale = Math.min((width - 48) / part.width, (height - 96) / part.height, 1.25);
    this.center(part, this.scale);
  }

  center(box, least = 0.75) {
    this.scale = Math.max(this.scale, least);
    this.x = this.room[0] / 2 - (box.x + box.width / 2) * this.scale;
    this.y = this.room[1] / 2 - (box.y + box.height / 2) * this.scale;
    this.apply();
  }

  isVisible(box) {
    const left = this.x + box.x * this.scale,
      top = this.y + box.y * this.scale;
    return (
      left > 0 &&
      top > 40 &&
      left + box.width * this.scale < this.room[0] &&
      top + box.height * this.scale < this.room[1] &&
      this.scale > 0.45
    );
  }

  wheel(event) {
    event.preventDefault();
    const place = this.host.getBoundingClientRect();
    const steps = event.deltaMode === 1 ? event.deltaY * 16 : event.deltaY;
    this.zoom(
      Math.exp(-steps * (event.ctrlKey ? 0.01 : 0.0015)),
      event.clientX - place.left,
      event.clientY - place.top,
    );
  }

  down(event) {
    if (event.button !== 0) return;
    if (!this.pointers.size) this.moved = 0;
    this.pointers.set(event.pointerId, [event.clientX, event.clientY]);
  }

  move(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before) return;
    const now = [event.clientX, event.clientY];
    const other = [...this.pointers].find(([id]) => id !== event.pointerId)?.[1];
    this.pointers.set(event.pointerId, now);
    this.moved += Math.abs(now[0] - before[0]) + Math.abs(now[1] - before[1]);
    if (other) {
      const place = this.host.getBoundingClientRect();
      const span = (point) => Math.hypot(point[0] - other[0], point[1] - other[1]) || 1;
      this.zoom(span(now) / span(before), other[0] - place.left, other[1] - place.top);
    } else {
      if (this.moved >= 5 && !this.host.hasPointerCapture(event.pointerId))
        this.host.setPointerCapture(event.pointerId);
      this.pan(now[0] - before[0], now[1] - before[1]);
    }
  }
}
