// A list of any length of which only the rows in sight exist. Rows may wrap: their heights are guessed, and put right
// when they are first seen.

const SPARE_ROWS = 12;

class VirtualRows {
  constructor(rowHeight, makeRow, props = {}) {
    Object.assign(this, { rowHeight, makeRow, count: 0, first: -1, last: -1, wraps: false, tops: new Float64Array(1) });
    this.rows = el("div", { class: "rows" });
    this.element = el("div", { class: "scroller", tabindex: "0", ...props }, this.rows);
    this.element.addEventListener("scroll", () => this.draw());
    let width = 0;
    new ResizeObserver(() => {
      const now = this.element.clientWidth;
      if (this.wraps && width && now && width !== now) {
        const first = this.at(this.element.scrollTop);
        this.forget();
        this.element.scrollTop = this.tops[first];
      }
      width = now || width;
      this.draw();
    }).observe(this.element);
  }

  // `wraps`: rows are as high as their text needs.
  show(count, width = "", wraps = false) {
    Object.assign(this, { count, wraps });
    this.rows.style.minWidth = width;
    this.element.classList.toggle("wraps", wraps);
    this.forget();
    this.draw();
  }

  forget() {
    this.tops = Float64Array.from({ length: this.count + 1 }, (_, index) => index * this.rowHeight);
    this.first = this.last = -1;
  }

  // The row at a height: the last that begins at or above it.
  at(top) {
    let low = 0,
      high = this.count;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.tops[middle] <= top) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  draw() {
    const top = this.element.scrollTop,
      height = this.element.clientHeight;
    const first = Math.max(0, this.at(top) - SPARE_ROWS);
    const last = Math.min(this.count, this.at(top + height) + 1 + SPARE_ROWS);
    this.rows.style.height = `${this.tops[this.count]}px`;
    if (first === this.first && last === this.last) return;
    const anchor = this.at(top),
      offset = top - this.tops[anchor];
    this.first = first;
    this.last = last;
    const made = [];
    for (let index = first; index < last; index += 1) {
      const row = this.makeRow(index);
      if (!this.wraps) row.style.height = `${this.rowHeight}px`;
      made.push(row);
    }
    this.rows.replaceChildren(...made);
    if (this.wraps) this.measure(made);
    made.forEach((row, place) => row.style.setProperty("top", `${this.tops[first + place]}px`));
    this.rows.style.height = `${this.tops[this.count]}px`;
    if (this.tops[anchor] + offset !== top) this.element.scrollTop = this.tops[anchor] + offset;
  }

  measure(made) {
    const heights = made.map((row) => Math.max(row.offsetHeight, 1));
    let shift = 0;
    heights.forEach((height, place) => {
      const index = this.first + place;
      const before = this.tops[index + 1] - this.tops[index];
      this.tops[index] += shift;
      shift += this.element.offsetParent === null ? 0 : height - before;
    });
    if (shift) for (let index = this.last; index <= this.count; index += 1) this.tops[index] += shift;
  }

  // Rows that wrap move when those above them are measured: until the row is where it should be.
  reveal(index) {
    const view = this.element;
    for (let tries = 0; tries < 5; tries += 1) {
      const top = this.tops[index];
      if (top < view.scrollTop + this.rowHeight || top > view.scrollTop + view.clientHeight - 2 * this.rowHeight) {
        view.scrollTop = top - view.clientHeight / 3;
      }
      this.first = -1;
      this.draw();
      if (this.tops[index] === top) return;
    }
  }
}
