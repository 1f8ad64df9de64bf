// The range of steps that all figures of a sweep show: dragged in a figure, or changed by + and - at the cursor.

const LEAST_DRAG = 8; // pixels; less is a click
const LEAST_RANGE = 0.01; // of all steps

class Zoom {
  constructor(figure) {
    this.figure = figure;
    const { picture } = figure;
    picture.addEventListener("pointerdown", (event) => this.begin(event));
    picture.addEventListener("pointermove", (event) => this.drag(event));
    picture.addEventListener("pointerup", (event) => this.end(event));
    picture.addEventListener("pointercancel", () => this.drop());
    picture.addEventListener("dblclick", () => zoomTo(figure.sweep, null));
  }

  begin(event) {
    if (event.pointerType !== "mouse" || event.button !== 0) return; // a finger reads values or scrolls
    this.from = { x: event.clientX, step: this.figure.stepAt(event) };
    this.figure.picture.setPointerCapture(event.pointerId);
    event.preventDefault(); // no text is selected
    this.figure.picture.focus({ preventScroll: true });
  }

  drag(event) {
    if (!this.from) return;
    this.shade?.remove();
    const [x] = this.figure.scales();
    const [, top, , bottom] = this.figure.view.rect;
    const ends = [this.from.step, this.figure.stepAt(event)].map(x).sort((a, b) => a - b);
    const box = `x="${ends[0]}" y="${top}" width="${ends[1] - ends[0]}" height="${bottom - top}"`;
    this.shade = this.figure.layer("cursor", `<rect class="zoomed" ${box}/>`);
  }

  end(event) {
    if (!this.from) return;
    const far = Math.abs(event.clientX - this.from.x) >= LEAST_DRAG;
    const ends = [this.from.step, this.figure.stepAt(event)].sort((a, b) => a - b);
    this.drop();
    if (far) zoomTo(this.figure.sweep, ends);
  }

  drop() {
    this.shade?.remove();
    this.shade = this.from = null;
  }
}

/** Shows the steps of a range, [first, last], in all figures of a sweep; null: all. */
function zoomTo(sweep, range) {
  const { total } = sweep.model;
  const [first, last] = (range ?? [0, total]).map((step) => Math.round(Math.min(Math.max(step, 0), total)));
  if (last - first < LEAST_RANGE * total) return;
  sweep.range = first > 0 || last < total ? [first, last] : null;
  sweep.changed();
}

/** Shows a share of the range, around the cursor or the middle. */
function zoomBy(sweep, factor) {
  const [first, last] = sweep.domain();
  const size = (last - first) * factor;
  const centre = sweep.step ?? (first + last) / 2;
  const start = Math.min(Math.max(centre - size / 2, 0), Math.max(sweep.model.total - size, 0));
  zoomTo(sweep, [start, start + size]);
}
