// The reader's choices in the address, so that a link or a reload shows the same: ?sweep-1=off:0.3,zoom:0-5000

/** What differs from the defaults, "" where nothing does. */
function choicesOf({ off, smoothing, scale, seeds, range }) {
  const parts = [];
  if (off.size) parts.push(`off:${[...off].sort((a, b) => a - b).join(".")}`);
  if (smoothing) parts.push(`smoothing:${Math.round(100 * smoothing)}`);
  if (scale !== "auto") parts.push(`scale:${scale}`);
  if (seeds !== "auto") parts.push(`seeds:${seeds}`);
  if (range) parts.push(`zoom:${range.join("-")}`);
  return parts.join(",");
}

function keepInAddress(sweep) {
  const query = new URLSearchParams(location.search);
  const choices = choicesOf(sweep);
  if (choices) query.set(sweep.id, choices);
  else query.delete(sweep.id);
  const text = query.toString().replace(/%3A/g, ":").replace(/%2C/g, ",");
  history.replaceState(null, "", location.pathname + (text && `?${text}`) + location.hash);
}

/** Sets the choices of a sweep to those of the address. What is not understood is left out. */
function takeFromAddress(sweep) {
  const given = new URLSearchParams(location.search).get(sweep.id) ?? "";
  const { configs, total } = sweep.model;
  for (const part of given.split(",")) {
    const [name, value = ""] = part.split(":");
    const numbers = value.split(name === "off" ? "." : "-").filter((text) => /^\d+$/.test(text)).map(Number);
    if (name === "off") sweep.off = new Set(numbers.filter((number) => number < configs.length));
    if (name === "smoothing" && numbers.length) sweep.smoothing = Math.min(numbers[0], 20) / 100;
    if (name === "scale" && ["linear", "log"].includes(value)) sweep.scale = value;
    if (name === "seeds" && ["on", "off"].includes(value)) sweep.seeds = value;
    if (name === "zoom" && numbers.length === 2 && numbers[0] < numbers[1] && numbers[1] <= total) sweep.range = numbers;
  }
}
