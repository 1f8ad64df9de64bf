// What a figure's buttons do: enlarge it, and save it as SVG, PNG or CSV.

const LARGE = { box: [700, 400], rect: [44, 20, 676, 366] }; // of a view, on the page as wide as the window
const PNG_SCALE = 3; // pixels for a unit of the figure

/** Buttons beside a figure's heading. */
function savable(figure) {
  const caption = figure.picture.closest("figure").querySelector("figcaption");
  if (caption.querySelector(".save")) return; // the other width of the same figure
  const open = make("button", { type: "button", "aria-label": `Enlarge: ${figure.label}`, click: () => enlarge(figure) }, "Enlarge");
  // of a grid of many, the enlarged figure has the other buttons
  caption.append(caption.closest(".grid") ? make("span", { class: "save" }, open) : buttonsOf(() => visible(figure), open));
}

/** The figure that is seen of the two widths of one. */
function visible(figure) {
  const all = [...figure.picture.closest("figure").querySelectorAll(".picture[data-view]")];
  return (all.find((picture) => picture.offsetParent) ?? figure.picture).figure;
}

function buttonsOf(figure, ...first) {
  const { label } = figure();
  const kinds = { CSV: csvOf, SVG: svgOf, PNG: pngOf };
  const buttons = Object.entries(kinds).map(([kind, blobOf]) =>
    make("button", { type: "button", class: kind.toLowerCase(), "aria-label": `${kind}: ${label}`, click: async () => {
      const chosen = figure();
      await chosen.sweep.curves.ready();
      download(await blobOf(chosen), `${nameOf(chosen)}.${kind.toLowerCase()}`);
    } }, kind));
  return make("span", { class: "save" }, ...first, ...buttons);
}

function nameOf({ sweep, view }) {
  const of = view.only === undefined ? "" : `-${sweep.model.configs[view.only].letter}`;
  return `${sweep.model.name}-${view.metric}${of}`.replace(/[^\w.-]+/g, "-");
}

function download(blob, name) {
  const url = URL.createObjectURL(blob);
  make("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

function csvOf(figure) {
  return new Blob([figure.csv()], { type: "text/csv" });
}

/** The figure as it is seen, with its colours and its font, as text. */
function svgText({ drawn, still, view }) {
  const [width, height] = view.box;
  const seen = (drawn ?? still).cloneNode(true);
  for (const [name, value] of Object.entries({ width, height })) seen.setAttribute(name, value);
  seen.removeAttribute("style"); // where the still figure is hidden
  const markup = new XMLSerializer().serializeToString(seen);
  const style = getComputedStyle(document.documentElement);
  const names = [...new Set(markup.match(/--[\w-]+/g) ?? [])];
  const values = ["--paper", ...names].map((name) => `${name}:${style.getPropertyValue(name)}`);
  const font = getComputedStyle(document.body).fontFamily.replace(/"/g, "'");
  const css = `<style>svg{${values.join(";")}}text{font-family:${font}}</style>`;
  return markup.replace(/^(<svg[^>]*>)/, `$1${css}<rect width="100%" height="100%" style="fill:var(--paper)"/>`);
}

function svgOf(figure) {
  return new Blob([svgText(figure)], { type: "image/svg+xml" });
}

async function pngOf(figure) {
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(svgText(figure))}`;
  await image.decode();
  const [width, height] = figure.view.box.map((size) => PNG_SCALE * size);
  const canvas = make("canvas", { width, height });
  canvas.getContext("2d").drawImage(image, 0, 0, width, height);
  return new Promise((done) => canvas.toBlob(done, "image/png"));
}

/** The figure in a window over the page; choices, cursor and zoom are those of the page. */
function enlarge(figure) {
  const { sweep, label } = figure;
  const { strip, ...view } = { ...figure.view, ...LARGE };
  const picture = make("div", { class: "picture", "data-view": JSON.stringify(view), "aria-label": label });
  const close = make("button", { type: "button", click: () => dialog.close() }, "Close");
  const of = view.only === undefined ? "" : `${sweep.model.configs[view.only].letter} ${sweep.model.configs[view.only].label}: `;
  const bar = make("div", { class: "bar" }, make("h2", {}, of + label));
  const dialog = make("dialog", { "aria-label": `Enlarged: ${label}`, close: () => {
    sweep.figures.splice(sweep.figures.indexOf(large), 1);
    inSight.unobserve(picture);
    dialog.remove();
  } }, bar, picture);
  sweep.article.append(dialog);
  dialog.showModal();
  const large = new Figure(sweep, picture);
  bar.append(buttonsOf(() => large, close));
  sweep.figures.push(large);
  close.focus();
}
