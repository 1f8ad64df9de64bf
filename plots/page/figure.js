// One picture: drawn again if the reader's choices change, with a cursor that all pictures of a sweep share.

const inSight = new IntersectionObserver(
  (entries) => {
    for (const entry of entries) {
      entry.target.figure.seen = entry.isIntersecting;
      entry.target.figure.refresh();
    }
  },
  { rootMargin: "300px" },
);

class Figure {
  constructor(sweep, picture) {
    this.sweep = sweep;
    this.picture = picture;
    this.view = JSON.parse(picture.dataset.view);
    this.still = picture.querySelector("svg"); // the picture that is there without scripts
    this.label = picture.getAttribute("aria-label");
    this.stale = !this.still;
    if (!this.still) picture.style.aspectRatio = this.view.box.join(" / "); // keeps its place until it is drawn
    this.axes = { limits: this.view.y, log: this.view.log };
    picture.figure = this;
    inSight.observe(picture);
    this.listen();
    this.zoom = new Zoom(this);
  }

  /** The configurations in this picture. */
  configs() {
    const { only } = this.view;
    return only === undefined ? this.sweep.shown() : [this.sweep.model.configs[only]];
  }

  /** [config, curve] of those that have one. */
  pairs() {
    const { kind, metric } = this.view;
    const found = this.configs().map((config) => [config, this.sweep.curves.of(kind, metric, config)]);
    return found.filter(([, curve]) => curve);
  }

  /** Whether the still picture shows something else than the reader chose. */
  differs() {
    const { off, smoothing, scale, seeds, range } = this.sweep;
    const fewer = this.view.only === undefined && off.size > 0;
    const other = smoothing > 0 || scale !== "auto" || seeds !== "auto" || range !== null;
    return !this.still || fewer || other || this.sweep.highlighted() !== null;
  }

  /** Draws what is in sight and out of date. */
  async refresh() {
    if (!this.seen || !this.stale) return;
    this.stale = false;
    if (this.differs()) {
      await this.sweep.curves.ready();
      this.draw();
    } else {
      this.drawn?.remove();
      this.drawn = null;
      this.still.style.display = "";
      this.axes = { limits: this.view.y, log: this.view.log };
    }
    this.point();
  }

  /** Draws at once if it is in sight, before the browser says so. */
  look() {
    if (!this.picture.checkVisibility?.()) return;
    const { top, bottom } = this.picture.getBoundingClientRect();
    this.seen = bottom > 0 && top < innerHeight;
    this.refresh();
  }

  /** Draws what has no still picture and was not in sight, for print. The curves must be loaded. */
  complete() {
    if (this.still || !this.stale) return;
    this.stale = false;
    this.draw();
  }

  draw() {
    const { view, sweep } = this;
    const pairs = this.pairs();
    this.axes = this.limits(pairs);
    const [x, y] = this.scales();
    const domain = sweep.domain();
    const parts = [axesOf(view, this.axes.limits, this.axes.log, sweep.model, domain, x, y)];
    parts.push(marksOf(sweep.model, view, this.axes.limits, domain, x, y));
    const curves = pairs.map((pair) => (view.marks ? this.raised(pair, x, y) : this.curve(pair, pairs.length, x, y)));
    parts.push(clipped(curves.join(""), view.rect, sweep.range));
    if (view.strip && pairs.length) {
      const [config, curve] = pairs[0];
      parts.push(clipped(stripOf(curve, config, colorOf(config), view.strip, x), view.strip, sweep.range));
    }
    if (view.only === undefined && pairs.length <= (view.box[0] > 250 ? 26 : 8)) {
      const inside = (steps, values) => values.map((value, i) => (steps[i] >= domain[0] && steps[i] <= domain[1] ? value : NaN));
      const ends = pairs.map(([config, curve]) => [config.letter, colorOf(config), curve.steps, inside(curve.steps, this.smoothed(curve.mean))]);
      const large = view.box[0] > 250;
      parts.push(labelsOf(ends, large ? 8.5 : 7.5, view.rect, x, y, large ? Infinity : 9));
    }
    if (this.axes.refused) parts.push(textOf("not above zero: linear", view.rect[2], view.rect[1] + 8, { anchor: "end", size: 7.5 }));
    if (!pairs.length) parts.push(textOf("nothing to draw", (view.rect[0] + view.rect[2]) / 2, view.rect[1] + 30, { anchor: "middle" }));
    this.replace(parts.join(""));
  }

  replace(markup) {
    this.drawn?.remove();
    this.drawn = this.layer("drawn", markup);
    if (this.still) this.still.style.display = "none";
  }

  /** Puts markup over the picture. */
  layer(name, markup) {
    const holder = make("div");
    holder.innerHTML = `<svg class="${name}" viewBox="0 0 ${this.view.box.join(" ")}" aria-hidden="true">${markup}</svg>`;
    this.picture.append(holder.firstChild);
    return this.picture.lastChild;
  }

  /** Whether the seeds' own curves are drawn. */
  withSeeds(count) {
    const { seeds, model } = this.sweep;
    const fit = this.view.only !== undefined || (count <= model.few && this.view.box[0] < 250);
    return seeds === "on" || (seeds === "auto" && fit);
  }

  smoothed(values) {
    const window = Math.round(this.sweep.smoothing * values.length);
    return window > 1 ? smooth(values, window) : values;
  }

  limits(pairs) {
    const { scale, model, run, range } = this.sweep;
    const [first, last] = this.sweep.domain();
    const inside = (steps, values) => [...values].filter((_, i) => steps[i] >= first && steps[i] <= last);
    const every = this.withSeeds(pairs.length) || this.view.marks;
    const values = pairs.flatMap(([config, curve]) => {
      const seeds = curve.seeds.filter(({ seed }) => every || (run?.config === config.id && run.seed === seed));
      return [...inside(curve.steps, curve.mean), ...seeds.flatMap((one) => inside(one.steps, one.values))];
    });
    const finite = values.filter(Number.isFinite);
    const least = finite.reduce((a, b) => Math.min(a, b), Infinity);
    const wanted = scale === "log" || (scale === "auto" && this.view.log);
    const log = Boolean(wanted && least > 0);
    const isResult = !log && !this.view.marks && model.results.includes(this.view.metric);
    const shared = this.view.strip && scale === "auto" && !range; // facets of one result share their limits
    const limits = shared ? this.view.y : limitsOf(isResult && model.random !== null ? [...values, model.random] : values, log);
    return { limits, log, refused: scale === "log" && !log && finite.length > 0 };
  }

  /** Functions from a step and a value to places on the picture. */
  scales() {
    const [left, top, right, bottom] = this.view.rect;
    const x = scaleOf(this.sweep.domain(), left, right, false, this.sweep.range ? Infinity : undefined);
    return [x, scaleOf(this.axes.limits, bottom, top, this.axes.log)];
  }

  curve([config, curve], count, x, y) {
    const { run, model, smoothing } = this.sweep;
    const color = colorOf(config);
    const highlighted = this.sweep.highlighted();
    const faded = highlighted !== null && highlighted !== config.id ? 0.25 : 1;
    const large = this.view.box[0] > 250;
    const width = large || this.view.only !== undefined ? 1.5 : 1.2;
    let out = "";
    if ((count <= (large ? model.bands : model.few) || highlighted === config.id) && faded === 1) {
      const opacity = highlighted === config.id ? 0.25 : 0.16 * Math.min(1, model.few / count);
      out += bandOf(curve, config, color, model.fewest, opacity, x, y);
    }
    if (this.withSeeds(count) && faded === 1) {
      for (const seed of curve.seeds) out += lineOf(pathOf(seed.steps, seed.values, x, y), color, 0.6, { opacity: 0.35, className: "seed" });
    }
    if (smoothing > 0) out += lineOf(pathOf(curve.steps, curve.mean, x, y), color, 0.6, { opacity: 0.4 * faded, className: "raw" });
    const mean = lineOf(pathOf(curve.steps, this.smoothed(curve.mean), x, y), color, width, { dash: config.dash, opacity: faded, className: "mean" });
    const marked = run?.config === config.id && curve.seeds.find((seed) => seed.seed === run.seed);
    return out + mean + (marked ? lineOf(pathOf(marked.steps, marked.values, x, y), "var(--ink)", 1.3, { className: "marked" }) : "");
  }

  /** A raised flag: the seeds that raise it, with their numbers and onsets; the others faint. */
  raised([config, curve], x, y) {
    const color = colorOf(config);
    const onsets = new Map(this.view.marks);
    let out = "";
    for (const { seed, steps, values } of curve.seeds) {
      const bold = onsets.has(seed) ? { opacity: 0.9, className: "mean" } : { opacity: 0.3, className: "seed" };
      out += lineOf(pathOf(steps, this.smoothed([...values]), x, y), color, onsets.has(seed) ? 1.1 : 0.7, bold);
      const onset = onsets.get(seed);
      if (onset == null) continue;
      const at = nearest(steps, onset, this.sweep.model.total);
      if (at < 0 || !Number.isFinite(values[at])) continue;
      const [, top, , bottom] = this.view.rect;
      out += `<path class="onset" d="M${x(onset)} ${top}V${bottom}" stroke="var(--bad)" stroke-width=".6" opacity=".5"/>`;
      out += textOf("\u25bc", x(onset), y(values[at]) - 2, { anchor: "middle", color: "var(--bad)", size: 7.5 });
    }
    const ends = curve.seeds.filter((run) => onsets.has(run.seed)).map((run) => [run.seed, color, run.steps, run.values]);
    return out + labelsOf(ends, 8.5, this.view.rect, x, y);
  }

  // --- the cursor -----------------------------------------------------------------------------------------

  listen() {
    const { picture, sweep } = this;
    for (const kind of ["pointerdown", "pointermove"]) picture.addEventListener(kind, (event) => this.hover(this.stepAt(event)));
    picture.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && this.leave());
    picture.addEventListener("blur", () => this.leave());
    picture.addEventListener("focus", () => picture.matches(":focus-visible") && this.hover(sweep.step ?? sweep.model.total));
    picture.addEventListener("keydown", (event) => this.key(event));
    picture.setAttribute("role", "slider");
    picture.setAttribute("aria-label", `${this.label}; arrows move the cursor, + and - zoom`);
    picture.setAttribute("aria-valuemin", 0);
    picture.setAttribute("aria-valuemax", sweep.model.total);
    picture.setAttribute("aria-valuenow", sweep.model.total);
    picture.setAttribute("aria-valuetext", "no cursor yet");
    // of a grid one picture takes the tab key (`Sweep.tabStops`); the arrows go on from there
    picture.tabIndex = picture.closest(".grid") ? -1 : 0;
  }

  stepAt(event) {
    const box = this.picture.getBoundingClientRect();
    const [left, , right] = this.view.rect;
    const at = ((event.clientX - box.left) / box.width) * this.view.box[0];
    const [first, last] = this.sweep.domain();
    return Math.round(first + Math.min(Math.max((at - left) / (right - left), 0), 1) * (last - first));
  }

  async hover(step) {
    this.hovered = true;
    await this.sweep.curves.ready();
    if (!this.hovered) return; // left while the data were read
    this.sweep.point(step);
  }

  leave() {
    this.hovered = false;
    this.sweep.point(null);
  }

  key(event) {
    const [first, last] = this.sweep.domain();
    const now = this.sweep.step ?? last;
    const size = last - first;
    const to = { ArrowRight: now + size / 100, ArrowLeft: now - size / 100, PageUp: now + size / 10,
                 PageDown: now - size / 10, Home: first, End: last }[event.key];
    if (to !== undefined) this.hover(Math.round(Math.min(Math.max(to, first), last)));
    else if (event.key === "+" || event.key === "-") zoomBy(this.sweep, event.key === "+" ? 0.5 : 2);
    else if (event.key === "0") zoomTo(this.sweep, null);
    else if (event.key === "Escape" && !this.picture.closest("dialog")) this.leave();
    else if (event.key === "ArrowDown" || event.key === "ArrowUp") this.neighbour(event.key === "ArrowDown" ? 1 : -1);
    else return;
    event.preventDefault();
  }

  /** Moves the focus to the next picture of the group. */
  neighbour(by) {
    const group = this.picture.closest(".grid");
    if (!group) return;
    const all = [...group.querySelectorAll("figure:not([hidden]) .picture[role=slider]")];
    const next = all[all.indexOf(this.picture) + by];
    if (!next) return;
    this.picture.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  }

  /** The cursor's line and dots, and in the picture under it what the curves say there. */
  point() {
    const { step } = this.sweep;
    this.line?.remove();
    this.readout?.remove();
    this.line = this.readout = null;
    const [first, last] = this.sweep.domain();
    if (step === null || step < first || step > last || !this.seen || !this.sweep.curves.loaded) return;
    const [x, y] = this.scales();
    const [, top, , bottom] = this.view.rect;
    const readings = this.readings(step);
    const dots = readings.map(({ color, value }) => `<circle cx="${x(step)}" cy="${y(value)}" r="2" style="fill:${color}"/>`);
    const upright = `<path d="M${x(step)} ${top}V${bottom}" stroke="var(--ink)" stroke-width=".7"/>`;
    this.line = this.layer("cursor", upright + dots.join(""));
    if (this.hovered) this.tell(step, readings);
  }

  /** What each curve says at a step: {name, color, value, low, high, n}, highest first. */
  readings(step) {
    const { total } = this.sweep.model;
    const found = [];
    for (const [config, curve] of this.pairs()) {
      const at = nearest(curve.steps, step, total);
      if (at < 0 || !Number.isFinite(curve.mean[at])) continue;
      const color = colorOf(config);
      const [name, spoken] = this.view.only === undefined ? [`${config.letter} ${config.label}`.trim(), config.letter] : ["mean", "mean"];
      const mean = { name, spoken, step: curve.steps[at], color, value: curve.mean[at] };
      found.push({ ...mean, low: curve.low[at], high: curve.high[at], n: curve.n[at] });
      if (this.view.only === undefined) continue;
      for (const seed of curve.seeds) {
        const own = nearest(seed.steps, step, total);
        if (own >= 0 && Number.isFinite(seed.values[own])) found.push({ name: `seed ${seed.seed}`, spoken: `seed ${seed.seed}`, step: seed.steps[own], color, value: seed.values[own] });
      }
    }
    return found.sort((a, b) => b.value - a.value);
  }

  tell(step, readings) {
    const lines = readings.map(({ name, value, low, high, n }) => {
      const interval = Number.isFinite(low) ? ` [${shown(low)}, ${shown(high)}]` : "";
      return [name, shown(value), `${interval}${n ? ` n=${n}` : ""}`];
    });
    const title = `step ${Math.round(readings[0]?.step ?? step).toLocaleString("en-US")}`;
    const rows = lines.slice(0, 16).map(([name, value, rest], i) =>
      make("tr", {}, make("th", { style: `border-left:3px solid ${readings[i].color}` }, name), make("td", {}, value), make("td", {}, rest)));
    const more = lines.length > 16 ? [make("caption", {}, `and ${lines.length - 16} lower`)] : [];
    const right = step > this.sweep.model.total / 2;
    this.readout = make("div", { class: `readout ${right ? "left" : "right"}`, "aria-hidden": "true" }, title, make("table", {}, ...more, ...rows));
    this.picture.append(this.readout);
    this.picture.setAttribute("aria-valuenow", Math.round(step));
    const spoken = lines.map(([, value, rest], i) => `${readings[i].spoken} ${value}${rest}`).join("; ");
    this.picture.setAttribute("aria-valuetext", `${title}: ${spoken || "no values"}`);
  }

  /** The curves of this picture as CSV: the mean with its interval and count, and every seed. */
  csv() {
    const pairs = this.pairs();
    const seeds = [...new Set(pairs.flatMap(([, curve]) => curve.seeds.map((run) => run.seed)))].sort((a, b) => a - b);
    const lines = [["configuration", "label", "step", "mean", "low", "high", "n", ...seeds.map((seed) => `seed ${seed}`)]];
    for (const [config, curve] of pairs) {
      const own = new Map(curve.seeds.map((run) => [run.seed, new Map([...run.steps].map((step, i) => [step, run.values[i]]))]));
      curve.steps.forEach((step, i) => {
        const values = seeds.map((seed) => own.get(seed)?.get(step));
        const numbers = [step, curve.mean[i], curve.low[i], curve.high[i], curve.n[i], ...values];
        lines.push([config.letter, config.label, ...numbers.map((v) => (Number.isFinite(v) ? Number(v.toPrecision(6)) : ""))]);
      });
    }
    return lines.map((line) => line.map(cellOf).join(",")).join("\n") + "\n";
  }
}

/** A cell of CSV that no spreadsheet takes for a formula, by the rule of value_format.cell. */
function cellOf(value) {
  if (typeof value === "number") return String(value);
  const isFormula = /^[ \n]*[=+\-@\t\r\uff1d\uff0b\uff0d\uff20]/.test(value) && Number.isNaN(Number(value));
  const safe = isFormula ? `'${value}` : value;
  return /[",\n\r]/.test(safe) ? `"${safe.replace(/"/g, '""')}"` : safe;
}

function colorOf(config) {
  return `var(--c${config.color})`;
}
