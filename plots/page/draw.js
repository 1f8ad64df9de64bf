// Curves to SVG, in the look of the pictures that are there without scripts. Pure functions: numbers in, markup out.

const ROUND = [1, 2, 2.5, 5, 10];

/** Centred moving mean over a window of points; at the ends, over what there is. */
function smooth(values, window) {
  const half = Math.floor(window / 2);
  return values.map((value, i) => {
    if (!Number.isFinite(value)) return NaN;
    let sum = 0;
    let count = 0;
    for (let j = Math.max(0, i - half); j <= Math.min(values.length - 1, i + half); j++) {
      if (Number.isFinite(values[j])) {
        sum += values[j];
        count += 1;
      }
    }
    return sum / count;
  });
}

const EQUAL = 1e-9; // of their size: values that differ by less are drawn as equal, as ticks between them have too many digits

/** Limits of an axis that hold all values, with a margin. */
function limitsOf(values, log) {
  let low = Infinity;
  let high = -Infinity;
  for (const value of values) {
    if (Number.isFinite(value)) {
      low = Math.min(low, value);
      high = Math.max(high, value);
    }
  }
  if (low > high) return [0, 1];
  if (log) {
    const margin = (high / low) ** 0.05;
    return margin > 1 ? [low / margin, high * margin] : [low / 2, high * 2];
  }
  const size = Math.max(Math.abs(low), Math.abs(high));
  const margin = 0.05 * (high - low > EQUAL * size ? high - low : size) || 1;
  return [low - margin, high + margin];
}

/** About five round places between two limits. */
function ticksOf([low, high], log, most = 5) {
  if (log) {
    const between = (multiples) => {
      const found = [];
      for (let p = Math.floor(Math.log10(low)); p <= Math.log10(high); p++) found.push(...multiples.map((m) => Number((m * 10 ** p).toPrecision(3))));
      return found.filter((value) => value >= low && value <= high);
    };
    const powers = between([1]);
    const found = powers.length > 2 ? powers : between([1, 2, 5]);
    const every = Math.ceil(powers.length / most);
    if (found.length > 1) return powers.length > 2 ? powers.filter((_, i) => i % every === 0) : found;
  }
  const size = (high - low) / most;
  const power = 10 ** Math.floor(Math.log10(size));
  const step = ROUND.find((r) => r * power >= size) * power;
  const ticks = [];
  for (let i = Math.ceil(low / step); i * step <= high; i++) ticks.push(Number((i * step).toPrecision(12)));
  return ticks;
}

/** Places on the picture: a function from a value to a coordinate. */
function scaleOf([low, high], from, to, log, beyond = 0.02) {
  const bent = log ? (value) => Math.log(Math.max(value, Number.MIN_VALUE)) : (value) => value;
  const share = (value) => (bent(value) - bent(low)) / (bent(high) - bent(low));
  return (value) => from + (to - from) * Math.min(Math.max(share(value), -beyond), 1 + beyond);
}

/** Markup cut at a rectangle, where only a range of the steps is shown. */
function clipped(markup, [left, top, right, bottom], range) {
  if (!range) return markup;
  const box = [left, top - 2, right - left, bottom - top + 4];
  return `<svg x="${box[0]}" y="${box[1]}" width="${box[2]}" height="${box[3]}" viewBox="${box.join(" ")}">${markup}</svg>`;
}

function pathOf(steps, values, x, y) {
  let path = "";
  let pen = false;
  const single = [];
  values.forEach((value, i) => {
    const there = Number.isFinite(value);
    if (there && !pen && !Number.isFinite(values[i + 1])) single.push([x(steps[i]), y(value)]);
    else if (there) path += `${pen ? "L" : "M"}${x(steps[i]).toFixed(1)} ${y(value).toFixed(1)}`;
    pen = there;
  });
  return path + single.map(([px, py]) => `M${px - 1.2} ${py}a1.2 1.2 0 1 0 2.4 0a1.2 1.2 0 1 0 -2.4 0`).join("");
}

function lineOf(path, color, width, { opacity = 1, dash = [], className = "" } = {}) {
  const dashes = dash.length ? ` stroke-dasharray="${dash.map((d) => d * width).join(" ")}"` : "";
  const named = className ? ` class="${className}"` : "";
  return `<path${named} d="${path}" fill="none" stroke="${color}" stroke-width="${width}" opacity="${opacity}"${dashes} stroke-linejoin="round"/>`;
}

function textOf(text, x, y, { anchor = "start", color = "var(--muted)", size = 8.5, weight = 400, turned = false } = {}) {
  const turn = turned ? ` transform="rotate(-90 ${x} ${y})"` : "";
  const safe = String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;");
  return `<text x="${x}" y="${y}" text-anchor="${anchor}" style="font-size:${size}px;fill:${color};font-weight:${weight}"${turn}>${safe}</text>`;
}

/** The area between two curves where there are seeds enough; a dotted edge where some are missing. */
function bandOf(curve, config, color, fewest, opacity, x, y) {
  let out = "";
  let piece = [];
  const close = () => {
    if (piece.length > 1) {
      const upper = piece.map((i) => `${x(curve.steps[i]).toFixed(1)} ${y(curve.high[i]).toFixed(1)}`);
      const lower = piece.map((i) => `${x(curve.steps[i]).toFixed(1)} ${y(curve.low[i]).toFixed(1)}`).reverse();
      out += `<path d="M${upper.join("L")}L${lower.join("L")}z" fill="${color}" opacity="${opacity}" class="band"/>`;
    }
    piece = [];
  };
  curve.n.forEach((n, i) => (n >= fewest ? piece.push(i) : close()));
  close();
  for (const edge of [curve.low, curve.high]) {
    const short = edge.map((value, i) => (curve.n[i] >= fewest && curve.n[i] < config.planned ? value : NaN));
    out += lineOf(pathOf(curve.steps, short, x, y), color, 0.7, { dash: [1.4, 2.8] });
  }
  return out;
}

/** Ascending places, moved at least `least` apart and above `bottom` where there is room. */
function apart(places, least, bottom) {
  const out = [];
  for (const place of places) out.push(out.length ? Math.max(place, out.at(-1) + least) : place);
  let floor = bottom;
  for (let i = out.length - 1; i >= 0; i--) {
    out[i] = Math.min(out[i], floor);
    floor = out[i] - least;
  }
  return out;
}

/** [text, color, curve's steps, values]: labels at the ends of curves; none where one would stand further than
 * `furthest` from its curve. */
function labelsOf(ends, size, rect, x, y, furthest = Infinity) {
  const placed = ends
    .map(([text, color, steps, values]) => [text, color, steps, values, values.findLastIndex(Number.isFinite)])
    .filter((end) => end[4] >= 0)
    .map(([text, color, steps, values, last]) => ({ text, color, px: x(steps[last]), py: y(values[last]) }))
    .sort((a, b) => a.py - b.py);
  const places = apart(placed.map((end) => end.py), size, rect[3]);
  if (placed.some((end, i) => Math.abs(end.py - places[i]) > furthest)) return "";
  return placed
    .map(({ text, color, px }, i) => textOf(text, px + 4, places[i] + size / 3, { color, size, weight: 700 }))
    .join("");
}

/** Frame, grid and numbers. */
function axesOf({ box, rect, strip, unit }, limits, log, { step_words: words }, domain, x, y) {
  const [left, top, right, bottom] = rect;
  const foot = strip ? strip[3] : bottom;
  let out = "";
  for (const tick of ticksOf(limits, log)) {
    const at = y(tick).toFixed(1);
    out += `<path d="M${left} ${at}H${right}" stroke="var(--grid)" stroke-width=".6"/>`;
    out += textOf(short(tick), left - 4, y(tick) + 3, { anchor: "end" });
  }
  for (const tick of ticksOf(domain, false)) out += textOf(stepText(tick), x(tick), foot + 11, { anchor: "middle" });
  out += `<path d="M${left} ${top}V${bottom}H${right}" fill="none" stroke="var(--muted)" stroke-width=".6"/>`;
  out += textOf(words, (left + right) / 2, Math.min(foot + 21, box[1] - 1), { anchor: "middle" });
  return unit === "1" ? out : out + textOf(unit, 8, (top + bottom) / 2, { anchor: "middle", turned: true });
}

/** Events of the schedule and the result of random actions. */
function marksOf(model, { box, rect, metric }, limits, domain, x, y) {
  const [left, top, right, bottom] = rect;
  const words = box[0] > 375;
  const isResult = model.results.includes(metric);
  let out = "";
  if (isResult && model.random !== null && model.random > limits[0]) {
    out += `<path d="M${left} ${y(model.random)}H${right}" stroke="var(--muted)" stroke-width=".9" stroke-dasharray="1.4 1.4"/>`;
    if (words) out += textOf("random actions", right - 2, y(model.random) - 3, { anchor: "end", size: 7.5 });
  }
  for (const [step, text] of model.events) {
    if (step < domain[0] || step > domain[1]) continue;
    out += `<path d="M${x(step)} ${top}V${bottom}" stroke="var(--muted)" stroke-width=".7" stroke-dasharray="2.8 2.1" opacity=".8"/>`;
    if (words) out += textOf(text, x(step), top - 4, { anchor: step - domain[0] > 0.1 * (domain[1] - domain[0]) ? "middle" : "start", size: 7.5 });
  }
  return out;
}

/** n(x) of one configuration: how many seeds the mean is over. */
function stripOf(curve, config, color, [left, top, right, bottom], x) {
  const height = (n) => bottom - ((bottom - top) * n) / config.planned;
  let path = `M${x(curve.steps[0])} ${bottom}`;
  curve.steps.forEach((step, i) => (path += `V${height(curve.n[i])}H${x(curve.steps[i + 1] ?? step)}`));
  return (
    `<path d="${path}V${bottom}z" fill="${color}" opacity=".35"/>` +
    `<path d="M${left} ${bottom}H${right}" stroke="var(--muted)" stroke-width=".6"/>` +
    textOf(`n=${config.planned}`, left - 4, top + 3, { anchor: "end", color: "var(--ink)" })
  );
}

/** A step on an axis: 500, 2.5k, 100k. */
function stepText(step) {
  return step >= 1e3 && step < 1e4 ? `${step / 1e3}k` : short(step);
}

/** A number for an axis: 2500, 100k, 100k, 0.01, 1e-4. */
function short(value) {
  const size = Math.abs(value);
  if (size >= 1e6) return `${minus(value / 1e6)}M`;
  if (size >= 1e4) return `${minus(value / 1e3)}k`;
  return size > 0 && size < 0.001 ? minus(value.toExponential(0)) : minus(Number(value.toPrecision(4)));
}

/** A number to read off, with three digits. */
function shown(value) {
  if (!Number.isFinite(value)) return "-";
  const size = Math.abs(value);
  if (size >= 1000) return minus(Math.round(value).toLocaleString("en-US"));
  if (value === 0) return "0";
  return size < 1e-3 ? minus(value.toExponential(2)) : minus(value.toPrecision(3));
}

function minus(value) {
  return String(value).replace(/^-/, "\u2212");
}
