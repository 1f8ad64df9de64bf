// The reader's place on a page, in terms that hold for a newer page of the same sweeps.

const READING = 0.25; // share of the window above the line that is read: the part there stays where it is
const MOST_ANCHORS = 20;

/** The id of a part without the number of its sweep, which another sweep may have on the next page. */
function lasting(id, sweeps) {
  const sweep = sweeps.find((one) => id === one.id || id.startsWith(`${one.id}-`));
  return sweep ? `${sweep.model.name} ${id.slice(sweep.id.length)}` : id;
}

/** Text without its numbers, which change while runs train. */
function roughly(text) {
  return text.replace(/[\d.,]+/g, "#").replace(/\s+/g, " ").trim();
}

/** Parts that fit `selector`, by a key that the same part has on the next page. */
function keyed(main, selector, sweeps) {
  const found = new Map();
  for (const part of main.querySelectorAll(selector)) {
    const id = part.querySelector(":scope > [id]")?.id ?? part.getAttribute("aria-labelledby");
    const text = part.getAttribute("aria-label") ?? part.querySelector("summary")?.textContent ?? "";
    const around = part.parentElement.closest("[aria-labelledby]")?.getAttribute("aria-labelledby") ?? "";
    const name = `${lasting(around, sweeps)}/${id ? lasting(id, sweeps) : roughly(text)}`;
    let key = name;
    for (let n = 2; found.has(key); n++) key = `${name} ${n}`;
    found.set(key, part);
  }
  return found;
}

/** What is open, scrolled, sorted and focused, and the parts at the top of the window: for `restore`. */
function placeOf(main, sweeps) {
  const scrolls = [...keyed(main, ".scroll", sweeps)];
  return {
    open: [...keyed(main, "details", sweeps)].map(([key, part]) => [key, part.open]),
    scrolled: scrolls.filter(([, { scrollLeft, scrollTop }]) => scrollLeft || scrollTop).map(([key, part]) => [key, part.scrollLeft, part.scrollTop]),
    sorted: scrolls.flatMap(([key, part]) => [...part.querySelectorAll("th[aria-sort]")].map((th) => [key, th.textContent, th.getAttribute("aria-sort")])),
    focused: focusOf(main, sweeps),
    anchors: scrollY > 0 ? anchorsOf(main, sweeps) : [],
  };
}

/** {around, words, place}: the focused control by its words and its place among those with the same; null for none. */
function focusOf(main, sweeps) {
  const part = document.activeElement;
  if (!main.contains(part)) return null;
  const around = part.id ? part : part.closest("[id]");
  return { around: lasting(around?.id ?? "", sweeps), words: wordsOf(part), place: alike(around ?? main, part).indexOf(part) };
}

function wordsOf(part) {
  return `${part.tagName} ${roughly(part.getAttribute("aria-label") ?? part.textContent)}`;
}

/** The part and those in `around` that have its words. */
function alike(around, part, words = wordsOf(part)) {
  return [around, ...around.querySelectorAll("button, select, input, a, summary, [tabindex]")].filter((one) => wordsOf(one) === words);
}

/** Parts by which a place on the page is found again. */
function landmarks(main, sweeps) {
  const byId = [...main.querySelectorAll("[id]")].map((part) => [lasting(part.id, sweeps), part]);
  return new Map([...byId, ...keyed(main, "details", sweeps)]);
}

/** [name, distance from the top of the window in pixels] of the landmarks near what the reader looks at, the nearest
    first: the one with the focus, those in sight, those above. */
function anchorsOf(main, sweeps) {
  const near = [];
  for (const [name, part] of landmarks(main, sweeps)) {
    if (!(part.checkVisibility?.() ?? true)) continue;
    const { top } = part.getBoundingClientRect();
    if (top >= innerHeight) continue;
    const away = Math.abs(top - READING * innerHeight) + (top < 0 ? innerHeight : 0);
    near.push([name, top, top >= 0 && part.contains(document.activeElement) ? away - 2 * innerHeight : away]);
  }
  return near.sort((a, b) => a[2] - b[2]).slice(0, MOST_ANCHORS);
}

/** Opens, sorts, scrolls and focuses as on the page before; what is no longer there is left out. */
function restore(main, sweeps, { open, scrolled, sorted, focused, anchors }) {
  const details = keyed(main, "details", sweeps);
  for (const [key, isOpen] of open) if (details.has(key)) details.get(key).open = isOpen;
  const scrolls = keyed(main, ".scroll", sweeps);
  for (const [key, text, direction] of sorted) {
    const heading = [...(scrolls.get(key)?.querySelectorAll("th") ?? [])].find((th) => th.textContent === text);
    for (let n = 0; n < 2 && heading && heading.getAttribute("aria-sort") !== direction; n++) heading.querySelector("button")?.click();
  }
  for (const [key, left, top] of scrolled) scrolls.get(key)?.scrollTo(left, top);
  const byName = landmarks(main, sweeps);
  if (focused) {
    const around = focused.around ? byName.get(focused.around) : main;
    if (around) alike(around, null, focused.words)[focused.place]?.focus({ preventScroll: true });
  }
  const [name, top] = anchors.find(([one]) => byName.has(one)) ?? [];
  if (name !== undefined) stay(byName.get(name), top);
}

/** Scrolls the window so that a part stands where it stood; again once its surroundings are laid out. */
function stay(part, top, frames = 2) {
  const moved = part.getBoundingClientRect().top - top;
  if (Math.abs(moved) >= 1) scrollBy({ top: moved, behavior: "instant" });
  if (frames) requestAnimationFrame(() => stay(part, top, frames - 1));
}
