// Which trials are picked, which of them lie in a region, and how MLflow and `best` are asked for just these.
//
// Metrics are whole numbers, units of their last decimal, rounded down: a bound that is a whole number, too,
// separates in MLflow what it separates here. A region is {fidelity: [least, below], accuracy: [least, below]}, null
// for no bound.

const data = JSON.parse(document.getElementById("explorer-data").textContent);
const {runs, facets} = data;
const TERMS = 30;  // a database joins at most 64 tables, one for each term of a filter

const known = (value) => typeof value === "number" && Math.abs(value) < 1e15;
const prefixed = (asked, name) => (asked.photographs === "test" ? "test_" : "") + name;
const metricOf = (asked, side) =>
  prefixed(asked, side === "fidelity" ? asked.fidelity : data.channels[asked.channel].metric);
const decimalsOf = (asked, side) => data.decimals[side === "fidelity" ? asked.fidelity : "accuracy"];

/** A whole number of units as a decimal number, without an exponent. */
function decimal(units, decimals) {
  const text = (units / 10 ** decimals).toFixed(decimals);
  return text.includes(".") ? text.replace(/\.?0+$/, "") : text;
}

/** The points of the plot: trials, or means over the seeds of a setting. {rows, x, y, onValidation: [x, y]} */
function pointsOf(asked) {
  const columns = {};
  for (const side of ["fidelity", "accuracy"]) columns[side] = runs.metrics[metricOf(asked, side)] ?? [];
  const validation = {...asked, photographs: "validation"};
  const judged = runs.metrics[metricOf(validation, "accuracy")];
  const fidelity = runs.metrics[metricOf(validation, "fidelity")];
  const settings = new Map();
  for (let row = 0; row < runs.trials; row++) {
    if (!known(judged[row]) || !facets.every((facet, k) => asked.picked[k].has(facet.column[row]))) continue;
    const setting = asked.seeds ? row : facets.map((facet) => facet.column[row]).join();
    if (!settings.has(setting)) settings.set(setting, []);
    settings.get(setting).push(row);
  }
  const mean = (column, rows) =>
    rows.every((row) => known(column[row])) ? rows.reduce((sum, row) => sum + column[row], 0) / rows.length : NaN;
  return [...settings.values()]
    .map((rows) => ({
      rows,
      x: mean(columns.fidelity, rows),
      y: mean(columns.accuracy, rows),
      onValidation: [mean(fidelity, rows), mean(judged, rows)],
    }))
    .filter((point) => !Number.isNaN(point.x + point.y));
}

/** The fronts per camera, NIP and further axes, which the validation photographs decide: lists of points. */
function frontsOf(points) {
  const groups = new Map();
  for (const point of points) {
    const group = facets.map((facet) => (facet.name === "lambda" ? "" : facet.column[point.rows[0]])).join();
    if (!groups.has(group)) groups.set(group, []);
    groups.get(group).push(point);
  }
  const beats = ([x, y], [u, v]) => x >= u && y >= v && (x > u || y > v);
  return [...groups.values()].map((group) =>
    group
      .filter((point) => !group.some((other) => beats(other.onValidation, point.onValidation)))
      .sort((a, b) => a.x - b.x));
}

function isInside(point, region) {
  const within = (value, [least, below]) => (least === null || value >= least) && (below === null || value < below);
  return within(point.x, region.fidelity) && within(point.y, region.accuracy);
}

/** The whole number from `low` to `high` with the fewest decimals, the nearest to `at` of these; null for none. */
function shortest(low, high, at) {
  for (let step = 1e9; step >= 1; step /= 10) {
    const nearest = Math.min(Math.max(Math.round(at / step), Math.ceil(low / step)), Math.floor(high / step)) * step;
    if (low <= nearest && nearest <= high) return nearest;
  }
  return null;
}

/**
 * A bound near `at` that separates the values beyond doubt: a mean may be a unit larger than it is known here.
 *
 * @param upper whether it is an upper bound, and gives way upwards where no bound fits between two values
 * @param slack how far it may move for the sake of fewer decimals
 */
function separator(values, at, upper, slack) {
  const sorted = [...new Set(values)].sort((a, b) => a - b);
  let place = sorted.findIndex((value) => value >= at);
  if (place < 0) place = sorted.length;
  for (; place >= 0 && place <= sorted.length; place += upper ? 1 : -1) {
    const low = Math.ceil(sorted[place - 1] ?? -Infinity) + 1;
    const high = Math.ceil(sorted[place] ?? Infinity) - 1;
    if (low > high) continue;
    const [from, to] = [Math.max(low, at - slack), Math.min(high, at + slack)];
    return from <= to ? shortest(from, to, at) : shortest(low, high, at);
  }
  return Math.round(at);
}

/** The region with bounds that separate beyond doubt; those stay as they are that do. */
function settled(region, points, asked) {
  const sides = {fidelity: points.map((point) => point.x), accuracy: points.map((point) => point.y)};
  const safe = (bound, values) =>
    Number.isInteger(bound) && (asked.seeds || values.every((value) => bound < value || bound >= value + 1));
  const result = {};
  for (const [side, values] of Object.entries(sides)) {
    const most = side === "accuracy" ? 10 ** data.decimals.accuracy : Infinity;
    result[side] = region[side].map((bound, end) => {
      if (bound === null || (side === "accuracy" && (end ? bound > most : bound <= 0))) return null;
      return safe(bound, values) ? bound : separator(values, bound, end === 1, 10 ** (decimalsOf(asked, side) - 2));
    });
  }
  return result;
}

// --- the filter for MLflow: terms that hold for a run or not ---

const quoted = (text) => (text.includes("'") ? `"${text}"` : `'${text}'`);

/** One of these places among a facet's values. MLflow knows no "or": all other values are excluded. */
function oneOf(facet, places) {
  const name = /^\w+$/.test(facet.name) ? facet.name : `\`${facet.name}\``;
  const others = facet.values.filter((_, place) => !places.has(place));
  const [sign, values] = places.size === 1 ? ["=", [...places].map((place) => facet.values[place])] : ["!=", others];
  return {
    texts: values.map((value) => `params.${name} ${sign} ${quoted(value)}`),
    sayable: facet.told && values.every((value) => !(value.includes("'") && value.includes('"'))),
    holds: (row) => places.has(facet.column[row]),
  };
}

function bound(name, sign, units, decimals) {
  const column = runs.metrics[name];
  return {
    texts: [`metrics.${name} ${sign} ${decimal(units, decimals)}`],
    sayable: true,
    holds: (row) => {
      const value = column[row];
      return value !== null && (sign === "<" ? value < units : value >= units);
    },
  };
}

function boundsOf(region, asked) {
  return ["fidelity", "accuracy"].flatMap((side) =>
    region[side].flatMap((units, end) =>
      units === null ? [] : [bound(metricOf(asked, side), end ? "<" : ">=", units, decimalsOf(asked, side))]));
}

const rowsWhere = (terms) => runs.ids.map((_, row) => row).filter((row) => terms.every((term) => term.holds(row)));

/** The smallest box around runs, of settings and of the two metrics, as terms; without those that change nothing. */
function boxAround(wanted, asked) {
  const rows = [...wanted];
  let terms = facets.map((facet) => oneOf(facet, new Set(rows.map((row) => facet.column[row]))));
  for (const side of ["fidelity", "accuracy"]) {
    const [name, decimals] = [metricOf(asked, side), decimalsOf(asked, side)];
    const values = rows.map((row) => runs.metrics[name][row]);
    const others = rowsWhere(terms).filter((row) => !wanted.has(row)).map((row) => runs.metrics[name][row]);
    const least = values.reduce((a, b) => Math.min(a, b));
    const most = values.reduce((a, b) => Math.max(a, b));
    const before = others.filter((value) => value !== null && value < least).reduce((a, b) => Math.max(a, b), -1e12);
    const after = others.filter((value) => value !== null && value > most).reduce((a, b) => Math.min(a, b), 1e12);
    terms.push(bound(name, ">=", shortest(before + 1, least, least), decimals));
    terms.push(bound(name, "<", shortest(most + 1, after, most + 1), decimals));
  }
  const found = rowsWhere(terms).length;
  for (const term of [...terms]) {
    const fewer = terms.filter((other) => other !== term);
    if (rowsWhere(fewer).length === found) terms = fewer;
  }
  return terms;
}

/** The terms in words, with exceptions where they find more than is wanted; null where words are missing. */
function inWords(terms, wanted) {
  const found = rowsWhere(terms);
  const texts = terms.flatMap((term) => term.texts);
  const complete = found.filter((row) => wanted.has(row)).length === wanted.size;
  if (!complete || texts.length > TERMS || terms.some((term) => !term.sayable)) return null;
  const more = found.filter((row) => !wanted.has(row));
  return {exact: more.length === 0, text: sentence(more.length ? [...texts, `attributes.run_id NOT IN ${ids(more)}`] : texts)};
}

const ids = (rows) => `(${rows.map((row) => `'${runs.ids[row]}'`).join(", ")})`;
const sentence = (texts) => ["tags.kind = 'trial'", "attributes.status = 'FINISHED'", ...texts].join(" and ");
const isNarrowed = (facet, picked) => facet.offered > 1 && picked.size < facet.offered;

/** The filter that finds in MLflow the runs of these points, and no other run of the experiment. */
function filterOf(points, region, asked) {
  const wanted = new Set(points.flatMap((point) => point.rows));
  if (wanted.size === 0) return "";
  const picked = facets.flatMap((facet, k) => (isNarrowed(facet, asked.picked[k]) ? [oneOf(facet, asked.picked[k])] : []));
  const asAsked = [...picked, ...(asked.seeds ? boundsOf(region, asked) : [])];
  const ways = [{exact: false, text: sentence([`attributes.run_id IN ${ids([...wanted])}`])}];
  for (const terms of [() => asAsked, () => boxAround(wanted, asked)]) {
    const way = inWords(terms(), wanted);
    if (way?.exact) return way.text;
    if (way) ways.push(way);
  }
  return ways.reduce((a, b) => (b.text.length < a.text.length ? b : a)).text;
}

// --- the commands ---

const shell = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'"'"'`)}'`);

/** The command that ranks the settings in a region, or the trials. */
function bestOf(region, asked) {
  const options = facets.flatMap((facet, k) => {
    if (!isNarrowed(facet, asked.picked[k])) return [];
    const named = facet.name === "camera" || facet.name === "isp";
    return [...asked.picked[k]].map((place) =>
      named
        ? `--${facet.name} ${shell(facet.values[place])}`
        : `--where ${shell(`${facet.name}=${facet.values[place]}`)}`);
  });
  for (const side of ["fidelity", "accuracy"])
    region[side].forEach((units, end) => {
      const name = side === "fidelity" ? asked.fidelity : "accuracy";
      if (units !== null) options.push(`--${end ? "max" : "min"}-${name} ${decimal(units, decimalsOf(asked, side))}`);
    });
  const channel = data.channels[asked.channel].name;
  if (channel !== data.leading) options.push(`--codec ${shell(channel)}`);
  if (asked.photographs === "test") options.push("--on test");
  if (asked.seeds) options.push("--each-seed");
  return [data.commands.best, ...options].join(" ");
}

const rerunOf = (row) => `${data.commands.rerun} ${shell(runs.keys[row])}`;
