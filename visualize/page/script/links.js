// Pieces of text that more than one view shows: links to nodes, reasons, definition lists.

function nodeLink(state, name, text = `%${name}`) {
  return el(
    "a",
    {
      href: "#",
      class: "node-link",
      "data-node": name,
      onclick: (event) => {
        event.preventDefault();
        state.select(name);
      },
    },
    text,
  );
}

// Every reason with its sentence, what the code means, and what to do about it.
function reasonList(state, fact) {
  if (!fact.reasons.length && !fact.because) return null;
  return el(
    "ul",
    { class: "reason-list" },
    fact.reasons.map(({ code, message }) => {
      const known = state.run.data.codes[code];
      return el(
        "li",
        {},
        el("b", { class: "code-name" }, code),
        " ",
        message,
        known &&
          el(
            "details",
            {},
            el("summary", {}, known.title),
            el("p", {}, known.meaning),
            el("p", {}, el("b", {}, "What to do: "), known.remedy),
          ),
      );
    }),
    fact.because && el("li", {}, "because of ", nodeLink(state, fact.because)),
  );
}

function definitions(rows) {
  return el(
    "dl",
    {},
    rows
      .filter((row) => row && row[1] !== null && row[1] !== "" && row[1] !== undefined)
      .map(([name, ...value]) => [el("dt", {}, name), el("dd", {}, value)]),
  );
}

// A sentence with its `code` set as such.
function withCode(text) {
  return text.split("`").map((part, index) => (index % 2 ? el("code", {}, part) : part));
}

function manyLinks(state, names, most = 10) {
  const list = [...names];
  const shown = list.slice(0, most).map((name) => [nodeLink(state, name), " "]);
  return list.length > most ? [shown, `and ${countText(list.length - most)} more`] : shown;
}

function fileLinks(pass, most = 14) {
  const shown = pass.files.filter((name) => /\.(svg|txt|diff|json|log)$/.test(name));
  return [
    shown
      .slice(0, most)
      .map((name) => [
        el(
          "a",
          { class: "file", href: `${encodeURIComponent(pass.folder)}/${name.split("/").map(encodeURIComponent).join("/")}` },
          name,
        ),
        " ",
      ]),
    shown.length > most && el("a", { href: `${encodeURIComponent(pass.folder)}/` }, `and ${shown.length - most} more`),
  ];
}
