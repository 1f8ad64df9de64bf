// Puts the layer on the page, and follows links to a run or a flag.

function themeButton() {
  const order = ["auto", "light", "dark"];
  let now = 0;
  const button = make("button", { type: "button", class: "theme", click: () => {
    now = (now + 1) % order.length;
    if (now) document.documentElement.dataset.theme = order[now];
    else delete document.documentElement.dataset.theme;
    button.textContent = `Theme: ${order[now]}`;
  } }, "Theme: auto");
  return button;
}

/** Goes where the address points: a flag's card, a run (which is marked), or any other place. */
function follow(sweeps) {
  const target = document.getElementById(location.hash.slice(1));
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

function start() {
  if (!("DecompressionStream" in window)) return; // an old browser: the page without scripts is whole
  const sweeps = [...document.querySelectorAll("article:not(.tasks)")].map((article) => new Sweep(article));
  for (const sweep of sweeps) {
    takeFromAddress(sweep);
    sweep.controls = new Controls(sweep);
    sweep.figures.forEach(savable);
    if (choicesOf(sweep)) sweep.changed();
    else sweep.tabStops();
  }
  document.querySelectorAll("table").forEach(sortable);
  document.querySelector("nav").append(themeButton());
  document.documentElement.classList.add("live");
  addEventListener("hashchange", () => follow(sweeps));
  // a link to the place where the reader already is changes nothing the browser would tell of
  addEventListener("click", (event) => event.target.closest?.("a[href^='#']")?.hash === location.hash && follow(sweeps));
  follow(sweeps);
}

start();
