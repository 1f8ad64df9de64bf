// What the reader chose for each sweep on the page. Everything else is drawn from it.

/** An element with attributes (a function: a listener) and children. */
function make(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(name, value);
    else if (value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children);
  return made;
}

class Sweep {
  constructor(article) {
    this.article = article;
    this.id = article.id;
    this.model = JSON.parse(article.querySelector(`#${this.id}-model`).textContent);
    this.curves = new Curves(this);
    this.off = new Set(); // numbers of configurations
    this.smoothing = 0; // share of a curve's points
    this.scale = "auto"; // auto, linear, log
    this.seeds = "auto"; // auto: where they fit; on, off
    this.run = null; // {config, seed} that is marked
    this.lit = null; // the configuration whose name in the legend is pointed at
    this.range = null; // [first, last] step that is shown; null: all
    this.step = null; // where the cursor stands
    this.figures = [...article.querySelectorAll(".picture[data-view]")].map((picture) => new Figure(this, picture));
  }

  /** Configurations whose curves are to be seen. */
  shown() {
    return this.model.configs.filter((config, i) => config.drawn && !this.off.has(i));
  }

  /** The first and the last step that is shown. */
  domain() {
    return this.range ?? [0, this.model.total];
  }

  /** The configuration that stands out, by its name in the legend or by a run that is marked. */
  highlighted() {
    return this.lit ?? this.run?.config ?? null;
  }

  /** After a choice: hides what is off everywhere, and draws the figures in sight again. */
  changed() {
    for (const part of this.article.querySelectorAll("[data-c]:not(.legend *)")) {
      part.hidden = this.off.has(Number(part.dataset.c));
    }
    this.tabStops();
    this.redraw();
    this.controls.refresh();
    keepInAddress(this);
  }

  redraw() {
    for (const figure of this.figures) figure.stale = true;
    for (const figure of this.figures) figure.refresh();
  }

  /** The reader's choices, for `choose`; configurations by their id, as their numbers are of this page. */
  choices() {
    const { off, model, smoothing, scale, seeds, range, run, step } = this;
    return { off: [...off].map((i) => model.configs[i].id), factors: this.controls.factorValues(), smoothing, scale, seeds, range, run, step };
  }

  /** Takes over the choices of an earlier page of the same sweep. */
  choose({ off, factors, ...rest }) {
    Object.assign(this, rest);
    this.off = new Set(off.map((id) => this.model.configs.findIndex((config) => config.id === id)).filter((i) => i >= 0));
    this.controls.show(factors);
    this.changed();
  }

  /** One picture that is there in each group takes the tab key. */
  tabStops() {
    for (const group of this.article.querySelectorAll(".grid")) {
      const there = [...group.querySelectorAll("figure:not([hidden]) .picture[role=slider]")];
      if (there.length && !there.some((picture) => picture.tabIndex === 0)) there[0].tabIndex = 0;
    }
  }

  /** The cursor at a step, or nowhere (null), in all figures. */
  point(step) {
    this.step = step;
    for (const figure of this.figures) figure.point();
  }
}
