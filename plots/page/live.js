// Only on a page that `sweeps view` serves: asks its server for a newer version, which takes the place of this one.

const ASK_MS = 1000;
const CALM_MS = 1000; // since the reader last scrolled, pressed or typed: the page is replaced only then

class Live {
  constructor() {
    this.version = document.documentElement.dataset.version;
    this.moved = -Infinity;
    this.state = make("span", {}, "Live");
    this.trouble = make("span", { role: "status" });
    this.line = make("aside", { class: "follows", "aria-label": "Updates" }, this.state, " ", this.trouble);
    document.body.append(this.line);
    const noted = () => (this.moved = performance.now());
    for (const kind of ["pointerdown", "pointerup", "keydown", "wheel", "touchmove", "scroll"]) addEventListener(kind, noted, { capture: true, passive: true });
    document.addEventListener("visibilitychange", () => this.ask());
    this.repeat();
  }

  async repeat() {
    for (;;) {
      await this.ask();
      await new Promise((resolve) => setTimeout(resolve, ASK_MS));
    }
  }

  /** Nothing while the page is in the background, so that nothing is rendered for it. */
  async ask() {
    if (document.hidden || this.asking) return;
    this.asking = true;
    try {
      const told = await (await answered("version")).json();
      this.time = told.time;
      if (told.version !== this.version && this.isCalm()) await this.update();
      this.say(told.error, told.error || told.notes.join("; "));
    } catch (error) {
      this.say(true, `no answer from sweeps view: ${error.message}`);
    }
    this.asking = false;
  }

  /** Whether the page can be replaced now: nothing is enlarged or selected, and the reader has not acted just before. */
  isCalm() {
    if (document.querySelector("dialog[open]")) return false;
    const rests = document.activeElement?.matches("select") ? 10 * CALM_MS : CALM_MS;
    return performance.now() - this.moved > rests && getSelection().isCollapsed;
  }

  say(isStale, words) {
    const time = new Date(1000 * this.time).toLocaleTimeString("en-GB");
    const state = `${isStale ? "Not updated since" : "Live, last change"} ${this.time ? time : "it was opened"}${words ? ":" : ""}`;
    this.line.classList.toggle("stale", Boolean(isStale));
    for (const [part, text] of [[this.state, state], [this.trouble, words]]) {
      if (part.textContent !== text) part.textContent = text; // a screen reader reads text again that is set again
    }
  }

  async update() {
    const text = await (await answered("./")).text();
    const page = new DOMParser().parseFromString(text, "text/html");
    const main = document.adoptNode(page.querySelector("main"));
    const sweeps = layer(main);
    const before = new Map(sweepsOfPage.map((sweep) => [sweep.model.name, sweep]));
    await Promise.all(sweeps.map((sweep) => before.get(sweep.model.name)?.curves.loaded && sweep.curves.ready()));
    this.replace(main, sweeps, before);
    this.version = page.documentElement.dataset.version;
    document.title = page.title;
  }

  /** Puts the new main part in place, with all that the reader chose, before the browser paints. */
  replace(main, sweeps, before) {
    const old = document.querySelector("main");
    const place = placeOf(old, sweepsOfPage);
    for (const sweep of sweepsOfPage) for (const figure of sweep.figures) inSight.unobserve(figure.picture);
    old.replaceWith(main);
    sweepsOfPage = sweeps;
    for (const sweep of sweeps) if (before.has(sweep.model.name)) sweep.choose(before.get(sweep.model.name).choices());
    restore(main, sweeps, place);
    for (const figure of sweeps.flatMap((sweep) => sweep.figures)) figure.look();
  }
}

/** Raises unless the server answers as it should. */
async function answered(path) {
  const answer = await fetch(path, { cache: "no-store" });
  if (!answer.ok) throw new Error(`${answer.status} ${answer.statusText}`);
  return answer;
}

if (document.documentElement.classList.contains("live")) new Live();
