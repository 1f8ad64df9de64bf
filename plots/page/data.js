// The curves, from the compressed CSV files of the section "Data"; read when they are first needed.

class Curves {
  constructor(sweep) {
    this.sweep = sweep;
    this.kinds = {};
    this.known = new Map();
  }

  /** Resolves when the curves of all kinds of rows can be requested. */
  ready() {
    this.loading ??= Promise.all(
      [...this.sweep.article.querySelectorAll("[id*='-curves-'][download]")].map(async (link) => {
        const kind = link.id.slice(`${this.sweep.id}-curves-`.length, -"-csv".length);
        this.kinds[kind] = parse(await unpacked(link.href), this.sweep.model.columns[kind]);
      }),
    ).then(() => (this.loaded = true));
    return this.loading;
  }

  /** {seeds: [{seed, steps, values}], steps, mean, low, high, n} of a configuration; null where it has none. */
  of(kind, metric, config) {
    const key = `${kind} ${metric} ${config.id}`;
    if (!this.known.has(key)) this.known.set(key, this.read(kind, metric, config));
    return this.known.get(key);
  }

  read(kind, metric, config) {
    const table = this.kinds[kind];
    const column = table?.columns.get(metric);
    if (!column) return null;
    const seeds = table.runs
      .filter((run) => run.config === config.id)
      .map(({ seed, from, to }) => ({ seed, steps: table.steps.subarray(from, to), values: column.subarray(from, to) }))
      .filter((run) => run.values.some(Number.isFinite));
    return seeds.length ? { seeds, ...overSeeds(seeds, this.sweep.model.half) } : null;
  }
}

async function unpacked(href) {
  const packed = Uint8Array.from(atob(href.slice(href.indexOf(",") + 1)), (c) => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).text();
}

/** Text of config_id, seed, step, metrics -> columns by `names`, and the runs as ranges of lines. */
function parse(text, names) {
  const lines = text.trimEnd().split("\n");
  const count = lines.length - 1;
  const steps = new Float64Array(count);
  const columns = names.map(() => new Float64Array(count));
  const runs = [];
  for (let i = 0; i < count; i++) {
    const cells = lines[i + 1].split(",");
    const last = runs.at(-1);
    if (last?.config === cells[0] && last.seed === Number(cells[1])) last.to = i + 1;
    else runs.push({ config: cells[0], seed: Number(cells[1]), from: i, to: i + 1 });
    steps[i] = Number(cells[2]);
    for (let j = 0; j < names.length; j++) columns[j][i] = cells[j + 3] === "" ? NaN : Number(cells[j + 3]);
  }
  return { steps, runs, columns: new Map(names.map((name, j) => [name, columns[j]])) };
}

/** Mean over seeds at every step, with the Student-t interval; `half` holds its half width in standard deviations. */
function overSeeds(seeds, half) {
  const steps = [...new Set(seeds.flatMap((run) => [...run.steps]))].sort((a, b) => a - b);
  const place = new Map(steps.map((step, i) => [step, i]));
  const found = steps.map(() => []);
  for (const run of seeds) {
    run.values.forEach((value, i) => Number.isFinite(value) && found[place.get(run.steps[i])].push(value));
  }
  const mean = found.map((values) => values.reduce((sum, value) => sum + value, 0) / values.length);
  const reach = found.map((values, i) => {
    const squares = values.reduce((sum, value) => sum + (value - mean[i]) ** 2, 0);
    return half[values.length] == null ? NaN : half[values.length] * Math.sqrt(squares / (values.length - 1));
  });
  return {
    steps,
    mean,
    low: mean.map((value, i) => value - reach[i]),
    high: mean.map((value, i) => value + reach[i]),
    n: found.map((values) => values.length),
  };
}

/** Index of the step nearest to `step`; -1 where the curve has none within a hundredth of `total` or its spacing. */
function nearest(steps, step, total) {
  let low = 0;
  let high = steps.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (steps[middle] < step) low = middle + 1;
    else high = middle;
  }
  const best = low > 0 && (low === steps.length || step - steps[low - 1] <= steps[low] - step) ? low - 1 : low;
  const spacing = steps.length > 1 ? (steps.at(-1) - steps[0]) / (steps.length - 1) : total;
  return steps.length && Math.abs(steps[best] - step) <= Math.max(spacing, total / 100) ? best : -1;
}
