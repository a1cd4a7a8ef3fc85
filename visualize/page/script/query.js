// What can be typed into a search: words, "several words", and fields such as op:relu or -verdict:trt; all must hold.

const FIELDS = {
  op: (node) => [node.op],
  verdict: (node, fact) => [fact ? fact.verdict : OPERATIONS.has(node.kind) ? "none" : ""],
  module: (node) => [node.module],
  segment: (node, fact, run) => [fact?.segment || run.regionOf.get(node.name) || ""],
  code: (node, fact) => (fact ? fact.reasons.map((reason) => reason.code) : []),
  name: (node) => [node.name],
  type: (node) => [node.type],
  source: (node) => [node.source],
};
const OF_VERDICTS = new Set(["verdict", "segment", "code"]); // of op nodes only, with a minus too
const QUERY_HELP =
  `Words, "several words", and ${Object.keys(FIELDS).join(":, ")}:, with commas for “or” and a minus for “not”: ` +
  "op:relu,gelu -verdict:trt module:layers.3";

class Query {
  constructor(text) {
    this.terms = termsOf(text).map(termOf).filter(Boolean);
  }

  accepts(run, node, fact) {
    return this.terms.every(({ field, wanted, not }) => {
      if (!field) return wanted.some((word) => run.hasText(node, fact, word)) !== not;
      if (OF_VERDICTS.has(field) && !OPERATIONS.has(node.kind)) return false;
      const values = FIELDS[field](node, fact, run).map((value) => value.toLowerCase());
      return wanted.some((word) => values.some((value) => matchesField(field, value, word))) !== not;
    });
  }
}

// Module paths match as a whole or by their parts, so that module:layers.1 is not layers.10.
function matchesField(field, value, word) {
  if (field === "verdict") return value.startsWith(word) && value !== "";
  if (field !== "module" || !word) return value.includes(word) && value !== "";
  return `.${value}.`.includes(`.${word.replace(/^\.|\.$/g, "")}.`);
}

// Pieces that white space separates, except inside of quotation marks.
function termsOf(text) {
  return text.match(/(?:[^\s"]|"[^"]*(?:"|$))+/g) || [];
}

// Only the names above make a field: "model.py:12" and "aten::relu" are words.
function termOf(piece) {
  const [, sign, field, rest] = /^(-?)(?:(\w+):(?!:))?(.*)$/s.exec(piece);
  if (field && Object.hasOwn(FIELDS, field.toLowerCase())) {
    const wanted = splitValues(rest);
    return wanted.length ? { field: field.toLowerCase(), wanted, not: sign === "-" } : null;
  }
  const not = sign === "-" && piece.length > 1 && piece !== "->";
  const word = (not ? piece.slice(1) : piece).replaceAll('"', "").toLowerCase();
  return word ? { field: null, wanted: [word], not } : null;
}

function splitValues(text) {
  return text
    .split(/,(?=(?:[^"]*"[^"]*")*[^"]*$)/)
    .map((value) => value.replaceAll('"', "").trim().toLowerCase())
    .filter(Boolean);
}

// What can be put in place of the piece that is being typed last: [text, how many nodes have it].
function completions(text, pass, most = 8) {
  const piece = /\S*$/.exec(text)[0],
    sign = piece.startsWith("-") ? "-" : "",
    typed = piece.slice(sign.length).toLowerCase();
  if (!typed || (text.match(/"/g) || []).length % 2) return [];
  const colon = typed.indexOf(":");
  if (colon < 0) {
    return Object.keys(FIELDS)
      .filter((field) => field.startsWith(typed))
      .map((field) => ({ piece, text: `${sign}${field}:`, count: null }));
  }
  const field = typed.slice(0, colon);
  if (!Object.hasOwn(FIELDS, field)) return [];
  const start = piece.slice(0, Math.max(piece.lastIndexOf(","), piece.indexOf(":")) + 1),
    begun = piece.slice(start.length).toLowerCase();
  return [...valueCounts(field, pass)]
    .filter(([value]) => value.toLowerCase().includes(begun))
    .sort(([a, m], [b, n]) => b.toLowerCase().startsWith(begun) - a.toLowerCase().startsWith(begun) || n - m)
    .slice(0, most)
    .map(([value, count]) => ({ piece, text: `${start}${/[\s,]/.test(value) ? `"${value}"` : value}`, count }));
}

function valueCounts(field, pass) {
  pass.fieldCounts ??= {};
  if (pass.fieldCounts[field]) return pass.fieldCounts[field];
  const counts = (pass.fieldCounts[field] = new Map());
  for (const node of pass.graph.nodes) {
    if (!OPERATIONS.has(node.kind)) continue;
    for (const value of new Set(FIELDS[field](node, pass.fact(node.name), pass.run))) {
      if (value) counts.set(value, (counts.get(value) || 0) + 1);
    }
  }
  return counts;
}
