// What quantising cost: the error of the results, and that of every layer, the largest first.

const QUANTISED_SHOWN = 40;

class QuantisedLayers {
  constructor(state) {
    this.state = state;
  }

  // Nothing for a model that `tp.quantize` did not make.
  section() {
    const found = this.state.run.report.quantisation;
    if (!found) return null;
    const done = found.layers.filter((layer) => !layer.reason).sort((a, b) => (b.error ?? 0) - (a.error ?? 0));
    const left = found.layers.filter((layer) => layer.reason);
    const worst = done.length ? done[0].error || 0 : 0;
    const rows = [...done, ...left].map((layer) => this.row(layer, worst));
    return el(
      "section",
      { class: "quantised-layers" },
      el("h3", {}, "Quantised layers"),
      el(
        "p",
        {},
        `${done.length} of ${plural(found.layers.length, "layer")} in ${found.mode}`,
        found.output_error === null ? "." : `; relative error of the results: ${errorText(found.output_error)}.`,
      ),
      this.table(rows.slice(0, QUANTISED_SHOWN)),
      rows.length > QUANTISED_SHOWN &&
        el("details", {}, el("summary", {}, `${rows.length - QUANTISED_SHOWN} more`), this.table(rows.slice(QUANTISED_SHOWN))),
    );
  }

  table(rows) {
    const head = el("tr", {}, el("th", {}, "layer"), el("th", { class: "number" }, "relative error"));
    return el("table", {}, el("thead", {}, head), el("tbody", {}, rows));
  }

  row(layer, worst) {
    const share = worst && layer.error !== null ? Math.max(2, (100 * layer.error) / worst) : 0;
    return el(
      "tr",
      { class: layer.reason && "left-out", title: layer.kind },
      el("td", {}, this.name(layer), layer.reason && el("span", { class: "muted" }, ` stays, since ${layer.reason}`)),
      el(
        "td",
        { class: "number" },
        layer.error === null ? "" : errorText(layer.error),
        !layer.reason && share > 0 && el("i", { class: "share", style: { width: `${share}%` } }),
      ),
    );
  }

  // The layer's path, which leads to the last op node that is from it: its product, or what was made of that.
  name(layer) {
    const inside = (module) => module === layer.name || (module || "").startsWith(`${layer.name}.`);
    const nodes = this.state.run.ledger.filter((row) => inside(row.node.module));
    return nodes.length ? nodeLink(this.state, nodes[nodes.length - 1].node.name, layer.name) : el("code", {}, layer.name);
  }
}

function errorText(error) {
  return error >= 0.001 || error === 0 ? String(Number(error.toPrecision(2))) : error.toExponential(1);
}
