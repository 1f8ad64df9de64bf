// Tables sorted by their headings.

/** What a cell is sorted by: its first number where it has one, else its text; empty ones last. */
function keyOf(cell) {
  const chip = cell.querySelector(".chip");
  if (chip) return Number(cell.parentElement.dataset.c);
  const text = cell.textContent.trim().replace(/\u2212/g, "-");
  if (text === "" || text === "-" || text === "n/a") return null;
  const number = /^[^\w-]*(-?[\d,]*\.?\d+(?:e[-+]?\d+)?)/.exec(text);
  return number ? Number(number[1].replace(/,/g, "")) : text;
}

/** Empty ones last, whatever the direction. */
function compare(a, b, direction) {
  if (a === null || b === null) return (a === null) - (b === null);
  if (typeof a === "number" && typeof b === "number") return direction * (a - b);
  return direction * String(a).localeCompare(String(b), "en", { numeric: true });
}

function sortable(table) {
  const body = table.tBodies[0];
  const headings = [...(table.tHead?.rows[0].cells ?? [])];
  const rows = [...body.rows];
  if (rows.length < 2) return;
  headings.forEach((heading, column) => {
    if ("unsorted" in heading.dataset) return;
    const button = make("button", { type: "button", class: "sort", click: () => {
      const next = { none: "descending", descending: "ascending", ascending: "none" }[heading.getAttribute("aria-sort") ?? "none"];
      for (const other of headings) other.removeAttribute("aria-sort");
      if (next !== "none") heading.setAttribute("aria-sort", next);
      const direction = next === "ascending" ? 1 : -1;
      const keys = new Map(rows.map((row) => [row, keyOf(row.cells[column])]));
      const order = next === "none" ? rows : [...rows].sort((a, b) => compare(keys.get(a), keys.get(b), direction));
      body.append(...order);
    } }, ...heading.childNodes);
    heading.append(button);
  });
}
