// A list of any length of which only the rows in sight exist.

const SPARE_ROWS = 12;

class VirtualRows {
  constructor(rowHeight, makeRow, props = {}) {
    Object.assign(this, { rowHeight, makeRow, count: 0, first: -1, last: -1 });
    this.rows = el("div", { class: "rows" });
    this.element = el("div", { class: "scroller", tabindex: "0", ...props }, this.rows);
    this.element.addEventListener("scroll", () => this.draw());
    new ResizeObserver(() => this.draw()).observe(this.element);
  }

  show(count, width = "") {
    this.count = count;
    this.rows.style.height = `${count * this.rowHeight}px`;
    this.rows.style.minWidth = width;
    this.first = this.last = -1;
    this.draw();
  }

  draw() {
    const top = this.element.scrollTop,
      height = this.element.clientHeight;
    const first = Math.max(0, Math.floor(top / this.rowHeight) - SPARE_ROWS);
    const last = Math.min(this.count, Math.ceil((top + height) / this.rowHeight) + SPARE_ROWS);
    if (first === this.first && last === this.last) return;
    this.first = first;
    this.last = last;
    const made = [];
    for (let index = first; index < last; index += 1) {
      const row = this.makeRow(index);
      row.style.top = `${index * this.rowHeight}px`;
      row.style.height = `${this.rowHeight}px`;
      made.push(row);
    }
    this.rows.replaceChildren(...made);
  }

  reveal(index) {
    const top = index * this.rowHeight,
      view = this.element;
    if (top < view.scrollTop + this.rowHeight || top > view.scrollTop + view.clientHeight - 2 * this.rowHeight) {
      view.scrollTop = top - view.clientHeight / 3;
    }
    this.first = -1;
    this.draw();
  }
}
