// The bar over a sweep's figures: which configurations, how they are drawn, what is marked.

class Controls {
  constructor(sweep) {
    this.sweep = sweep;
    const { model } = sweep;
    const view = sweep.article.querySelector(`#${sweep.id}-view`);
    this.chips = [...view.querySelectorAll(".legend > [data-c]")].map((chip) => this.toggle(chip));
    this.selects = {}; // by field of the sweep
    this.factors = model.factors.map((key) => [key, this.factor(key)]);
    this.smoothing = make("input", { type: "range", min: 0, max: 20, step: 1, value: 0, input: () => this.smooth() });
    this.smoothed = make("output", {}, "off");
    this.status = make("span", { class: "status", role: "status" });
    this.clear = make("button", { type: "button", hidden: true, click: () => this.mark(null) }, "Unmark");
    const bar = make("div", { class: "controls", role: "group", "aria-label": `View of ${model.name}` });
    if (model.configs.length > 1) {
      bar.append(this.button("All", () => []), this.button("None", () => model.configs.map((_, i) => i)));
      bar.append(this.button("Best, baseline", () => model.configs.flatMap((c, i) => (c.baseline || i === model.leader ? [] : [i]))));
    }
    bar.append(...this.factors.map(([, label]) => label));
    bar.append(this.choice("Scale", "scale", { auto: "auto", linear: "linear", log: "logarithmic" }));
    bar.append(this.choice("Seeds", "seeds", { auto: "auto", on: "all", off: "none" }));
    bar.append(make("label", {}, "Smoothing ", this.smoothing, " ", this.smoothed));
    this.whole = make("button", { type: "button", hidden: true, click: () => zoomTo(sweep, null) }, "All steps");
    bar.append(this.whole, this.clear, this.status);
    view.append(bar);
    new ResizeObserver(() => this.clearance(view)).observe(view);
  }

  /** How far anchors stay below the bar while it sticks to the top. */
  clearance(view) {
    const { article } = this.sweep;
    const above = article.querySelector("nav").offsetHeight;
    const sticks = getComputedStyle(view).position === "sticky";
    article.style.setProperty("--nav", `${above}px`);
    article.style.setProperty("--stuck", `${above + (sticks ? view.offsetHeight : 0)}px`);
  }

  /** The chip of a configuration as a switch. */
  toggle(chip) {
    const number = Number(chip.dataset.c);
    const light = (lit) => {
      this.sweep.lit = lit;
      this.sweep.redraw();
    };
    const button = make("button", { type: "button", "aria-pressed": "true", "data-c": number, click: () => {
      const { off } = this.sweep;
      if (!off.delete(number)) off.add(number);
      this.sweep.lit = null;
      this.sweep.changed();
    }, mouseenter: () => light(this.sweep.off.has(number) ? null : this.sweep.model.configs[number].id),
    mouseleave: () => light(null) }, ...chip.childNodes);
    chip.replaceWith(button);
    return button;
  }

  button(text, hidden) {
    return make("button", { type: "button", click: () => {
      for (const [, label] of this.factors) label.querySelector("select").value = "";
      this.sweep.off = new Set(hidden());
      this.sweep.changed();
    } }, text);
  }

  factor(key) {
    const { configs } = this.sweep.model;
    const values = [...new Set(configs.map((config) => config.factors[key] ?? "-"))];
    const options = values.map((value) => make("option", { value: `=${value}` }, value));
    const select = make("select", { change: () => this.filter() }, make("option", { value: "" }, "any"), ...options);
    return make("label", {}, `${key} `, select);
  }

  /** Leaves those configurations on that have all the values chosen. */
  filter() {
    const asked = this.factors.map(([key, label]) => [key, label.querySelector("select").value]).filter(([, value]) => value);
    const fits = (config) => asked.every(([key, value]) => `=${config.factors[key] ?? "-"}` === value);
    this.sweep.off = new Set(this.sweep.model.configs.flatMap((config, i) => (fits(config) ? [] : [i])));
    this.sweep.changed();
  }

  choice(title, field, options) {
    const choices = Object.entries(options).map(([value, text]) => make("option", { value }, text));
    const select = make("select", { change: () => {
      this.sweep[field] = select.value;
      this.sweep.changed();
    } }, ...choices);
    this.selects[field] = select;
    return make("label", {}, `${title} `, select);
  }

  smooth() {
    this.sweep.smoothing = Number(this.smoothing.value) / 100;
    this.sweep.changed();
  }

  /** By key of each factor, the value chosen. */
  factorValues() {
    return Object.fromEntries(this.factors.map(([key, label]) => [key, label.querySelector("select").value]));
  }

  /** Puts values of factors into the bar; changes no choice. */
  show(factors) {
    for (const [key, label] of this.factors) {
      const select = label.querySelector("select");
      if ([...select.options].some(({ value }) => value === factors[key])) select.value = factors[key];
    }
  }

  /** Marks a run, {config, seed}, in all figures; null marks none. */
  mark(run) {
    this.sweep.run = run;
    if (run) this.sweep.off.delete(this.sweep.model.configs.findIndex((config) => config.id === run.config));
    else if (location.hash.startsWith(`#${this.sweep.id}-run-`)) history.replaceState(null, "", location.pathname + location.search);
    this.sweep.changed();
  }

  refresh() {
    const { off, run, model, range, smoothing } = this.sweep;
    for (const [field, select] of Object.entries(this.selects)) select.value = this.sweep[field];
    this.smoothing.value = Math.round(100 * smoothing);
    this.smoothed.textContent = smoothing ? `${this.smoothing.value} %` : "off";
    for (const chip of this.chips) chip.setAttribute("aria-pressed", String(!off.has(Number(chip.dataset.c))));
    const marked = run && model.configs.find((config) => config.id === run.config);
    const words = [];
    if (off.size) words.push(`${off.size} of ${model.configs.length} configurations hidden; the numbers are still of all.`);
    if (range) words.push(`Steps ${range.map((step) => step.toLocaleString("en-US")).join(" to ")}.`);
    if (marked) words.push(`Marked: ${marked.letter}, seed ${run.seed}.`);
    this.status.textContent = words.join(" ");
    this.clear.hidden = !marked;
    this.whole.hidden = !range;
  }
}
