// The part of the graph that is seen, as an SVG or PNG of its own: colours are written into the elements.

const EXPORTED = {
  rect: ["fill", "stroke", "stroke-width", "stroke-dasharray", "opacity"],
  path: ["fill", "stroke", "stroke-width", "stroke-dasharray", "opacity"],
  text: ["fill", "stroke", "stroke-width", "stroke-linejoin", "paint-order", "font-family", "font-size", "font-weight", "text-anchor"],
  g: ["opacity"],
};

function exportedSvg(viewport) {
  const { clientWidth: width, clientHeight: height } = viewport.host;
  const copy = viewport.surface.cloneNode(true);
  const originals = [...viewport.surface.querySelectorAll("*")],
    copies = [...copy.querySelectorAll("*")];
  originals.forEach((original, index) => {
    const names = EXPORTED[original.tagName];
    if (!names) return;
    const style = getComputedStyle(original);
    for (const name of names) copies[index].setAttribute(name, style.getPropertyValue(name));
  });
  for (const item of copy.querySelectorAll(".edge-reach")) item.remove();
  for (const item of copies) {
    item.removeAttribute("class");
    item.removeAttribute("style");
  }
  for (const [name, value] of Object.entries({ xmlns: SVG, width, height, viewBox: `0 0 ${width} ${height}` }))
    copy.setAttribute(name, value);
  copy.removeAttribute("class");
  copy.prepend(svg("rect", { width, height, fill: getComputedStyle(viewport.host).backgroundColor }));
  // Control characters can be in names, and cannot be in XML.
  return new XMLSerializer().serializeToString(copy).replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/g, "�");
}

async function exportedPng(viewport, scale = 2) {
  const { clientWidth: width, clientHeight: height } = viewport.host;
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(exportedSvg(viewport))}`;
  await image.decode();
  const canvas = el("canvas", { width: width * scale, height: height * scale });
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}
