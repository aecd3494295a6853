// What the reader picks, and what is written beside the plot.

const root = document.getElementById("explorer");
const part = (name) => root.querySelector(`[data-part="${name}"]`);
const field = (name) => root.querySelector(`[name="${name}"]`);
const nowhere = () => ({fidelity: [null, null], accuracy: [null, null]});
const FIDELITY = {psnr: {title: "PSNR (dB)", least: 0.05, say: (value) => `${value.toFixed(2)} dB`},
                  ssim: {title: "SSIM", least: 0.0005, say: (value) => `SSIM ${value.toFixed(4)}`}};

const asked = {
  picked: facets.map((facet) => new Set(Array.from({length: facet.offered}, (_, place) => place))),
  channel: data.channels.findIndex((channel) => channel.name === data.leading),
  fidelity: "psnr",
  photographs: "validation",
  seeds: false,
};
let region = nowhere();
let points = [];
let named = null;  // the point that is named beside the plot
let kept = false;  // it stays whatever the pointer does

const unitOf = (side) => (side === "accuracy" ? 10 ** (data.decimals.accuracy - 2) : 10 ** decimalsOf(asked, side));
const count = (number, what) => `${number.toLocaleString("en")} ${what}${number === 1 ? "" : "s"}`;
const valueText = (facet, place) => {
  const value = facet.values[place];
  return facet.name === "lambda" ? (value === "fixed" ? value : `λ ${Number(value)}`)
    : facet.title === facet.name ? `${facet.name} ${value}` : value;
};

function titleOf(point) {
  const setting = facets.map((facet) => valueText(facet, facet.column[point.rows[0]]));
  const seeds = asked.seeds ? `seed ${runs.seeds[point.rows[0]]}` : count(point.rows.length, "seed");
  return [...setting, seeds].join(" · ");
}

function valuesOf(point) {
  const accuracy = (point.y / unitOf("accuracy")).toFixed(1);
  return `${FIDELITY[asked.fidelity].say(point.x / unitOf("fidelity"))}, ${accuracy} %`;
}

const plot = plotIn(part("plot"), {hover, keep, drag}, (point) => `${titleOf(point)}: ${valuesOf(point)}`);

// --- from what is asked to what is shown ---

function update() {
  points = pointsOf(asked);
  region = settled(region, points, asked);
  const axes = [
    {title: FIDELITY[asked.fidelity].title, unit: unitOf("fidelity"), least: FIDELITY[asked.fidelity].least},
    {title: "Accuracy (%)", unit: unitOf("accuracy"), least: 0.5},
  ];
  plot.draw(points, region, axes, asked.seeds ? [] : frontsOf(points), asked.seeds ? 2.6 : 4);
  const inside = points.filter((point) => isInside(point, region));
  const trials = inside.reduce((sum, point) => sum + point.rows.length, 0);
  const what = asked.seeds ? "trial" : "setting";
  const whole = region.fidelity.concat(region.accuracy).every((bound) => bound === null);
  part("count").textContent =
    `${count(inside.length, what)}${whole ? "" : ` of ${points.length.toLocaleString("en")}`}` +
    `${asked.seeds ? "" : `, ${count(trials, "trial")}`} ${whole ? "shown" : "in the region"}`;
  part("best").value = inside.length ? bestOf(region, asked) : "";
  part("filter").value = filterOf(inside, region, asked);
  for (const side of ["fidelity", "accuracy"])
    region[side].forEach((units, end) => {
      const input = field(`${side}-${end ? "below" : "least"}`);
      const shown = side === "accuracy" ? data.decimals.accuracy - 2 : decimalsOf(asked, side);
      input.value = units === null ? "" : decimal(units, shown);
    });
  part("fidelity-title").textContent = FIDELITY[asked.fidelity].title;
  part("warning").hidden = asked.photographs !== "test";
  part("clear").disabled = whole;
  const again = named && points.find((point) => point.rows[0] === named.rows[0]);
  name(again ?? null);
}

/** Write the name of a point and its commands beside the plot. */
function name(point) {
  named = point;
  kept = kept && point !== null;
  plot.ring(point);
  part("name").textContent = point ? titleOf(point) : "Point at a setting to see its trials.";
  part("values").textContent = point
    ? `${valuesOf(point)} ${data.channels[asked.channel].title}, on the ${asked.photographs} photographs`
    : "";
  part("rerun").value = point ? point.rows.map(rerunOf).join("\n") : "";
  part("rerun").rows = Math.min(point ? point.rows.length : 1, 5);
  part("trial").hidden = !point;
  part("kept").textContent = kept ? "Kept until the next click." : "Click to keep it here.";
}

function hover(point, focused = false) {
  if (focused) kept = false;
  if (!kept && point !== named) name(point);
}

function keep(point) {
  kept = point !== null && !(kept && point === named);
  name(point ?? named);
}

/** A region was dragged: bounds with few decimals that have the same inside; open where nothing lies beyond. */
function drag(dragged) {
  if (dragged) {
    const sides = {fidelity: points.map((point) => point.x), accuracy: points.map((point) => point.y)};
    for (const [side, values] of Object.entries(sides)) {
      const slack = 0.015 * (Math.max(...values) - Math.min(...values));
      region[side] = dragged[side].map((at, end) => {
        const beyond = values.some((value) => (end ? value >= at : value < at));
        return beyond ? separator(values, Math.round(at), end === 1, slack) : null;
      });
    }
  }
  update();
}

// --- controls ---

function mark(facet, place) {
  if (facet.name !== "camera" && facet.name !== "isp") return [];
  const svg = element("svg", {viewBox: "-7 -7 14 14", class: "mark", "aria-hidden": "true"});
  const colour = facet.name === "isp" ? colourOf(place) : "currentColor";
  element("path", {d: scaled(facet.name === "isp" ? SHAPES[0] : shapeOf(place), 4.5), fill: colour}, svg);
  return [svg];
}

/** Boxes to tick for one facet, and a button for all or none of them. */
function boxes(facet, k) {
  const set = document.createElement("fieldset");
  const legend = document.createElement("legend");
  const all = document.createElement("button");
  all.type = "button";
  const inputs = facet.values.slice(0, facet.offered).map((value, place) => {
    const input = document.createElement("input");
    input.type = "checkbox";
    input.checked = true;
    input.dataset.facet = facet.name;
    input.value = value;
    input.addEventListener("change", () => pick(input.checked ? [...asked.picked[k], place] : [...asked.picked[k]].filter((other) => other !== place)));
    return input;
  });
  const labels = inputs.map((input, place) => {
    const label = document.createElement("label");
    const shown = facet.name === "lambda" && input.value !== "fixed" ? String(Number(input.value)) : input.value;
    label.append(input, ...mark(facet, place), shown || "not logged");
    return label;
  });
  function pick(places) {
    asked.picked[k] = new Set(places);
    inputs.forEach((input, place) => (input.checked = asked.picked[k].has(place)));
    all.textContent = places.length === facet.offered ? "none" : "all";
    all.setAttribute("aria-label", `${facet.title}: ${all.textContent}`);
    update();
  }
  all.textContent = "none";
  all.setAttribute("aria-label", `${facet.title}: none`);
  all.addEventListener("click", () => pick(asked.picked[k].size === facet.offered ? [] : inputs.map((_, place) => place)));
  legend.append(facet.title, " ", all);
  const ticked = document.createElement("div");
  ticked.append(...labels);
  set.append(legend, ticked);
  return set;
}

part("facets").append(...facets.flatMap((facet, k) => (facet.offered > 1 ? [boxes(facet, k)] : [])));
field("channel").append(...data.channels.map((channel) => new Option(channel.title, channel.name)));
field("channel").selectedIndex = asked.channel;
field("photographs").value = asked.photographs;
field("photographs").querySelector('[value="test"]').disabled = !data.tested;
field("channel").addEventListener("change", (event) => {
  asked.channel = event.target.selectedIndex;
  update();
});
for (const choice of ["fidelity", "photographs"])
  field(choice).addEventListener("change", (event) => {
    asked[choice] = event.target.value;
    if (choice === "fidelity") region.fidelity = [null, null];
    update();
  });
field("points").addEventListener("change", (event) => {
  asked.seeds = event.target.value === "trials";
  update();
});
for (const side of ["fidelity", "accuracy"])
  ["least", "below"].forEach((end, place) =>
    field(`${side}-${end}`).addEventListener("change", (event) => {
      const typed = event.target.value;
      region[side][place] = typed === "" ? null : Math.round(Number(typed) * unitOf(side));
      update();
    }));

function clear() {
  region = nowhere();
  update();
}

part("clear").addEventListener("click", clear);
root.addEventListener("keydown", (event) => {
  if (event.key === "Escape") clear();
});

for (const button of root.querySelectorAll("[data-copies]"))
  button.addEventListener("click", async () => {
    const source = part(button.dataset.copies);
    try {
      await navigator.clipboard.writeText(source.value);
    } catch {  // a page without the right to: by its selection
      source.select();
      document.execCommand("copy");
    }
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = "Copy"), 1500);
  });

root.hidden = false;
update();
new ResizeObserver((entries) => {
  if (entries[0].contentRect.width !== Number(part("plot").getAttribute("viewBox").split(" ")[2])) update();
}).observe(part("plot"));
