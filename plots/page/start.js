// Puts the layer on the page, and follows links to a run or a flag.

function themeButton() {
  const order = ["auto", "light", "dark"];
  const root = document.documentElement;
  const words = () => `Theme: ${root.dataset.theme ?? "auto"}`;
  const button = make("button", { type: "button", class: "theme", click: () => {
    const next = order[(order.indexOf(root.dataset.theme ?? "auto") + 1) % order.length];
    if (next === "auto") delete root.dataset.theme;
    else root.dataset.theme = next;
    button.textContent = words();
  } }, words());
  return button;
}

/** Goes where the address points: a flag's card, a run (which is marked), or any other place. */
function follow(sweeps) {
  const target = location.hash.length > 1 && document.getElementById(location.hash.slice(1));
  if (!target) return;
  for (let part = target; part; part = part.parentElement) if (part.tagName === "DETAILS") part.open = true;
  const sweep = sweeps.find((one) => one.article.contains(target));
  const run = sweep && new RegExp(`^${sweep.id}-run-(.+)-(\\d+)$`).exec(target.id);
  const folded = target.closest("[data-c]");
  if (sweep && folded && sweep.off.delete(Number(folded.dataset.c))) sweep.changed();
  if (run) {
    sweep.controls.mark({ config: run[1], seed: Number(run[2]) });
    document.getElementById(`${sweep.id}-returns`)?.scrollIntoView();
  } else {
    target.scrollIntoView();
    if (target.matches(".card")) target.focus({ preventScroll: true });
  }
}

/** The sweeps of a page's main part, with the layer over their figures and tables. */
function layer(main) {
  const sweeps = [...main.querySelectorAll("article:not(.tasks)")].map((article) => new Sweep(article));
  for (const sweep of sweeps) {
    takeFromAddress(sweep);
    sweep.controls = new Controls(sweep);
    sweep.figures.forEach(savable);
    if (choicesOf(sweep)) sweep.changed();
    else sweep.tabStops();
  }
  main.querySelectorAll("table").forEach(sortable);
  main.querySelector("nav").append(themeButton());
  return sweeps;
}

let sweepsOfPage = []; // a live page replaces them

function start() {
  if (!("DecompressionStream" in window)) return; // an old browser: the page without scripts is whole
  sweepsOfPage = layer(document.querySelector("main"));
  document.documentElement.classList.add("live");
  addEventListener("beforeprint", () => {
    for (const sweep of sweepsOfPage) if (sweep.curves.loaded) for (const figure of sweep.figures) figure.complete();
  });
  addEventListener("hashchange", () => follow(sweepsOfPage));
  // a link to the place where the reader already is changes nothing the browser would tell of
  addEventListener("click", (event) => event.target.closest?.("a[href^='#']")?.hash === location.hash && follow(sweepsOfPage));
  follow(sweepsOfPage);
}

start();
