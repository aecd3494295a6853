// Fidelity against accuracy as SVG: points, fronts, and a region that is dragged.

const SHAPES = [  // of cameras, for a radius of 1
  "M-1,0C-1,-.55 -.55,-1 0,-1S1,-.55 1,0 .55,1 0,1 -1,.55 -1,0Z",
  "M-.9,-.9H.9V.9H-.9Z",
  "M0,-1.2L1.1,.8H-1.1Z",
  "M0,-1.3L1.1,0L0,1.3L-1.1,0Z",
  "M0,1.2L1.1,-.8H-1.1Z",
  "M-.4,-1.2H.4V-.4H1.2V.4H.4V1.2H-.4V.4H-1.2V-.4H-.4Z",
];
const MARGIN = {left: 46, right: 10, top: 10, bottom: 40};
const REACH = 20;  // px from the pointer to a point

const facetNamed = (name) => facets.find((facet) => facet.name === name);
const colourOf = (place) => `var(--palette-${facetNamed("isp").marks[place] ?? 5})`;
const shapeOf = (place) => SHAPES[place % SHAPES.length];
const scaled = (shape, radius) => shape.replace(/-?\d*\.?\d+/g, (number) => number * radius);

function element(name, attributes, parent) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  parent?.append(made);
  return made;
}

function change(made, attribute, value) {
  if (made.getAttribute(attribute) !== value) made.setAttribute(attribute, value);
}

function text(content, attributes, parent) {
  element("text", attributes, parent).textContent = content;
}

/** Round values for ticks within a range, about `count`. */
function ticks([low, high], count) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((factor) => factor * power >= rough) * power;
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  const first = Math.ceil(low / step - 1e-9);
  const number = Math.floor(high / step + 1e-9) - first + 1;
  return Array.from({length: number}, (_, k) => [(first + k) * step, ((first + k) * step).toFixed(digits)]);
}

/** The range of values with a margin around them; of one value, or none, too. */
function rangeOf(values, least) {
  const low = values.reduce((a, b) => Math.min(a, b), Infinity);
  const high = values.reduce((a, b) => Math.max(a, b), -Infinity);
  if (low > high) return [0, 1];
  const margin = Math.max(0.06 * (high - low), least);
  return [low - margin, high + margin];
}

/**
 * A plot in an empty element `svg`.
 *
 * @param tell {hover(point), keep(point or null), drag(region in values of the axes)}: what the reader does
 * @param name of a point, for screen readers
 */
function plotIn(svg, tell, name) {
  const layers = {};
  for (const layer of ["grid", "fronts", "region", "points", "active"]) layers[layer] = element("g", {class: layer}, svg);
  svg.setAttribute("role", "group");
  svg.setAttribute("aria-label", "Fidelity against accuracy");
  const marks = [];  // elements for points: more than there are points, after fewer were picked
  const state = {points: [], active: 0, start: null};
  let scale = null;

  /** Draw points [{x, y, rows}] whose coordinates `axes` [{title, unit, least}] tells how to print. */
  function draw(points, region, axes, fronts, radius) {
    const width = svg.clientWidth || 640;
    const height = Math.round(Math.min(Math.max(0.68 * width, 280), 470));
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    svg.style.height = `${height}px`;
    const ranges = ["x", "y"].map((side, k) => rangeOf(points.map((point) => point[side] / axes[k].unit), axes[k].least));
    const span = [width - MARGIN.left - MARGIN.right, height - MARGIN.top - MARGIN.bottom];
    const along = (k, value) => (span[k] * (value - ranges[k][0])) / (ranges[k][1] - ranges[k][0]);
    scale = {
      width, height, axes,
      x: (units) => MARGIN.left + along(0, units / axes[0].unit),
      y: (units) => height - MARGIN.bottom - along(1, units / axes[1].unit),
      values: (px, py) => [
        axes[0].unit * (ranges[0][0] + ((px - MARGIN.left) / span[0]) * (ranges[0][1] - ranges[0][0])),
        axes[1].unit * (ranges[1][0] + ((height - MARGIN.bottom - py) / span[1]) * (ranges[1][1] - ranges[1][0])),
      ],
    };
    drawAxes(ranges);
    const focused = layers.points.contains(document.activeElement);
    const last = state.points[state.active];
    marks[state.active]?.setAttribute("tabindex", -1);
    state.points = points;
    state.active = Math.max(0, points.findIndex((point) => last && point.rows[0] === last.rows[0]));
    layers.fronts.replaceChildren(...fronts.map((front) =>
      element("polyline", {
        points: front.map((point) => `${scale.x(point.x).toFixed(1)},${scale.y(point.y).toFixed(1)}`).join(" "),
        stroke: colourOf(facetNamed("isp").column[front[0].rows[0]]),
      })));
    const onFront = new Set(fronts.flat());
    const [camera, isp] = [facetNamed("camera").column, facetNamed("isp").column];
    const shapes = SHAPES.map((shape) => scaled(shape, radius));
    points.forEach((point, number) => {
      marks[number] ??= element("path", {role: "button", tabindex: -1, "data-number": number});
      change(marks[number], "d", shapes[camera[point.rows[0]] % shapes.length]);
      change(marks[number], "class", `point colour-${facetNamed("isp").marks[isp[point.rows[0]]]}` +
        (isInside(point, region) ? "" : " outside") + (fronts.length && !onFront.has(point) ? " hollow" : ""));
      change(marks[number], "transform", `translate(${scale.x(point.x).toFixed(1)} ${scale.y(point.y).toFixed(1)})`);
    });
    while (layers.points.childElementCount > points.length) layers.points.lastChild.remove();
    layers.points.append(...marks.slice(layers.points.childElementCount, points.length));
    if (points.length) activate(state.active);
    if (focused) marks[state.active]?.focus();
    drawRegion(corners(region));
    layers.active.replaceChildren();
  }

  /** The point that the tab key reaches, with its name. */
  function activate(number) {
    marks[state.active]?.setAttribute("tabindex", -1);
    state.active = number;
    marks[number].setAttribute("tabindex", 0);
    marks[number].setAttribute("aria-label", name(state.points[number]));
  }

  function drawAxes(ranges) {
    const {width, height, axes} = scale;
    const [bottom, right] = [height - MARGIN.bottom, width - MARGIN.right];
    layers.grid.replaceChildren();
    for (const [value, label] of ticks(ranges[0], Math.min(8, width / 90))) {
      const x = scale.x(value * axes[0].unit);
      element("line", {x1: x, x2: x, y1: MARGIN.top, y2: bottom}, layers.grid);
      text(label, {x, y: bottom + 16, "text-anchor": "middle"}, layers.grid);
    }
    for (const [value, label] of ticks(ranges[1], 6)) {
      const y = scale.y(value * axes[1].unit);
      element("line", {x1: MARGIN.left, x2: right, y1: y, y2: y}, layers.grid);
      text(label, {x: MARGIN.left - 7, y: y + 4, "text-anchor": "end"}, layers.grid);
    }
    element("path", {d: `M${MARGIN.left},${MARGIN.top}V${bottom}H${right}`, class: "frame"}, layers.grid);
    text(axes[0].title, {x: (MARGIN.left + right) / 2, y: height - 6, "text-anchor": "middle"}, layers.grid);
    const middle = (MARGIN.top + bottom) / 2;
    text(axes[1].title, {x: 12, y: middle, "text-anchor": "middle", transform: `rotate(-90 12 ${middle})`}, layers.grid);
  }

  /** The region in pixels, [left, top, right, bottom], cut at the frame; null for everything. */
  function corners(region) {
    if ([...region.fidelity, ...region.accuracy].every((bound) => bound === null)) return null;
    const cut = (value, low, high) => Math.min(Math.max(value, low), high);
    const [right, bottom] = [scale.width - MARGIN.right, scale.height - MARGIN.bottom];
    const x = (units, open) => (units === null ? open : cut(scale.x(units), MARGIN.left, right));
    const y = (units, open) => (units === null ? open : cut(scale.y(units), MARGIN.top, bottom));
    return [x(region.fidelity[0], MARGIN.left), y(region.accuracy[1], MARGIN.top), x(region.fidelity[1], right), y(region.accuracy[0], bottom)];
  }

  function drawRegion(box) {
    layers.region.replaceChildren();
    if (box === null) return;
    const [x, y, right, bottom] = box;
    element("rect", {x, y, width: Math.max(right - x, 0), height: Math.max(bottom - y, 0)}, layers.region);
  }

  /** Ring the point that is named beside the plot. */
  function ring(point) {
    layers.active.replaceChildren();
    if (point && scale) element("circle", {cx: scale.x(point.x), cy: scale.y(point.y), r: 8}, layers.active);
  }

  // --- pointer ---

  const place = (event) => {
    const frame = svg.getBoundingClientRect();
    return [event.clientX - frame.left, event.clientY - frame.top];
  };

  function nearest([px, py]) {
    let [found, least] = [null, REACH];
    for (const point of state.points) {
      const distance = Math.hypot(scale.x(point.x) - px, scale.y(point.y) - py);
      if (distance < least) [found, least] = [point, distance];
    }
    return found;
  }

  const box = ([a, b], [c, d]) => [Math.min(a, c), Math.min(b, d), Math.max(a, c), Math.max(b, d)];
  const isDragged = ([a, b], [c, d]) => Math.hypot(a - c, b - d) > 5;

  svg.addEventListener("pointerdown", (event) => {
    if (!event.isPrimary || event.button !== 0) return;
    event.preventDefault();
    state.start = place(event);
    svg.setPointerCapture(event.pointerId);
  });
  svg.addEventListener("pointermove", (event) => {
    const here = place(event);
    if (state.start && isDragged(state.start, here)) drawRegion(box(state.start, here));
    else if (!state.start) {
      const point = nearest(here);
      if (point) tell.hover(point);
    }
  });
  svg.addEventListener("pointerup", (event) => {
    if (!state.start) return;
    const [start, here] = [state.start, place(event)];
    state.start = null;
    if (!isDragged(start, here)) return tell.keep(nearest(here));
    const [left, top, right, bottom] = box(start, here);
    const [[x, y], [u, v]] = [scale.values(left, bottom), scale.values(right, top)];
    tell.drag({fidelity: [x, u], accuracy: [y, v]});
  });
  svg.addEventListener("pointercancel", () => {
    state.start = null;
    tell.drag(null);
  });

  // --- keyboard: one stop for the tab key, arrows lead from point to point ---
  // The listeners are the parent's: Chromium gives the focus to an element of SVG that listens to keys.

  const isPoint = (event) => event.target.dataset.number !== undefined;

  svg.parentElement.addEventListener("focusin", (event) => {
    if (!isPoint(event)) return;
    activate(Number(event.target.dataset.number));
    tell.hover(state.points[state.active], true);
  });
  svg.parentElement.addEventListener("keydown", (event) => {
    if (!isPoint(event)) return;
    const side = {ArrowLeft: "x", ArrowRight: "x", ArrowUp: "y", ArrowDown: "y", Home: "x", End: "x"}[event.key];
    if (event.key === "Enter" || event.key === " ") tell.keep(state.points[state.active]);
    else if (side) {
      const order = state.points.map((_, number) => number).sort((a, b) => state.points[a][side] - state.points[b][side]);
      const step = ["ArrowRight", "ArrowUp"].includes(event.key) ? 1 : -1;
      const next = {Home: 0, End: order.length - 1}[event.key] ?? order.indexOf(state.active) + step;
      activate(order[Math.min(Math.max(next, 0), order.length - 1)]);
      marks[state.active].focus();
    } else return;
    event.preventDefault();
  });

  return {draw, ring};
}
