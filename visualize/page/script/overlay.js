// Data per node from a file of the reader's: JSON (name -> value, or a list of objects) or CSV with a header. Every
// column becomes a way to colour the graph: by a scale where most of it are numbers, else by categories.

function readOverlay(fileName, text) {
  const label = fileName.replace(/\.[^.]*$/, "");
  const rows = /^\s*[[{]/.test(text) ? jsonRows(JSON.parse(text)) : csvRows(text);
  const columns = new Map();
  for (const [name, values] of rows) {
    for (const [column, value] of Object.entries(values)) {
      if (!columns.has(column)) columns.set(column, { numbers: Object.create(null), texts: Object.create(null) });
      const number = numberOf(value),
        { numbers, texts } = columns.get(column),
        node = name.replace(/^%/, "");
      if (number !== undefined) numbers[node] = number;
      const written = textOf(value);
      if (written) texts[node] = written;
    }
  }
  for (const [column, { texts }] of columns) if (!Object.keys(texts).length) columns.delete(column);
  if (!columns.size) throw new Error(`${fileName} has no values: give names of nodes and a number or a text for each`);
  return [...columns].map(([column, { numbers, texts }]) => {
    const isScale = 2 * Object.keys(numbers).length > Object.keys(texts).length;
    const name = columns.size === 1 && (column === "" || column === "value") ? label : `${label}: ${column}`;
    return isScale ? { name, unit: "", values: numbers } : { name, isText: true, values: texts };
  });
}

function textOf(value) {
  return value === null || value === undefined || typeof value === "object" ? "" : String(value).trim();
}

// What is not finite is kept as null, which is how the page writes it.
function numberOf(value) {
  if (typeof value === "string" && !value.trim()) return undefined;
  if (value === null || typeof value === "boolean" || typeof value === "object") return undefined;
  if (/^[+-]?(nan|inf(inity)?)$/i.test(String(value).trim())) return null;
  const number = Number(value);
  return Number.isNaN(number) ? undefined : number;
}

const NAME_COLUMNS = ["node", "name", "id"];

function jsonRows(data) {
  if (Array.isArray(data)) {
    return data.map((row, index) => {
      if (Array.isArray(row)) return [String(row[0]), { "": row[1] }];
      const key = NAME_COLUMNS.find((name) => typeof row?.[name] === "string");
      if (!key) throw new Error(`row ${index} has no name: call it one of ${NAME_COLUMNS.join(", ")}`);
      const { [key]: name, ...values } = row;
      return [name, values];
    });
  }
  return Object.entries(data).map(([name, value]) => [
    name,
    typeof value === "object" && value !== null ? value : { "": value },
  ]);
}

function csvRows(text) {
  const separator = ["\t", ";", ","].find((mark) => text.split("\n", 1)[0].includes(mark)) || ",";
  const lines = csvLines(text, separator);
  if (!lines.length) return [];
  const head = lines[0].map((cell) => cell.trim());
  const named = head.findIndex((cell) => NAME_COLUMNS.includes(cell.toLowerCase()));
  const hasHead = named >= 0 || head.slice(1).every((cell) => numberOf(cell) === undefined);
  const key = Math.max(named, 0);
  const title = (index) => (hasHead ? head[index] : head.length > 2 ? `column ${index}` : "");
  return lines.slice(hasHead ? 1 : 0).map((cells) => [
    cells[key].trim(),
    Object.fromEntries(cells.map((cell, index) => [title(index), cell]).filter((_, index) => index !== key)),
  ]);
}

function csvLines(text, separator) {
  const lines = [[""]];
  let quoted = false;
  const body = text.replace(/^\ufeff/, "").replace(/\r\n?/g, "\n").trimEnd();
  for (let index = 0; index < body.length; index += 1) {
    const mark = body[index],
      line = lines.at(-1);
    if (quoted && mark === '"' && body[index + 1] === '"') line[line.length - 1] += body[(index += 1)];
    else if (mark === '"') quoted = !quoted;
    else if (!quoted && mark === separator) line.push("");
    else if (!quoted && mark === "\n") lines.push([""]);
    else line[line.length - 1] += mark;
  }
  return lines.filter((line) => line.some((cell) => cell.trim()));
}
