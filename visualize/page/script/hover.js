// What is under the pointer: a box with its type and line, or an edge with the shapes and types of what it carries.
// An edge lights up its two ends, a box what it reads and what reads it.

class Hover {
  constructor(view) {
    this.view = view;
    this.tip = el("div", { class: "tip", hidden: true, role: "tooltip" });
    view.element.append(this.tip);
    this.lit = [];
    view.canvas.addEventListener("pointermove", (event) => this.move(event));
    view.canvas.addEventListener("pointerleave", () => this.over(null, null));
  }

  move(event) {
    if (event.buttons) return this.over(null, null);
    const { scene } = this.view,
      edge = event.target.closest?.("[data-edge]");
    const item = edge ? scene.shown.edges[Number(edge.dataset.edge)] : scene && this.view.boxAt(event.target);
    this.over(item || null, scene);
    if (item) this.moveTip(event);
  }

  over(item, scene) {
    if (item === this.item) return;
    this.item = item;
    for (const [element, name] of this.lit) element.classList.remove(name);
    this.lit = [];
    this.tip.hidden = item === null;
    if (item === null) return;
    this.tip.textContent = item.path ? edgeTitle(item) : boxTitle(item);
    for (const edge of item.path ? [item] : scene.shown.edges) {
      if (!item.path && edge.from !== item && edge.to !== item) continue;
      this.light(edge.path, "lit");
      if (edge.from !== item) this.light(edge.from.element, "lit-from");
      if (edge.to !== item) this.light(edge.to.element, "lit-to");
    }
  }

  light(element, name) {
    if (!element) return;
    element.classList.add(name);
    this.lit.push([element, name]);
  }

  moveTip(event) {
    const host = this.view.element.getBoundingClientRect();
    const left = Math.min(event.clientX - host.left + 14, host.width - this.tip.offsetWidth - 8);
    const below = event.clientY - host.top + 18;
    const top = below + this.tip.offsetHeight > host.height ? below - this.tip.offsetHeight - 30 : below;
    this.tip.style.left = `${Math.max(8, left)}px`;
    this.tip.style.top = `${Math.max(8, top)}px`;
  }
}
