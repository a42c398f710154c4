// The walk: steps forward and back through a trace, pictures of its arrays, and the sum behind the number that a person
// points at. All numbers come from the trace; Sums (sums.js) adds them up. Without a server it shows what is in the file.
"use strict";

const Walk = (() => {
  const el = (id) => document.getElementById(id);
  const MOST_TILES = 64; // of the strip of small pictures below a large one
  const PLAY_MS = 5000; // per step
  const NUMBERS_FROM = 30; // width in pixels of a cell that has room for its number
  const ROWS = 200; // that are added at a time to the list of all summands
  const ZOOMED = 48; // side in pixels of a cell of an enlarged picture
  
  let trace = null, first = null; // the trace shown, and the one before any practice
  let extras = { sources: {}, formulas: {}, checks: [], practice: [], saliency: null };
  let services = null; // {check(name, index), practise(settings)} of a server; null in a file
  let steps = [], current = 0, timer = null;
  let chosen = null; // {layer, quantity, index, sum}, or {quantity: "score", …} at the loss
  let pinned = false;
  let views = []; // the pictures of this step
  let spot = null; // the summand whose numbers are marked most in the pictures
  const maps = new Map(); // point of the network (see madeAt) → the map or unit that is chosen there, in both directions
  const places = new Map(); // point, or name of a layer with weights → the row and the column that a reader chose
  const zoomed = new Set(); // names of the arrays whose pictures are enlarged
  let practised = null, dropped = ""; // the steps taken, and a sentence about those that another setting ended
  let outdated = ""; // a sentence, where the page has another drawing or answer than this walk
  let own = null; // {name, index, how} of the weight that a reader checked or chose last, to show how the steps move it
  let round = 0; // of practice: steps that arrive in a later round than that in which they were asked for are dropped

  // ----------------------------------------------------------------------------------------------------- small things

  function make(tag, properties = {}, ...children) {
    const { data, ...rest } = properties, node = Object.assign(document.createElement(tag), rest);
    for (const [name, value] of Object.entries(data || {})) node.setAttribute(name, value);
    node.append(...children.filter((child) => child !== null && child !== undefined));
    return node;
  }

  const colourOf = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const rgb = (name) => [1, 3, 5].map((i) => parseInt(colourOf(name).slice(i, i + 2), 16));

  /** A number as people read it, with a real minus: 5 significant digits unless told otherwise. */
  function text(value, digits = 5) {
    if (!Number.isFinite(value)) return String(value);
    if (value === 0) return "0";
    const size = Math.abs(value);
    const plain = size >= 1e-4 && size < 1e6 ? String(Number(value.toPrecision(digits))) : power(value, digits);
    return plain.replace(/^-/, "−");
  }

  const RAISED = "⁰¹²³⁴⁵⁶⁷⁸⁹";
  function power(value, digits) {
    const [mantissa, exponent] = value.toExponential(digits - 1).split("e");
    const raised = [...String(Math.abs(exponent))].map((digit) => RAISED[digit]).join("");
    return `${Number(mantissa)}·10${exponent < 0 ? "⁻" : ""}${raised}`;
  }


  /** A probability with one decimal, as in tinycnn/metrics.py. Softmax makes no 0 and no 1; both are rounded. */
  function percent(share) {
    const text = (100 * share).toFixed(1);
    return text === "100.0" ? ">99.9 %" : text === "0.0" ? "<0.1 %" : `${text} %`;
  }

  /** A number between −1 and 1; one that only rounding makes 1 or −1 is shown as a bound. */
  function shareText(value) {
    const isRounded = Math.abs(value) < 1 && Math.abs(value) >= 0.99995;
    return !isRounded ? text(value, 4) : value > 0 ? "> 0.9999" : "< −0.9999";
  }

  /** A number in brief, with as many digits as show that it is not 1 or −1. */
  const briefText = (value) => text(value, Math.abs(value) < 1 && Math.abs(value) >= 0.999995 ? 8 : 5);

  /** A loss is never 0; below 0.0001 it is only rounded to it. */
  const isLoss = (loss) => (loss < 1e-4 ? ", which is below 0.0001" : ` = ${lossText(loss)}`); // after a term for it
  const lossText = (loss) => (loss < 1e-4 ? "< 0.0001" : loss < 1e5 ? loss.toPrecision(5) : text(loss));

  const count = (number, one, many) => `${number.toLocaleString("en")} ${number === 1 ? one : many}`;

  const brackets = (value, digits = 5) => (value < 0 ? `(${text(value, digits)})` : text(value, digits));
  const label = (k) => trace.class_names[k];
  const layerNumber = (name) => trace.layers.findIndex((layer) => layer.name === name);

  const AXES = { 1: ["unit"], 2: ["input", "unit"], 3: ["row", "column", "map"], 4: ["row", "column", "channel", "filter"] };
  const axesOf = (shape, name = "") => (shape.length === 1 ? [unitOf(name)] : AXES[shape.length]) || shape.map((_, axis) => `axis ${axis}`);

  /** What a number of a row is: of a bias, that of one filter; of batch norm, that of one map; of a dense layer, a unit. */
  function unitOf(name) {
    const number = layerNumber(name.split(".")[0]), layer = trace.layers[number];
    if (!layer) return "unit";
    if (layer.kind.endsWith("Conv2d")) return "filter";
    if (layer.y.shape.length === 3 || layer.kind === "GlobalAvgPool2d") return "map";
    const made = trace.layers.slice(0, number + 1).findLast(({ kind, x, y }) => kind === "Dense" || x.shape.length !== y.shape.length);
    return made && made.kind !== "Dense" ? "number" : "unit"; // a flattened map has no units
  }

  /** Where a number stands, in words: "row 3, column 4, map 2". Counted from 0, as in the source. */
  function place(array, index) {
    const names = axesOf(array.shape, array.name), isImage = array.name === "input" || array.name === "input.grad";
    const kept = isImage && array.shape[2] === 1 ? 2 : index.length;
    return index.slice(0, kept).map((i, axis) => placeOn(names[axis], i)).join(", ");
  }

  /** A place on an axis. "input 471" would read as an input whose value is 471. */
  const placeOn = (name, i) => (name === "input" ? `input number ${i}` : `${name} ${i}`);

  // --------------------------------------------------------------------------------------------------------- the steps

  function listSteps() {
    const forward = trace.layers.map((layer) => ({ pass: "forward", layer }));
    const back = [...trace.layers].reverse().map((layer) => ({ pass: "backward", layer }));
    return [...forward, { pass: "loss" }, ...back];
  }

  const titleOf = ({ pass, layer }) =>
    pass === "loss" ? "The loss" : `${layer.name}, ${pass === "forward" ? "forward" : "back"}`;

  function makeTrack() {
    const track = el("track"), lines = [make("span", { className: "line", textContent: "forward →" }), make("span", { className: "line", textContent: "back ←" })];
    const buttonOf = (step) => {
      const button = make("button", { type: "button", textContent: step.pass === "loss" ? "softmax, loss" : step.layer.name });
      button.addEventListener("click", () => go(steps.indexOf(step)));
      if (step.pass === "loss") button.className = "both";
      else button.setAttribute("aria-label", titleOf(step));
      return (step.button = button);
    };
    const n = trace.layers.length, last = steps.length - 1, buttons = steps.map(buttonOf); // in the order of the walk
    [...lines, ...buttons].forEach((node, k) => {
      const i = k - lines.length; // the step, or one of the two titles on the left
      node.style.gridColumn = i < 0 ? 1 : (i <= n ? i : last - i) + 2;
      node.style.gridRow = i === n ? "1 / span 2" : i < 0 ? k + 1 : i < n ? 1 : 2;
    });
    track.replaceChildren(...lines, ...buttons);
    el("jump").replaceChildren(...steps.map((step, i) => make("option", { value: i, textContent: `${titleOf(step)} (${i + 1}/${steps.length})` })));
  }

  function go(number, selection = null, { scrolls = true, holds = selection !== null, pushes = scrolls && selection !== null } = {}) {
    if (pushes) remember(true); // Back in the browser returns to where a link was followed
    const isInTrack = el("track").contains(document.activeElement);
    current = Math.max(0, Math.min(steps.length - 1, number));
    const step = steps[current];
    for (const one of steps) {
      one.button.removeAttribute("aria-current");
      one.button.tabIndex = one === step ? 0 : -1; // Tab stops once in the row of steps; the arrows go along the way
    }
    step.button.setAttribute("aria-current", "step");
    if (isInTrack) step.button.focus({ preventScroll: true });
    reveal(step.button);
    el("jump").value = String(current);
    for (const [id, other] of [["previous", steps[current - 1]], ["next", steps[current + 1]]]) {
      el(id).disabled = !other;
      el(id).title = other ? titleOf(other) : "";
    }
    el("step-title").textContent = titleOf(step);
    pinned = holds;
    chosen = null;
    notice("");
    showStep(step);
    select(selection || firstChoice(step), true);
    restartAnimation();
    if (scrolls && el("step-title").getBoundingClientRect().top < el("track").parentElement.offsetHeight * (getComputedStyle(el("track").parentElement).position === "sticky")) el("step-title").scrollIntoView();
  }

  function reveal(button) {
    const track = el("track"), middle = button.offsetLeft + button.offsetWidth / 2 - track.clientWidth / 2;
    track.scrollLeft = middle;
    fadeTrack();
  }

  /** Fades the ends of the row of steps beyond which there are more. */
  function fadeTrack() {
    const track = el("track"), room = track.scrollWidth - track.clientWidth;
    track.classList.toggle("more-left", track.scrollLeft > 1);
    track.classList.toggle("more-right", track.scrollLeft < room - 1);
  }

  function restartAnimation() {
    const panels = el("panels");
    panels.classList.remove("fresh");
    void panels.offsetWidth;
    panels.classList.add("fresh");
  }

  /** What is chosen when a step is entered: a number of its most telling array, in the map and at the place that stay chosen. */
  function firstChoice({ pass, layer }) {
    if (pass === "loss") return { quantity: "score", index: [trace.label] };
    const known = Sums.quantities(layer), wanted = layer.branches ? [] : ["weight.grad", "gamma.grad"];
    const quantity = pass === "forward" ? "y" : wanted.find((name) => known.includes(name)) || "grad_x";
    return { layer, quantity, index: chosenIndex(layer, quantity) };
  }

  // ----------------------------------------------------------------------------- what stays chosen from step to step

  // A point of the network is the number of layers before it: 0 is the picture, n the output of layer n. The output of a
  // ReLU or a pool has the maps of its input, so the chosen map is kept where these maps were made. So are the places.

  /** The first point that has the same maps or, if `isPlace`, also the same rows and columns as this one. */
  function madeAt(point, isPlace = false) {
    while (point > 0 && (isElementwise(trace.layers[point - 1]) || (!isPlace && keepsMaps(trace.layers[point - 1])))) point -= 1;
    return point;
  }

  const ELEMENTWISE = ["BatchNorm", "Dropout", "Identity", "LeakyReLU", "ReLU", "Rescaling", "Sigmoid", "Tanh"];
  const isElementwise = ({ kind }) => ELEMENTWISE.includes(kind);

  /** The points before and after a layer; of a trace after practice, too. */
  function pointsOf(layer) {
    const number = layerNumber(layer.name);
    return [number, number + 1];
  }

  const pointOf = (layer, quantity) => pointsOf(layer)[isPixels(quantity) ? 0 : 1];
  const pairAt = (point) => (point ? [trace.layers[point - 1].y, trace.layers[point - 1].grad_y] : [trace.layers[0].x, trace.layers[0].grad_x]);

  /** Where the chosen number of an axis (map, filter, channel, unit) of an array is kept: a point, or a name of its own. */
  function keeperOf(layer, quantity, array, axis) {
    const [before, after] = pointsOf(layer), isWeight = quantity.replace(/\.grad$/, "") in layer.weights;
    const isOfInput = isPixels(quantity) || (isWeight && array.shape.length === 4 && axis === 2);
    const isOfBranch = quantity.includes(".") && !isWeight, point = isOfInput ? before : after;
    if (!isOfBranch && array.shape[axis] === pairAt(point)[0].shape.at(-1)) return madeAt(point);
    return `${array.name.replace(/\.grad$/, "")} ${axis}`; // of a grouped convolution, or of a branch
  }

  /** The map that is chosen at a point. At first, both ways: that of the weight with the largest gradient, or with none, of the number with the largest share in the loss. */
  function mapAt(keeper) {
    if (!maps.has(keeper)) maps.set(keeper, typeof keeper === "number" ? firstMap(keeper) : 0);
    return maps.get(keeper);
  }

  function firstMap(point) {
    const [values, gradient] = pairAt(point), count = values.shape.at(-1), weight = point ? trace.layers[point - 1].weights.weight : null;
    const isMadeByWeights = weight && weight.grad && weight.grad.shape.at(-1) === count;
    const sizeOf = (i) => Math.abs(isMadeByWeights ? weight.grad.data[i] : values.data[i] * gradient.data[i]);
    return mostOf((isMadeByWeights ? weight.grad : values).data.keys(), sizeOf) % count;
  }

  /** The first of these positions with the largest size. */
  function mostOf(positions, sizeOf) {
    let best = 0, most = -1;
    for (const i of positions) {
      const size = sizeOf(i);
      if (size > most) [best, most] = [i, size];
    }
    return best;
  }

  /** Row and column of the chosen number at a point with maps. If a reader chose none: where value × gradient, else the value, is largest in the chosen map. */
  function placeAt(point) {
    const made = madeAt(point, true);
    if (places.has(made)) return places.get(made);
    const [values, gradient] = pairAt(made), map = mapAt(madeAt(point)), count = values.shape.at(-1);
    const positions = Array.from({ length: values.data.length / count }, (_, i) => i * count + map);
    const share = (i) => Math.abs(values.data[i] * gradient.data[i]), hasShare = positions.some((i) => share(i) > 0);
    return Sums.unflat(values.shape, mostOf(positions, hasShare ? share : (i) => Math.abs(values.data[i]))).slice(0, 2);
  }

  /** The index in an array of a layer that belongs to the chosen map and place. */
  function chosenIndex(layer, quantity) {
    const array = Sums.arrayOf(layer, quantity), { shape } = array, point = pointOf(layer, quantity), [before, after] = pointsOf(layer);
    const mapOn = (axis) => mapAt(keeperOf(layer, quantity, array, axis));
    if (quantity in layer && shape.length === 3) {
      const map = mapOn(2);
      if (!isPool(layer) || !isPixels(quantity)) return [...placeAt(point), map];
      const [oh, ow] = placeAt(after), { rows, columns } = Sums.windowBox(layer, oh, ow);
      return layer.kind === "MaxPool2d" ? [...Sums.winnerOf(layer, oh, ow, map), map] : [rows[0], columns[0], map];
    }
    if (layer.kind === "Flatten" && quantity === "y" && layer.x.shape.length === 3) return [Sums.flat(layer.x.shape, [...placeAt(before), mapAt(madeAt(before))])];
    if (shape.length === 1) return [mapOn(0)];
    const fixed = shape.length === 4 ? [2, 3] : [1], wanted = fixed.map(mapOn), kept = places.get(layer.name);
    if (kept) return [...kept, ...wanted];
    const inMap = [...array.data.keys()].filter((i) => String(Sums.unflat(shape, i).slice(-fixed.length)) === String(wanted));
    return Sums.unflat(shape, mostOf(inMap, (i) => Math.abs(array.data[i])));
  }

  /** Remembers the number that a reader chose, so that the way back opens at it, or where it went, and the other way round. */
  function keep({ layer, quantity, index }) {
    const array = Sums.arrayOf(layer, quantity), isWeight = quantity.replace(/\.grad$/, "") in layer.weights, [before, after] = pointsOf(layer);
    if (quantity.includes(".") && !isWeight) return; // of a branch
    if (isWeight && index.length > 1) places.set(layer.name, index.slice(0, index.length === 4 ? 2 : 1));
    else if (index.length === 3) keepPlace(layer, quantity, index);
    else if (layer.kind === "Flatten" && !isPixels(quantity) && layer.x.shape.length === 3) {
      const [row, column, map] = Sums.unflat(layer.x.shape, index[0]);
      places.set(madeAt(before, true), [row, column]);
      maps.set(madeAt(before), map);
    } else if (index.length === 1) maps.set(keeperOf(layer, quantity, array, 0), index[0]);
  }

  /** A pixel that was chosen before windows also chooses the window in which it counts. */
  function keepPlace(layer, quantity, [row, column, map]) {
    const [before, after] = pointsOf(layer), isWindowed = layer.kind === "Conv2d" || isPool(layer);
    places.set(madeAt(isPixels(quantity) ? before : after, true), [row, column]);
    if (!isPixels(quantity) || !isWindowed) return;
    const windows = Sums.covering(layer, row, column), [r, c] = placeAt(after);
    if (!windows.length || (layer.kind !== "MaxPool2d" && windows.some(({ oh, ow }) => oh === r && ow === c))) return;
    const won = layer.kind === "MaxPool2d" ? windows.find(({ oh, ow }) => String(Sums.winnerOf(layer, oh, ow, map)) === String([row, column])) : null;
    const { oh, ow } = won || windows[Math.floor(windows.length / 2)];
    places.set(madeAt(after, true), [oh, ow]);
  }

  const TEXTS = {
    Conv2d: {
      forward: "A filter slides over its input. At each place, every weight is multiplied by the pixel under it, and the products are added: one output pixel.",
      backward: "Each weight was used at every place, so its gradient is a sum over all places of (the pixel under the weight) × (the gradient of the output pixel computed there). An input pixel was part of several windows, so its gradient is a sum over these windows of (the gradient of the output pixel) × (the weight on the input pixel). The bias of a filter was added at every place, so its gradient is the sum of the gradients of all its output pixels.",
    },
    MaxPool2d: {
      forward: "Each window passes on its largest number, the winner (dot). The others have no effect. If several are equally large, as in a window of zeros, the first of them wins, row by row from the top left.",
      backward: "The output of a window is a copy of its winner (dot), so the winner gets the whole gradient of the window. Raising a smaller pixel a little would not change the output, so it gets 0. In a tie, several pixels are equally large; the first of them, row by row, counts as the winner. A window of zeros therefore has a dot, too.",
    },
    AvgPool2d: {
      forward: "Each window becomes its mean.",
      backward: "Each pixel of a window had the same share in the mean, so each gets the same share of the gradient.",
    },
    GlobalAvgPool2d: {
      forward: "Each map becomes one number, its mean.",
      backward: "Each pixel of a map had the same share in the mean, so each gets the same share of the gradient.",
    },
    ReLU: {
      forward: "A gate for each number: positive ones pass, the others become 0 (struck out).",
      backward: "Where the gate was open, the gradient passes unchanged. Where it was closed (struck out), the input had no effect, so its gradient is 0.",
    },
    Flatten: {
      forward: "The maps are written as one long row. Nothing is computed.",
      backward: "Each gradient goes back to the place that its number came from. Nothing is computed.",
    },
    Dense: {
      forward: "Every unit is a weighted sum of all inputs, plus a bias.",
      backward: "A unit is one number of the output. A weight multiplied one input for one unit, so its gradient is one product: (the input) × (the gradient of the unit). An input went into every unit, so its gradient is a sum over all units of (the gradient of the unit) × (the weight between the two). A bias was added to one unit, so its gradient is that of the unit.",
    },
    Dropout: {
      forward: "In training mode, numbers are dropped at random (struck out), and the others are scaled up. In a prediction, all pass.",
      backward: "The gradient is multiplied by the same mask: what was dropped had no effect, so its gradient is 0.",
    },
    BatchNorm: {
      forward: "Each channel is shifted and scaled to mean 0 and variance 1, then scaled by gamma and shifted by beta.",
      backward: "With a fixed mean and variance (as in a prediction), the gradient is scaled as the number was. In training mode, mean and variance are those of this very picture, and each number also moved them: two more summands. Gamma and beta were used at every place of their channel, so their gradients are sums over these places.",
    },
    LeakyReLU: { forward: "Positive numbers pass, the others are multiplied by a small slope.", backward: "The gradient is multiplied by the same slope: 1 for positive inputs, the small one for others." },
    Sigmoid: { forward: "Each number becomes one between 0 and 1.", backward: "The gradient is multiplied by the slope of the curve at this place, which is flat far from 0." },
    Tanh: { forward: "Each number becomes one between −1 and 1.", backward: "The gradient is multiplied by the slope of the curve at this place, which is flat far from 0." },
    Rescaling: { forward: "Each number is multiplied by a constant.", backward: "The gradient is multiplied by the same constant." },
    Add: {
      forward: "The input goes into several branches, and their outputs are added.",
      backward: "Each branch gets a copy of the gradient that arrives, since a sum grows as fast as each summand. Each branch passes a gradient back to the input; these are added, because the input went into all of them.",
    },
    Multiply: {
      forward: "The input goes into several branches, and their outputs are multiplied.",
      backward: "Each branch gets the gradient that arrives × the outputs of the other branches. Each passes a gradient back to the input; these are added, because the input went into all of them.",
    },
    Concatenate: {
      forward: "The input goes into several branches. Their maps are put one after the other; nothing is computed.",
      backward: "Each branch gets the gradients of its own maps. Each passes a gradient back to the input; these are added, because the input went into all of them.",
    },
  };

  TEXTS.Residual = { ...TEXTS.Add, forward: "The input takes two ways, through the layers of the body and through the shortcut, and the two outputs are added." };
  const INSIDE = " The layers inside the branches are not written out: of their weights, the page shows the gradients without sums.";

  function textOf({ pass, layer }) {
    if (pass === "loss") {
      const p = at(trace.arrays.probabilities, trace.label), last = trace.layers.at(-1).name;
      return `${last} computed one score for each class. Softmax turns the scores into probabilities p, which are positive and add up to 1. The label, ${label(trace.label)}, which is the answer that the network should give, gets p = ${text(p)}. Loss = −log p = −log ${text(p)}${isLoss(trace.loss)}, with the natural logarithm.`;
    }
    const own = TEXTS[layer.kind];
    if (own) return own[pass] + (layer.branches && layer.parameters.length ? INSIDE : "");
    if (Sums.isKnown(layer)) return `${layer.kind} passes its input on unchanged.`;
    return `${layer.kind}: its numbers are shown, but this page does not know how to write them out as sums.`;
  }

  const at = (array, i) => array.data[i];

  function showStep(step) {
    const after = trace === first ? "" : `After ${count(practised.steps, "training step", "training steps")}: `;
    el("step-text").textContent = after + textOf(step);
    el("to-steps").hidden = step.pass !== "loss";
    el("chain-rule").hidden = step.pass !== "backward";
    views = [];
    if (step.pass === "loss") {
      el("panels").replaceChildren(makeBars());
      el("swipe").hidden = true;
      return fitEquations(el("panels"));
    }
    const { layer } = step, isBack = step.pass === "backward", panels = [];
    const show = (quantity, title) => {
      const array = Sums.arrayOf(layer, quantity);
      if (array) panels.push((views[views.length] = makeView(step, array, quantity, title)).node);
    };
    const branches = layer.branches || [];
    if (isBack) {
      const after = trace.layers[trace.layers.indexOf(layer) + 1], before = trace.layers[trace.layers.indexOf(layer) - 1];
      show("grad_y", `Arrives from ${after ? after.name : "the loss"}: gradient of the output`);
      show("x", layer.x.name === "input" ? "The picture" : "Input, on the way forward");
      for (const name of branches) {
        show(`${name}.out.grad`, `Goes into ${name}: gradient of its output`);
        show(`${name}.in.grad`, `${name} passes back: its part of the gradient of the input`);
      }
      for (const name of layer.parameters) {
        show(`${name}.grad`, `Gradient of ${name}`);
        show(name, name);
      }
      show("grad_x", layer.x.name === "input" ? "Gradient of the picture" : `Passed on to ${before && before.name}: gradient of the input`);
    } else {
      show("x", layer.x.name === "input" ? "The picture" : "Input");
      for (const name of layer.parameters) show(name, name);
      for (const name of branches) show(`${name}.out`, `Output of ${name}`);
      if ("mask" in layer.kept) show("mask", "mask");
      show("y", "Output");
    }
    el("panels").replaceChildren(...panels);
    el("swipe").hidden = panels.length < 2;
    el("swipe").textContent = `${panels.length} pictures side by side: swipe or scroll to see the others.`;
    views.forEach((view) => view.draw());
  }

  // -------------------------------------------------------------------------------------- pictures of arrays, and cells

  /** How an array is laid out as a picture of rows and columns, with the axes that are chosen one at a time. */
  function layout(shape) {
    const columnsOf = (length) => (length <= 12 ? length : length <= 200 ? 10 : length <= 600 ? 20 : length <= 2000 ? 40 : 100);
    if (shape.length === 3) {
      return { rows: shape[0], columns: shape[1], axes: [2], names: ["map"], index: (r, c, [map]) => [r, c, map], cell: ([r, c, map]) => [r, c, [map]] };
    }
    if (shape.length === 4) {
      return {
        rows: shape[0], columns: shape[1], axes: [3, 2], names: ["filter", "channel"],
        index: (r, c, [filter, channel]) => [r, c, channel, filter], cell: ([r, c, channel, filter]) => [r, c, [filter, channel]],
      };
    }
    const columns = columnsOf(shape[0]), rows = Math.ceil(shape[0] / columns), units = shape.length === 2;
    const inside = (r, c) => r * columns + c < shape[0];
    return {
      rows, columns, axes: units ? [1] : [], names: ["unit"], isVector: true,
      index: (r, c, [unit]) => (inside(r, c) ? (units ? [r * columns + c, unit] : [r * columns + c]) : null),
      cell: ([i, unit]) => [Math.floor(i / columns), i % columns, units ? [unit] : []],
    };
  }

  const largestOf = (array) => array.data.reduce((largest, value) => Math.max(largest, Math.abs(value)), 0) || 1;
  const isPool = ({ kind }) => kind === "MaxPool2d" || kind === "AvgPool2d";
  const isPixels = (quantity) => quantity === "x" || quantity === "grad_x";

  /** Dots and strokes over cells: the winners of a pool, closed gates, dropped values, and pixels in no window. */
  function markOf(layer, quantity, index) {
    if (isPixels(quantity) && uncovered(layer).size && uncovered(layer).has(index.slice(0, 2).join())) return "cross";
    if (layer.kind === "MaxPool2d" && isPixels(quantity)) {
      return (layer.winners = layer.winners || winnersOf(layer)).has(Sums.flat(layer.x.shape, index)) ? "dot" : null;
    }
    const gated = quantity === "y" || quantity === "grad_x";
    if (layer.kind === "ReLU" && (gated || quantity === "x")) return Sums.at(layer.y, index) > 0 ? null : "stroke";
    if ("mask" in layer.kept && gated) return Sums.at(layer.kept.mask, index) > 0 ? null : "stroke";
    return null;
  }

  /** The numbers of a gradient, as "0,1,0,2", whose checks the file holds; with a server, every number can be checked. */
  function checkedOf(layer, quantity) {
    const name = quantity === "grad_x" && layer.x.name === "input" ? "input" : quantity.endsWith(".grad") ? `${layer.name}.${quantity.slice(0, -5)}` : "";
    return new Set(services || trace !== first ? [] : extras.checks.filter((one) => one.name === name).map(({ index }) => index.join()));
  }

  /** What the marks of a picture mean. */
  function meaningOfMarks(layer, quantity) {
    const words = [];
    if (isPixels(quantity) && layer.kind === "MaxPool2d") words.push("dot: the winner of its window");
    if (isPixels(quantity) && isPool(layer) && Sums.isTiling(layer)) words.push("lines: the windows");
    if (isPixels(quantity) && uncovered(layer).size) words.push("cross: in no window");
    if (layer.kind === "ReLU" && quantity !== "grad_y") words.push("stroke: the gate is closed");
    if ("mask" in layer.kept && (quantity === "y" || quantity === "grad_x")) words.push("stroke: dropped");
    if (checkedOf(layer, quantity).size) words.push("dark corner: this file holds its check");
    return words.length ? make("p", { className: "hint marks", textContent: words.join("; ") }) : null;
  }

  /** The places "row,column" of the input that no window of the layer reaches. */
  function uncovered(layer) {
    if (!layer.uncovered) {
      layer.uncovered = new Set();
      const [H, W] = layer.x.shape, isWindowed = isPool(layer) || layer.kind === "Conv2d";
      for (let h = 0; isWindowed && h < H; h++) {
        for (let w = 0; w < W; w++) if (!Sums.covering(layer, h, w).length) layer.uncovered.add(`${h},${w}`);
      }
    }
    return layer.uncovered;
  }

  function winnersOf(layer) {
    const [OH, OW, C] = layer.y.shape, found = new Set();
    for (let oh = 0; oh < OH; oh++) {
      for (let ow = 0; ow < OW; ow++) {
        for (let c = 0; c < C; c++) found.add(Sums.flat(layer.x.shape, [...Sums.winnerOf(layer, oh, ow, c), c]));
      }
    }
    return found;
  }

  function makeView(step, array, quantity, title) {
    const { layer } = step, form = layout(array.shape), scale = largestOf(array);
    const isPicture = array.name === "input" && array.data.every((value) => value >= 0);
    const checked = checkedOf(layer, quantity);
    const canChoose = Sums.quantities(layer).includes(quantity) && (step.pass === "forward") === (quantity === "y");
    const canvas = make("canvas", { className: "map", tabIndex: 0, data: { role: "application", "aria-roledescription": "picture of numbers" } }); // a screen reader passes the arrow keys on
    const strip = make("canvas", { className: "strip", data: { "aria-hidden": "true" } });
    const choosers = form.axes.filter((axis) => array.shape[axis] > 1).map((axis) => makeChooser(axis));
    const legend = make("div", { className: isPicture ? "legend ink" : "legend", data: { "aria-hidden": "true" } }, isPicture ? "0" : `−${text(scale, 3)}`, make("i"), text(scale, 3));
    const size = array.shape.join("×"), pane = make("div", { className: "pane" }, canvas);
    const larger = make("button", { type: "button", className: "larger" }), tools = make("div", { className: "tools row" }, ...choosers.map(({ row }) => row), larger);
    const counted = form.isVector && form.rows > 1 ? make("p", { className: "hint marks", textContent: `${array.shape.length === 2 ? "input" : "index"}: the number on the left plus the number above` }) : null;
    const node = make("div", { className: "panel" }, make("h3", {}, `${title} `, make("small", { textContent: size, title: `how many: ${axesOf(array.shape, array.name).join(" × ")}` })), tools, pane, counted, meaningOfMarks(layer, quantity), strip, legend);
    const view = { node, title, array, quantity, layer, draw, show, isAt, turned, canChoose, moveBy };
    larger.addEventListener("click", () => {
      if (!zoomed.delete(array.name)) zoomed.add(array.name);
      draw();
      const part = spot && spot.factors.find((one) => one.array === array.name);
      const seen = isChosen(view) || isPartner(view) ? chosen.index : part ? part.index : null;
      if (seen) reach(form.cell(seen), true);
    });

    const keepers = form.axes.map((axis) => keeperOf(layer, quantity, array, axis));
    const slice = () => keepers.map(mapAt);

    function makeChooser(axis) {
      const name = form.names[form.axes.indexOf(axis)], output = make("output");
      const button = (sign, by) => {
        const one = make("button", { type: "button", textContent: sign, data: { "aria-label": `${by > 0 ? "next" : "previous"} ${name}` } });
        one.addEventListener("click", () => move(axis, by));
        return one;
      };
      return { axis, name, output, row: make("div", { className: "chooser row" }, button("−", -1), output, button("+", 1)) };
    }

    function move(axis, by) {
      const position = form.axes.indexOf(axis), own = slice();
      const next = [...own];
      next[position] = (own[position] + by + array.shape[axis]) % array.shape[axis];
      turnTo(next);
    }

    /** Shows another filter, channel or unit; the chosen number stays at its row and column, and other pictures turn with this one. */
    function turnTo(next) {
      keepers.forEach((keeper, i) => maps.set(keeper, next[i]));
      const mine = chosen && !isOfLoss(chosen.quantity) ? views.find((one) => isChosen(one)) : null, index = mine ? mine.turned(chosen.index) : null;
      if (index && String(index) !== String(chosen.index)) select({ ...chosen, index });
      else views.forEach((one) => one.draw());
    }

    /** The index at the same row and column in the slice that is shown now; of a number of a map, such as gamma, that of the map. */
    function turned(index) {
      if (form.axes.length) return form.index(...form.cell(index).slice(0, 2), slice());
      const isOfMap = quantity.replace(/\.grad$/, "") in layer.weights;
      return isOfMap && index.length === 1 ? [mapAt(keeperOf(layer, quantity, array, 0))] : index;
    }

    /** Turns to the slice that holds an index. */
    function show(index) {
      form.cell(index)[2].forEach((map, i) => maps.set(keepers[i], map));
    }

    /** Whether the slice that is shown holds an index. */
    function isAt(index) {
      return form.cell(index)[2].join() === slice().join();
    }

    /** Width and height of a cell, and the room for the indices on the left and above, in pixels of the page. */
    function geometry() {
      const labels = String(form.isVector ? (form.rows - 1) * form.columns : form.rows - 1), left = 7 * labels.length + 5, top = 15;
      const room = Math.min(node.clientWidth || 300, array.shape.length === 4 ? 220 : 352) - left;
      const natural = Math.max(3, Math.min(48, Math.floor(room / form.columns)));
      const isLarge = zoomed.has(array.name), width = isLarge ? Math.max(ZOOMED, natural) : natural;
      return { left, top, width, height: form.isVector && width >= NUMBERS_FROM ? 26 : width, isLarge, isSmall: natural < NUMBERS_FROM };
    }

    function draw() {
      const ratio = Math.max(1, Math.round(window.devicePixelRatio)), own = slice(), room = geometry();
      const scaled = Object.fromEntries(["left", "top", "width", "height"].map((name) => [name, room[name] * ratio])), { left, top, width, height } = scaled;
      choosers.forEach(({ axis, name, output }) => (output.textContent = `${name} ${own[form.axes.indexOf(axis)]} (of 0 to ${array.shape[axis] - 1})`));
      larger.hidden = !(room.isSmall || room.isLarge);
      larger.textContent = room.isLarge ? "Reduce" : "Enlarge";
      larger.setAttribute("aria-label", `${larger.textContent}: ${title}`);
      tools.hidden = larger.hidden && !choosers.length;
      pane.classList.toggle("large", room.isLarge);
      node.classList.toggle("wide-panel", room.isLarge);
      canvas.width = left + form.columns * width;
      canvas.height = top + form.rows * height;
      canvas.style.width = `${canvas.width / ratio}px`;
      const context = canvas.getContext("2d"), paint = painter(scale, isPicture);
      for (let r = 0; r < form.rows; r++) {
        for (let c = 0; c < form.columns; c++) {
          const index = form.index(r, c, own);
          if (!index) continue;
          const value = Sums.at(array, index), inner = width > 6 * ratio ? 1 : 0, x = left + c * width, y = top + r * height;
          context.fillStyle = paint(value);
          context.fillRect(x, y, width - inner, height - inner);
          if (checked.has(index.join())) markCorner(context, x + width - inner, y, Math.min(width, height), ratio);
          const isStrong = !isPicture && Math.sqrt(Math.abs(value) / scale) > 0.6, ink = colourOf(isStrong ? "--card" : "--text"), hasNumber = width >= NUMBERS_FROM * ratio;
          drawMark(context, markOf(layer, quantity, index), x, y, Math.min(width, height) - inner, ratio, ink, hasNumber);
          if (hasNumber) writeNumber(context, value, isPicture && value / scale > 0.5 ? colourOf("--card") : ink, x, y, width, height, ratio);
        }
      }
      drawWindows(context, scaled, ratio);
      drawFrames(context, scaled, ratio, own);
      writeLabels(context, scaled, ratio, room.isLarge);
      drawStrip(ratio);
      canvas.setAttribute("aria-label", `${title}, ${size}${canChoose ? ". Arrow keys choose a number" : ""}`);
    }

    /** The indices of rows and columns; of a vector, each number is the sum of both. */
    function writeLabels(context, { left, top, width, height }, ratio, isLarge) {
      const [right, down] = isLarge ? [pane.scrollLeft * ratio, pane.scrollTop * ratio] : [0, 0]; // they stay in sight
      context.fillStyle = colourOf("--card");
      context.fillRect(0, down, canvas.width, top);
      context.fillRect(right, 0, left - ratio, canvas.height);
      const every = (room, least) => [1, 2, 5, 10, 20, 50, 100].find((step) => step * room >= least * ratio) || 100;
      context.fillStyle = colourOf("--dim");
      context.font = `${11 * ratio}px system-ui, sans-serif`;
      context.textBaseline = "middle";
      context.textAlign = "center";
      for (let c = 0; c < form.columns; c += every(width, 16)) context.fillText(c, left + (c + 0.5) * width, down + top / 2);
      context.textAlign = "right";
      for (let r = 0; r < form.rows; r += every(height, 12)) context.fillText(form.isVector ? r * form.columns : r, right + left - 3 * ratio, top + (r + 0.5) * height);
      context.fillStyle = colourOf("--card");
      if (isLarge) context.fillRect(right, down, left - ratio, top); // the corner of both
    }

    /** The windows of a pool, if they lie side by side. */
    function drawWindows(context, { left, top, width, height }, ratio) {
      if (!isPixels(quantity) || !isPool(layer) || !Sums.isTiling(layer)) return;
      context.strokeStyle = colourOf("--dim");
      context.lineWidth = ratio;
      for (let oh = 0; oh < layer.y.shape[0]; oh++) {
        for (let ow = 0; ow < layer.y.shape[1]; ow++) {
          const { rows, columns } = Sums.windowBox(layer, oh, ow);
          context.strokeRect(left + columns[0] * width - ratio / 2, top + rows[0] * height - ratio / 2, (columns[1] - columns[0]) * width, (rows[1] - rows[0]) * height);
        }
      }
    }

    function drawFrames(context, { left, top, width, height }, ratio, own) {
      if (!chosen) return;
      const box = (rows, columns, wanted) => {
        const line = width < 36 * ratio && width >= NUMBERS_FROM * ratio ? Math.min(wanted, 1.75) : wanted; // the number stays readable
        const inset = (width < 18 * ratio && rows.length === 1 ? -line / 2 : line / 2 + 0.5) * ratio, [r, c] = [Math.min(...rows), Math.min(...columns)];
        const sides = [left + c * width + inset, top + r * height + inset, (Math.max(...columns) - c + 1) * width - 2 * inset - ratio, (Math.max(...rows) - r + 1) * height - 2 * inset - ratio];
        for (const [colour, more] of [[colourOf("--card"), 1.5], [colourOf("--mark"), 0]]) {
          context.strokeStyle = colour;
          context.lineWidth = (line + more) * ratio;
          context.strokeRect(...sides);
        }
      };
      const isHere = (index) => form.cell(index)[2].join() === own.join();
      const cellsOf = (indices) => indices.filter(isHere).map((index) => form.cell(index));
      const parts = cellsOf(partsOf(chosen).get(array.name) || []);
      const distinct = new Set(parts.map(([r, c]) => `${r},${c}`)).size, [rows, columns] = [0, 1].map((axis) => parts.map((cell) => cell[axis]));
      const span = (numbers) => Math.max(...numbers) - Math.min(...numbers) + 1;
      const isAll = form.isVector && distinct > 1 && distinct === array.shape[0];
      if (parts.length && (isAll || distinct > 40 || distinct === span(rows) * span(columns))) box(rows, columns, 1.5); // one frame around all
      else parts.forEach(([r, c]) => box([r], [c], 1.5));
      for (const [r, c] of cellsOf(spot ? spot.factors.filter((part) => part.array === array.name).map((part) => part.index) : [])) box([r], [c], 3);
      if (isChosen(view) || isPartner(view)) for (const [r, c] of cellsOf([chosen.index])) box([r], [c], 3);
    }

    function drawStrip(ratio) {
      const axis = form.axes[0], tilesOf = axis === undefined ? 1 : array.shape[axis];
      strip.hidden = tilesOf < 2 || array.shape.length === 2;
      if (strip.hidden) return;
      const own = slice(), drawn = [own.join(), ratio, colourOf("--zero")].join(); // what the strip depends on
      if (strip.drawn === drawn) return;
      strip.drawn = drawn;
      const tiles = Math.min(tilesOf, MOST_TILES), side = 40 * ratio, gap = 4 * ratio;
      const columns = Math.max(1, Math.min(tiles, Math.floor((300 * ratio + gap) / (side + gap))));
      const rows = Math.ceil(tiles / columns);
      strip.width = columns * (side + gap);
      strip.height = rows * (side + gap);
      strip.style.width = `${strip.width / ratio}px`;
      const context = strip.getContext("2d"), paint = painter(scale, isPicture);
      for (let k = 0; k < tiles; k++) {
        const left = (k % columns) * (side + gap), top = Math.floor(k / columns) * (side + gap);
        const there = [...own];
        there[0] = k;
        const size = side / Math.max(form.rows, form.columns);
        for (let r = 0; r < form.rows; r++) {
          for (let c = 0; c < form.columns; c++) {
            context.fillStyle = paint(Sums.at(array, form.index(r, c, there)));
            context.fillRect(left + c * size, top + r * size, Math.ceil(size), Math.ceil(size));
          }
        }
        context.lineWidth = (k === own[0] ? 2 : 1) * ratio;
        context.strokeStyle = colourOf(k === own[0] ? "--text" : "--line");
        context.strokeRect(left + ratio, top + ratio, side - 2 * ratio, side - 2 * ratio);
      }
      strip.onclick = (event) => {
        const box = strip.getBoundingClientRect(), width = (side + gap) / ratio;
        const k = Math.floor((event.clientY - box.top) / width) * columns + Math.floor((event.clientX - box.left) / width);
        if (k >= 0 && k < tiles) turnTo([k, ...own.slice(1)]);
      };
    }

    function indexAt(event) {
      const box = canvas.getBoundingClientRect(), { left, top, width, height } = geometry();
      const shrunk = box.width / (left + form.columns * width);
      const r = Math.floor(((event.clientY - box.top) / shrunk - top) / height), c = Math.floor(((event.clientX - box.left) / shrunk - left) / width);
      return r >= 0 && c >= 0 && r < form.rows && c < form.columns ? form.index(r, c, slice()) : null;
    }

    pane.addEventListener("scroll", () => geometry().isLarge && draw());
    const choose = (index) => index && select({ layer, quantity, index, plain: !canChoose });
    canvas.addEventListener("pointermove", (event) => {
      if (event.pointerType === "mouse" && !pinned) choose(indexAt(event));
    });
    canvas.addEventListener("click", (event) => {
      const index = indexAt(event), isSame = chosen && chosen.quantity === quantity && String(index) === String(chosen.index);
      if (index) pinned = !(pinned && isSame);
      choose(index);
    });

    /** Chooses the number so many rows and columns away; the first one, if none is chosen here. */
    function moveBy(down, right) {
      const mine = chosen && chosen.layer === layer && chosen.quantity === quantity;
      const [r, c] = mine ? form.cell(chosen.index) : [0, 0], by = mine ? [down, right] : [0, 0];
      const next = [Math.max(0, Math.min(form.rows - 1, r + by[0])), Math.max(0, Math.min(form.columns - 1, c + by[1]))];
      pinned = true;
      choose(form.index(...next, slice()));
      reach(next);
    }

    /** Scrolls an enlarged picture to a cell. */
    function reach([r, c], centred = false) {
      const { left, top, width, height } = geometry();
      if (centred) {
        pane.scrollLeft = left + (c + 0.5) * width - pane.clientWidth / 2;
        pane.scrollTop = top + (r + 0.5) * height - pane.clientHeight / 2;
        return;
      }
      const within = (now, room, from, size, labels) => Math.min(Math.max(now, from + size - room), from - labels);
      pane.scrollLeft = within(pane.scrollLeft, pane.clientWidth, left + c * width, width, left);
      pane.scrollTop = within(pane.scrollTop, pane.clientHeight, top + r * height, height, top);
    }

    canvas.addEventListener("keydown", (event) => {
      const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
      if (event.key === "Escape") return geometry().isLarge && !pinned ? larger.click() : release();
      if (event.key === "+" || event.key === "-") {
        event.preventDefault();
        if (choosers.length) move(choosers[0].axis, event.key === "+" ? 1 : -1);
        return;
      }
      if (!(event.key in moves)) return;
      event.preventDefault();
      event.stopPropagation();
      moveBy(...moves[event.key]);
    });
    return view;
  }

  /** A function from numbers to colours: orange below zero, blue above, stronger with the root of the number; or ink. */
  function painter(scale, isPicture = false) {
    const zero = rgb("--zero"), above = rgb(isPicture ? "--ink" : "--for"), below = rgb("--against");
    return (value) => {
      if (!Number.isFinite(value)) return colourOf("--trouble");
      const part = Math.min(1, Math.abs(value) / scale), share = isPicture ? part : Math.sqrt(part), end = value < 0 ? below : above;
      return `rgb(${zero.map((channel, i) => Math.round(channel + (end[i] - channel) * share)).join(" ")})`;
    };
  }

  /** A dot, a stroke or a cross; in a cell with a number, the dot goes into its corner, and the others are pale. */
  function drawMark(context, mark, left, top, size, ratio, ink, hasNumber) {
    if (!mark) return;
    context.save();
    context.strokeStyle = context.fillStyle = ink;
    context.lineWidth = ratio;
    context.globalAlpha = mark === "dot" ? 1 : hasNumber ? 0.35 : 0.7;
    context.beginPath();
    if (mark === "dot") context.arc(left + size * (hasNumber ? 0.16 : 0.5), top + size * (hasNumber ? 0.16 : 0.5), hasNumber ? 2.5 * ratio : Math.max(1.2 * ratio, size / 8), 0, 2 * Math.PI);
    else {
      context.moveTo(left + size * 0.2, top + size * 0.8);
      context.lineTo(left + size * 0.8, top + size * 0.2);
    }
    if (mark === "cross") {
      context.moveTo(left + size * 0.2, top + size * 0.2);
      context.lineTo(left + size * 0.8, top + size * 0.8);
    }
    if (mark === "dot") context.fill();
    else context.stroke();
    context.restore();
  }

  /** Marks a cell in its upper right corner. */
  function markCorner(context, right, top, size, ratio) {
    const side = Math.max(3 * ratio, Math.min(9 * ratio, size / 3));
    context.fillStyle = colourOf("--text");
    context.beginPath();
    context.moveTo(right - side, top);
    context.lineTo(right, top);
    context.lineTo(right, top + side);
    context.fill();
  }

  function writeNumber(context, value, ink, left, top, width, height, ratio) {
    context.fillStyle = ink;
    context.font = `${(width >= 36 * ratio ? 12 : 11) * ratio}px system-ui, sans-serif`;
    context.textAlign = "center";
    context.textBaseline = "middle";
    const two = text(value, 2), room = width - 4 * ratio;
    context.fillText(context.measureText(two).width > room ? text(value, 1) : two, left + width / 2, top + height / 2, room);
  }

  // ------------------------------------------------------------------------------------------------- what is chosen

  /** The step and the quantity that computed an array; null for the picture, weights, and what layers kept. */
  function originOf(name) {
    if (name === "probabilities") return { quantity: "p" };
    const branched = /^([^.]+)\.(.+\.out\.grad)$/.exec(name); // the gradient that goes into a branch
    if (branched) return { layer: trace.layers[layerNumber(branched[1])], quantity: branched[2] };
    if (/\.(out|in\.grad)$/.test(name)) return null; // what a branch computed, which is not written out
    const isGrad = name.endsWith(".grad"), base = isGrad ? name.slice(0, -5) : name;
    if (base === "input") return isGrad ? { layer: trace.layers[0], quantity: "grad_x" } : null;
    if (!base.endsWith(".output")) {
      const layer = trace.layers[layerNumber(base.split(".")[0])];
      return isGrad && layer ? { layer, quantity: `${base.slice(layer.name.length + 1)}.grad` } : null;
    }
    const number = layerNumber(base.slice(0, -7));
    if (!isGrad) return { layer: trace.layers[number], quantity: "y" };
    return number + 1 < trace.layers.length ? { layer: trace.layers[number + 1], quantity: "grad_x" } : { quantity: "score" };
  }

  /** From the first step on: its title and the picture in sight, or where there is no room for both, the picture. */
  function begin() {
    go(0);
    const [picture] = views, [bar, peek] = [el("track").parentElement, el("peek")].map((one) => one.offsetHeight);
    showPanel(picture);
    const height = picture.node.getBoundingClientRect().bottom - el("step-title").getBoundingClientRect().top;
    (height < window.innerHeight - bar - peek - 16 ? el("step-title") : picture.node).scrollIntoView({ inline: "start" });
  }

  const isOfLoss = (quantity) => quantity === "score" || quantity === "p";

  const stepOf = ({ layer, quantity }) =>
    isOfLoss(quantity) ? trace.layers.length : steps.findIndex((step) => step.layer === layer && step.pass === (quantity === "y" ? "forward" : "backward"));

  /** The indices of the numbers that a sum is made of, by array. */
  function partsOf({ sum }) {
    const found = new Map();
    for (const one of sum ? [...sum.terms, ...sum.added] : []) {
      for (const { array, index } of one.factors) {
        if (array) found.set(array, [...(found.get(array) || []), index]);
      }
    }
    partsOf.cache = found;
    return found;
  }

  /** Chooses a number. The pictures turn to other maps only where they have to. */
  function select(selection, entering = false) {
    const { layer, quantity, index, plain } = selection;
    const canExplain = !plain && (isOfLoss(quantity) || (Sums.isKnown(layer) && Sums.quantities(layer).includes(quantity)));
    const ofLoss = { score: Sums.explainScore, p: Sums.explainProbability }[quantity];
    const sum = canExplain ? (ofLoss ? ofLoss(trace, index[0]) : Sums.explain(layer, quantity, index)) : null;
    chosen = { ...selection, sum, shown: sum ? Sums.shortened(sum, sum.combine === "quotient" ? 12 : 8) : null };
    if (pinned && layer) keep(chosen);
    if (pinned) follow(numberOfStep(), "chose");
    turnViews();
    spot = sum && sum.terms.length > 1 ? chosen.shown.shown.find(isInSight) || null : null;
    views.forEach((view) => view.draw());
    if (entering) showPanel(views.find((view) => isChosen(view)));
    showSum();
    if (steps[current].pass === "loss") markBar();
    remember();
  }

  /** Where the pictures stand side by side, on a phone: scrolls their row to one of them. */
  function showPanel(view) {
    const panels = el("panels");
    if (view && panels.scrollWidth > panels.clientWidth) panels.scrollLeft = view.node.offsetLeft;
  }

  /** Whether the pictures show the factors of a summand, with the maps and filters that they have now. */
  const isInSight = ({ factors }) => factors.every(({ array, index }) => views.every((view) => view.array.name !== array || view.isAt(index)));

  /** Turns the picture of the chosen number to it, and each other picture, if its map has no part in the sum, to that of the largest summand. */
  function turnViews() {
    const { sum, index } = chosen, isTurned = (view) => isChosen(view) || isPartner(view);
    views.filter(isTurned).forEach((view) => view.show(index));
    for (const view of views.filter((one) => !isTurned(one))) {
      const parts = sum ? sum.terms.concat(sum.added).flatMap((one) => one.factors.filter(({ array }) => array === view.array.name).map((part) => ({ ...part, size: Math.abs(one.value) }))) : [];
      if (parts.length && !parts.some((part) => view.isAt(part.index))) view.show(parts.reduce((best, one) => (one.size > best.size ? one : best)).index);
    }
  }

  const isSamePlace = (one, other) => [one.quantity, other.quantity].sort().join() === "grad_x,x";
  const isChosen = (view) => view.layer === chosen.layer && view.quantity === chosen.quantity;

  /** Whether a picture has the same number before it became a gradient, or the gradient of it: a weight, the input. */
  const isPartner = (view) => view.layer === chosen.layer && (`${view.quantity}.grad` === chosen.quantity || `${chosen.quantity}.grad` === view.quantity || isSamePlace(view, chosen));

  /** Whether each map of the output comes from the map of the input with the same number. */
  const keepsMaps = ({ kind, x, y }) => x.shape.length === 3 && y.shape.length === 3 && x.shape[2] === y.shape[2] && !kind.endsWith("Conv2d") && Sums.isKnown({ kind });

  const NAMES = { x: "input", y: "output", grad_x: "gradient of the input", grad_y: "gradient of the output", score: "gradient of the score" };
  const nameOf = (quantity) =>
    NAMES[quantity] ||
    (quantity.endsWith(".out") ? `output of ${quantity.slice(0, -4)}`
      : quantity.endsWith(".out.grad") ? `gradient of the output of ${quantity.slice(0, -9)}`
        : quantity.endsWith(".in.grad") ? `gradient that ${quantity.slice(0, -8)} passes back`
          : quantity.endsWith(".grad") ? `gradient of ${quantity.slice(0, -5)}` : quantity);

  /** Lets the sum follow the pointer again. */
  function release() {
    pinned = false;
    if (!chosen) return;
    el("held").hidden = true;
    remember();
  }

  /** Marks the numbers of one summand in the pictures, and its row; `turns` the pictures to them, if it is not the mouse that passes. */
  function setSpot(one, turns) {
    if (spot === one && !turns) return;
    spot = one;
    for (const { array, index } of turns ? one.factors : []) views.find((view) => view.array.name === array && !isChosen(view))?.show(index);
    views.forEach((view) => view.draw());
    markRow();
  }

  const markRow = () => el("sum-body").querySelectorAll("tbody tr").forEach((row) => row.classList.toggle("spot", Boolean(spot) && row.summand === spot));

  function sentenceOf({ layer, quantity, index, sum, plain }) {
    const array = isOfLoss(quantity) ? null : Sums.arrayOf(layer, quantity);
    if (plain || !sum) return `${array.name === "input" ? "The picture" : `${layer.name}: ${nameOf(quantity)}`} at ${place(array, index)}: ${text(Sums.at(array, index), 6)}`;
    if (quantity === "p") return `Probability p of ${label(index[0])}: its share in the sum of e^score over all classes`;
    if (quantity === "score") return `Score of ${label(index[0])}: its gradient is p − t, the probability minus the target`;
    const what = array.name === "input.grad" ? "Gradient of the pixel" : `${layer.name}: ${nameOf(quantity)}`;
    return `${what} at ${place(array, index)}`;
  }

  function showSum() {
    const { sum } = chosen, body = [make("p", { className: "lead", textContent: sentenceOf(chosen) }), el("where")];
    if (sum) body.push(makeTable(sum), makeActions(), makeEquations(), makeCode());
    else if (chosen.layer) body.push(makeOrigin());
    el("held").hidden = !pinned;
    el("sum-title").textContent = titleOfSum(sum);
    showWhere();
    el("sum-body").replaceChildren(...body.filter(Boolean));
    const of = `${chosen.layer ? chosen.layer.name : ""} ${chosen.quantity}`;
    if (of !== showSum.of) el("sum").scrollTop = 0; // the numbers of one array keep the part that is being read in sight
    showSum.of = of;
    markRow();
    fitEquations(el("sum-body"));
    const said = sum ? `${sentenceOf(chosen)}: ${text(sum.engine)}` : sentenceOf(chosen);
    showPeek();
    clearTimeout(showSum.timer);
    showSum.timer = setTimeout(() => (el("spoken").textContent = said), 500);
  }

  /** Which picture has the chosen number, and where that picture is, if it is not in sight. */
  function showWhere() {
    const mine = chosen && views.find((view) => isChosen(view));
    el("where").hidden = !mine;
    if (!mine) return;
    const { top, bottom } = mine.node.querySelector(".pane").getBoundingClientRect(), above = el("track").parentElement.getBoundingClientRect().bottom;
    el("to-picture").textContent = mine.title;
    el("direction").textContent = top > window.innerHeight - 40 ? "↓ further down" : bottom < above + 40 ? "↑ further up" : "";
  }

  /** Scrolls to the picture of the chosen number; the arrow keys then move in it. */
  function toPicture() {
    const mine = views.find((view) => isChosen(view));
    mine.node.scrollIntoView({ block: "nearest" });
    mine.node.querySelector("canvas.map").focus({ preventScroll: true });
  }

  const titleOfSum = (sum) =>
    !sum ? "The number" : sum.combine === "max" ? "The maximum" : sum.combine === "quotient" ? "The fraction" : sum.terms.length + sum.added.length > 1 ? "The sum" : "The product";

  /** For a number that another step computed, or training: how to get to where it came from. */
  function makeOrigin() {
    const { layer, quantity, index } = chosen, array = Sums.arrayOf(layer, quantity);
    const isWeight = layer.parameters.includes(quantity), origin = isWeight ? { layer, quantity: `${quantity}.grad` } : originOf(array.name);
    if (array.name === "input") return make("p", { textContent: "A number of the picture, as the network receives it." });
    if (layer.branches && (quantity.includes("."))) return make("p", { textContent: isWeight || layer.parameters.includes(quantity.replace(/\.grad$/, "")) ? `It belongs to a layer inside ${layer.name}. The page shows its number, but does not write it out as a sum.` : "It was computed by the layers of this branch, which the page does not write out as sums." });
    const isHere = origin && origin.layer === layer && origin.quantity === quantity; // a layer whose sums are not known
    if (!origin || isHere || (isWeight && !layer.weights[quantity].grad)) return null;
    const there = titleOf(steps[stepOf(origin)]);
    const button = make("button", { type: "button", textContent: isWeight ? `Its gradient: ${there}` : `Show how: ${there}` });
    button.addEventListener("click", () => go(stepOf(origin), { ...origin, index }));
    const words = isWeight ? "It was not computed from this picture: training steps change it." : `This step received the number. It was computed in another step: ${there}.`;
    return make("div", {}, make("p", { textContent: words }), make("p", { className: "row" }, button));
  }

  function makeTable(sum) {
    if (sum.combine === "quotient") return makeQuotient(sum);
    const { shown, count: others } = chosen.shown, isMax = sum.combine === "max", several = sum.terms.length > 1;
    const all = sum.terms.length.toLocaleString("en"), nonzero = sum.terms.filter(({ value }) => value !== 0).length;
    const words = wordsOf(shown[0] || { factors: [] }), same = shown.every((one) => wordsOf(one) === words);
    const places = same ? placesOf(sum) : [], wide = Math.max(1, places.length);
    const rowOf = (one) => makeRow(one, isMax, same, places), rows = []; // those that stay in sight below the summands
    for (const one of sum.added) rows.push(makeRow(one, false, false, places));
    const difference = Math.abs(sum.total - sum.engine), scale = Math.max(Math.abs(sum.engine), ...sum.terms.map(({ value }) => Math.abs(value)));
    const agrees = difference <= 1e-5 * (scale || 1);
    rows.push(make("tr", { className: "total" }, make("th", { textContent: isMax ? "the largest" : several || sum.added.length ? "total" : "result", colSpan: wide + 1 }), cell(text(sum.total, 6))));
    rows.push(make("tr", {}, make("td", { textContent: comparison(sum, agrees), colSpan: wide + 1 }), cell(text(sum.engine, 6))));
    const titles = places.map(({ array, title, names, fixed }) => array.shape.length === 1 ? make("th", { className: "at", textContent: `which ${title}` }) : make("th", { className: "at" }, `which ${title}:`, make("br"), names + (fixed ? ` (${fixed})` : "")));
    const head = make("tr", {}, ...(titles.length ? titles : [make("th", { textContent: same ? "" : "summand" })]), make("th", { textContent: same ? headOf(words) : "" }), make("th", { textContent: shown.some(({ factors }) => factors.length > 1) ? "product" : "" }));
    const order = !sum.terms.length ? none(chosen) : others && isMax ? `The ${shown.length} largest of ${all} candidates:` : others && nonzero === shown.length ? `Of ${all} summands, ${count(nonzero, "is", "are")} not 0:` : others ? `The ${shown.length} largest of ${all} summands, by size without the sign:` : several ? `${sum.terms.length} ${isMax ? "candidates" : "summands"}:` : "One summand:";
    const ties = isMax ? sum.terms.filter(({ value }) => value === sum.total).length : 0;
    const tie = tieOnTheWayBack() || ties > 1 ? make("p", { className: "hint", textContent: tieOnTheWayBack() || `A tie: ${ties} of them are equally large. The first, row by row from the top left, wins, and gets the whole gradient.` }) : "";
    return make("div", {}, ...makeList(head, rowOf, rows, wide + 1, { order, isMax }), tie);
  }

  /** The table of the summands of the chosen number with its last rows, and a button that opens all of them, if some are left out. */
  function makeList(head, rowOf, lastRows, wide, { order, isMax }) {
    const { shown, ordered, count: others } = chosen.shown, words = make("td", { colSpan: wide }), value = make("td"), rest = make("tr", {}, words, value);
    const list = make("tbody", {}, ...shown.map(rowOf)), hint = make("p", { className: "hint", textContent: order });
    const scroller = make("div", { className: "scroller" }, make("table", {}, make("thead", {}, head), list, make("tbody", { className: "last" }, ...lastRows)));
    if (!others) return [hint, scroller];
    const button = make("button", { type: "button" }), first = [...list.children];
    let next = shown.length, isOpen = false;
    /** One row for all that are not in the list, so that the rows always add up to the total. */
    function close() {
      const left = ordered.slice(next), isZero = left.every((one) => one.value === 0);
      words.textContent = `the other ${left.length.toLocaleString("en")}${isMax ? ", none larger" : isZero ? ", each" : " together"}`;
      value.textContent = isMax ? "" : text(left.reduce((total, one) => total + one.value, 0));
      list.append(...(left.length ? [rest] : []));
      markRow();
    }
    /** Adds rows; a sum of thousands gets the next ones when the list is scrolled to its end. */
    function extend() {
      rest.remove();
      list.append(...ordered.slice(next, next + ROWS).map(rowOf));
      next = Math.min(ordered.length, next + ROWS);
      close();
    }
    function toggle(open) {
      isOpen = open;
      next = shown.length;
      list.replaceChildren(...first);
      scroller.classList.toggle("open", open);
      scroller.scrollTop = 0;
      scroller.tabIndex = open ? 0 : -1; // the arrow keys scroll it
      const all = ordered.length.toLocaleString("en");
      button.textContent = open ? `Show only the ${shown.length} largest` : `Show all ${all}`;
      hint.textContent = !open ? order : isMax ? `All ${all} candidates, the largest first:` : `All ${all} summands, the largest first, by size without the sign:`;
      if (open) extend();
      else close();
    }
    button.addEventListener("click", () => toggle(!isOpen));
    scroller.addEventListener("scroll", () => isOpen && next < ordered.length && scroller.scrollTop + scroller.clientHeight > scroller.scrollHeight - 300 && extend());
    toggle(false);
    return [hint, scroller, make("p", { className: "row" }, button)];
  }

  /** A sentence about the gradient of a pixel that won a window in which several are equally large, or "". */
  function tieOnTheWayBack() {
    const { layer, quantity, index, sum } = chosen;
    if (quantity !== "grad_x" || layer.kind !== "MaxPool2d") return "";
    const won = sum.terms.find((one) => one.wins);
    if (!won) return "";
    const terms = Sums.explain(layer, "y", won.factors[0].index).terms, equal = terms.filter(({ value }) => value === Sums.at(layer.x, index)).length;
    return equal > 1 ? `A tie: ${equal} pixels of this window are equally large (${text(Sums.at(layer.x, index))}). This one is the first of them, so it gets the whole gradient.` : "";
  }

  /** Whether the sum of the page is the number that the network computed, in words. */
  function comparison(sum, agrees) {
    if (!agrees) return "tinycnn computed another number";
    return text(sum.total, 6) === text(sum.engine, 6) ? "computed by tinycnn: the same ✓" : "computed by tinycnn: the same up to rounding ✓";
  }

  /** Why a number has no summands: no window reaches its place. */
  function none({ layer }) {
    const { kernel, stride } = Sums.windows(layer), { shape } = layer.x;
    return `No window covers this place: windows of ${kernel.join("×")}, moved by ${stride.join(" and ")}, do not fill ${shape[0]}×${shape[1]}. So it has no effect on the output, and its gradient is 0.`;
  }

  /** The columns that say where the factors stand: for each factor in a picture its title, the axes that are shown, and those that are the same in all summands. */
  function placesOf(sum) {
    const first = sum.terms[0], { layer } = chosen, found = [];
    if (!first || !layer) return found;
    first.factors.forEach((part, i) => {
      const array = part.array && trace.arrays[part.array], title = array && (part.what === "x̂" ? "x̂" : titleOfPlace(layer, array));
      if (!title || found.some((one) => one.array === array)) return;
      const names = axesOf(array.shape, array.name), indices = sum.terms.map(({ factors }) => factors[i].index);
      const varies = names.map((_, axis) => indices.length === 1 || indices.some((index) => index[axis] !== indices[0][axis]));
      const axes = names.map((_, axis) => axis).filter((axis) => axis < 2 || varies[axis]);
      const fixed = names.map((name, axis) => (axes.includes(axis) ? null : `${name} ${indices[0][axis]}`)).filter(Boolean);
      found.push({ i, array, title, axes, names: axes.map((axis) => names[axis]).join(", "), fixed: array.name === "input" && array.shape[2] === 1 ? "" : fixed.join(", ") });
    });
    return found;
  }

  function titleOfPlace(layer, array) {
    const isMaps = array.shape.length === 3;
    if (array === layer.x) return isMaps ? "pixel" : "input";
    if (array === layer.y || array === layer.grad_y) return "output";
    return array.shape.length === 4 ? "weight" : null;
  }

  /** p as a share: every e^score, their sum, and one divided by the other. */
  function makeQuotient(sum) {
    const row = (words, value, total = "") => make("tr", { className: total }, make("td", { textContent: words, colSpan: 2 }), cell(text(value, 6)));
    const rowOf = (one) => {
      const [{ index: [j] }] = one.factors, formula = make("td", { className: "number" });
      one.factors.forEach((part, i) => formula.append(i ? " × " : "", part.isPower ? make("span", {}, "e", make("sup", {}, makeFactor(part))) : text(part.value)));
      return make("tr", { className: one.wins ? "mark" : "" }, make("td", { textContent: label(j) }), formula, cell(text(one.value)));
    };
    const rows = [], order = chosen.shown.count ? `The ${chosen.shown.shown.length} largest of ${sum.terms.length} classes:` : "";
    const agrees = Math.abs(sum.total - sum.engine) <= 1e-5 * Math.max(sum.engine, 1e-30);
    rows.push(row("their sum, Σ e^score", sum.whole, "total"), row(`p = ${text(sum.part)} / ${text(sum.whole)}`, sum.total, "total"));
    rows.push(row(comparison(sum, agrees), sum.engine));
    const head = make("tr", {}, ...["class", "e^score", ""].map((name) => make("th", { textContent: name })));
    const why = "e to the power of a score is positive, whatever its sign. Divided by their sum, these numbers are positive and add up to 1: probabilities.";
    return make("div", {}, ...makeList(head, rowOf, rows, 2, { order }), make("p", { className: "hint", textContent: why }));
  }

  const cell = (content, className = "") => make("td", { textContent: content, className });
  const wordsOf = (one) => one.factors.map(({ what }) => what.replace(/^(won|lost) this window.*$/, "1 if it won, else 0").replace(/^the gate is (open|closed)$/, "1 if the gate is open, else 0")).join(" × ");

  /** The head of the column of the factors: there stand values, while the columns before it say where these stand. */
  const headOf = (words) => words.split(" × ").map((what) => what.replace(/^(input|pixel|weight)$/, "value of the $1").replace(/^.* − mean$/, "($&)")).join(" × ");

  /** One summand: where its factors stand (or what it is, if the rows differ), its factors, its value. */
  function makeRow(one, isMax, same, places) {
    const formula = make("td", { className: "number formula" });
    one.factors.forEach((part, i) => formula.append(i ? " × " : "", makeFactor(part, one.factors.length > 1 ? brackets : text)));
    const words = one.factors.map(({ what }) => what).join(" × "), last = one.factors.at(-1).what;
    const lost = /^lost this window to (.*)$/.exec(last), won = last === "won this window";
    const remark = lost ? `; won by ${lost[1]}` : won ? "; won" : "";
    const where = (same ? places : []).map(({ i, array, axes, names }) => {
      const { index } = one.factors[i], isRow = array.shape.length === 1;
      return cell((isRow ? `${names} ${index[0]}` : axes.map((axis) => index[axis]).join(", ")) + (i ? "" : remark), "number at");
    });
    const heads = where.length ? where : [make("td", { textContent: same ? "" : words, colSpan: Math.max(1, places.length) })];
    const row = make("tr", { className: isMax && !one.wins ? "lost" : "", title: words }, ...heads, formula, cell(text(one.value)));
    row.summand = one;
    for (const event of ["pointerenter", "focusin", "click"]) row.addEventListener(event, () => chosen.sum && setSpot(one, event !== "pointerenter"));
    return row;
  }

  /** A factor; if it was computed in another step, a link to there. */
  function makeFactor(part, write = brackets) {
    const isDerived = /^(input − mean|x̂|slope .*)$/.test(part.what); // computed from the number that stands there
    const origin = part.array && !isDerived ? originOf(part.array) : null;
    if (!origin) return make("span", { textContent: write(part.value), title: part.what });
    const button = make("button", { type: "button", className: "link number", textContent: write(part.value), title: `${part.what}: to the step that computed it, ${titleOf(steps[stepOf(origin)])}` });
    button.addEventListener("click", () => go(stepOf(origin), { ...origin, index: part.index }));
    return button;
  }

  // ----------------------------------------------------------------------------------- equations and lines of the source

  const SYMBOLS = {
    y: ["y"], grad_x: ["grad_x", "grad_cols"], "weight.grad": ["grad_W", "grad_weight"], "bias.grad": ["grad_b", "grad_bias"],
    "gamma.grad": ["grad_gamma"], "beta.grad": ["grad_beta"], score: ["grad_logits"],
  };

  function callsOf({ layer, quantity }) {
    if (isOfLoss(quantity)) return ["tinycnn.ops.softmax_cross_entropy.SoftmaxCrossEntropyFunction"];
    if (!layer.branches) return layer.calls;
    return quantity === "grad_x" ? [] : layer.calls.slice(-1); // the call that joins the branches
  }

  function makeEquations() {
    const { layer, quantity } = chosen, kind = isOfLoss(quantity) ? "loss" : layer.kind, isBatch = kind === "BatchNorm" && !Sums.isFixed(layer);
    const named = /\.out\.grad$/.test(quantity) ? "branch" : isBatch && quantity === "grad_x" ? "grad_x in training mode" : quantity;
    const own = (extras.formulas[kind] || {})[named], box = make("div", { className: "equations" });
    if (own) box.append(make("h3", { textContent: "The equation" }), ...typeset(own));
    else if (toldBySource().length) return null;
    box.append(...[explainLetters(box), isOfLoss(quantity) ? null : makeChapter(kind)].filter(Boolean));
    return box;
  }

  /** The equations of the docstring about the chosen number. */
  function toldBySource() {
    const { layer, quantity } = chosen, source = extras.sources[callsOf(chosen).at(-1)] || { equations: {} };
    const isShown = quantity === "y" && layer.x.shape.length === 3 && (extras.formulas[layer.kind] || {}).y; // the same, with one index less
    if (isShown) return [];
    return (SYMBOLS[quantity] || [quantity]).map((name) => source.equations[name]).filter(Boolean);
  }

  /** The table of the letters in equations, for the chosen number: [letters, meaning]. Keys and tooltips are made from it. */
  function lettersOf({ layer, quantity }) {
    if (isOfLoss(quantity)) {
      return [
        ["loss", `−log p of the label`], ["grad_score", "gradient of the loss at a score"], ["grad_logits", "gradient of the loss at the scores"], ["logits", "the scores"], ["z", "the score of a class"],
        ["p", "the probability of a class"], ["t, target", "1 for the label, 0 for the other classes"], ["S", "the sum of e^z over all classes"], ["k", "the class in question"],
        ["log", "the natural logarithm"], ["softmax", "turns scores into probabilities: e^z / S"], ["j", "each class in turn"], ["c", "the label, the answer that the network should give"], ["e", "Euler’s number, 2.718…"], ["N", "how many pictures the batch has, here 1"],
      ];
    }
    const found = [
      ["grad_y", "gradient of the loss at the output, which arrives"], ["grad_x", "gradient of the loss at the input"],
      ["grad_weight, grad_W", "gradient of the weight"], ["grad_bias, grad_b", "gradient of the bias"], ["x", "the input"], ["y", "the output, on the way forward"],
      ["weight", "a number that training changes; an input is multiplied by it"], ["bias, b", "a number that training changes; it is added"],
    ];
    if (layer.x.shape.length === 3 && ("kernel_size" in layer.settings || layer.weights.weight)) {
      const { kernel, stride, start } = Sums.windows(layer);
      found.push(
        ["oh, ow", "row and column of the output"], ["kh, kw", "row and column inside the window"], ["h, w", "row and column of the input"],
        ["f", "filter"], ["c", layer.weights.weight ? "channel (map) of the input" : "map"], ["SH, SW", `stride, here ${stride.join(", ")}`],
        ["PH, PW", `padding above and on the left, here ${start.join(", ")}`], ["KH, KW", `size of the window, here ${kernel.join(", ")}`],
        ["won", "1 if the pixel won the window, else 0"],
        ["cols", "a matrix with a row for each window, which holds the pixels below it"], ["grad_cols", "the gradients of the numbers in cols"], ["col2im", "adds the gradients of all copies of a pixel"], ["rows", "one for each window"], ["W, Y, grad_Y", "the weights, the outputs and their gradients as matrices"],
      );
    } else if (layer.kind === "GlobalAvgPool2d") found.push(["h, w", "row and column of the input"], ["c", "map"], ["H, W", `rows and columns of the input, here ${layer.x.shape.slice(0, 2).join(", ")}`]);
    else if (layer.kind === "Dense") found.push(["i", "the input in question"], ["j", "the unit in question"], ["W", "the weights as a matrix"]);
    if (layer.kind === "BatchNorm") {
      found.push(
        ["c", `the ${layer.x.shape.length === 3 ? "map" : "number of the row"} in question`], ["gamma, beta", "the scale and the shift that training finds, one of each per map"],
        ["mean, var", `mean and variance, ${Sums.isFixed(layer) ? "as training has left them" : "of this picture"}`], ["eps", "a small constant, so that nothing is divided by 0"],
        ["x̂", "the input, shifted and scaled: (x − mean) / √(var + eps)"], ["grad_gamma", "gradient of gamma"], ["grad_beta", "gradient of beta"], ["i", "each place of the map in turn"], ["grad_y_i", "grad_y at the place i"],
        ["d", "the gradient that arrives, less what the mean and the variance take from it"], ["M", `how many numbers share a mean, here ${layer.x.data.length / layer.x.shape.at(-1)}`],
      );
    }
    if (layer.kind === "Concatenate") found.push(["c", "map"]);
    return [
      ...found, ["max", "the largest of these numbers"], ["mask", "0 for a number that is dropped, else the factor that scales it up"], ["slope", "the factor of the numbers that are not positive"], ["scale, offset", "the constants of this layer"],
      ["e", "Euler’s number, 2.718…"], ["N", "how many pictures the batch has, here 1"], ["n", "the picture in the batch"], ["T", "transposed, rows and columns exchanged"],
    ];
  }

  const LOSS = { quantity: "score" };
  const SELF_EXPLAINED = ["weight", "bias", "mask", "loss", "log", "max", "e"]; // words that the page uses anyway: a tooltip, but no place in the key

  /** Gives each letter of these equations its meaning: as a tooltip, and all together as a key below, which is returned; null if nothing needs one. */
  function explainLetters(equations, about = chosen) {
    const table = lettersOf(about), meaning = new Map(table.flatMap((entry) => entry[0].split(", ").map((letter) => [letter, entry])));
    const letterOf = (node) => (node.closest("mover") ? "x̂" : (node.closest("mi") || { textContent: "" }).textContent);
    const names = new Set([...equations.querySelectorAll("mi")].map(letterOf));
    // a browser shows no title of an element of MathML, but that of the box around it
    equations.addEventListener("pointerover", ({ target }) => (equations.title = meaning.has(letterOf(target)) ? `${letterOf(target)}: ${meaning.get(letterOf(target))[1]}` : ""));
    const words = table.filter(([letters]) => letters.split(", ").some((letter) => names.has(letter) && !SELF_EXPLAINED.includes(letter))).map((entry) => entry.join(": "));
    if (!words.length) return null;
    const key = make("p", { className: "hint key", id: `key-${(explainLetters.count = (explainLetters.count || 0) + 1)}`, textContent: `${words.join(". ")}.` });
    equations.querySelectorAll("math").forEach((math) => math.setAttribute("aria-describedby", key.id));
    return key;
  }

  /** MathML, made by tinycnn/web/equations.py from the sources of the package, as elements. */
  function typeset(mathml) {
    return [...new DOMParser().parseFromString(mathml, "text/html").body.children].map((node) => document.importNode(node, true));
  }

  /** Makes equations that are wider than their box smaller, down to two thirds; what is wider still can be scrolled. */
  function fitEquations(box) {
    for (const math of box.querySelectorAll(".equations math")) {
      const room = math.parentElement.clientWidth, width = math.getBoundingClientRect().width;
      if (room && width > room) math.style.fontSize = `${Math.max(2 / 3, (0.98 * room) / width) * 1.05}rem`;
    }
  }

  const CALLED = { im2col: " (copies the pixels below each window into a row of a matrix)", col2im: " (adds the gradients of these copies, pixel by pixel)" };

  /** The lines of the source that computed the number, with the equation that stands at its head. */
  function makeCode() {
    const { quantity } = chosen, isForward = quantity === "y" || quantity === "p", boxes = [];
    for (const call of callsOf(chosen)) {
      const source = extras.sources[call];
      if (!source) continue;
      const name = quantity.endsWith(".grad") ? `grad_${quantity.slice(0, -5)}` : { score: "grad_x", p: "y" }[quantity] || quantity;
      const ofP = source.lines.flatMap((line, i) => (/^ +(self\.log_p|p) = /.test(line) ? [source.start + i] : []));
      const marks = new Set(quantity === "p" ? ofP : source.marks[name] || source.marks[isForward ? "y" : "other"] || []);
      boxes.push(make("p", { className: "hint", textContent: `Computed by the marked lines of ${source.file}:` }), makeLines(source, marks, call.split(".").at(-1)));
      const text = source.lines.filter((_, i) => marks.has(source.start + i)).join("\n");
      for (const [called, one] of Object.entries(source.called || {})) {
        if (!new RegExp(`\\b${called}\\(`).test(text)) continue;
        boxes.push(make("p", { className: "hint", textContent: `The marked lines call ${called}${CALLED[called] || ""}, in ${one.file}:` }), makeLines(one, new Set(one.marks), called));
      }
    }
    if (!boxes.length && chosen.layer && chosen.layer.branches) return make("p", { className: "hint", textContent: "Where a number is used several times, Tensor.backward in tinycnn/tensor.py adds its gradients." });
    if (!boxes.length) return chosen.layer ? make("p", { className: "hint", textContent: "The layer returned its input; no function ran." }) : null;
    const told = toldBySource(), head = [];
    if (quantity === "score") boxes.push(make("p", { className: "hint", textContent: "grad_loss: the gradient of the loss itself, here 1. len(p): the number of pictures in the batch, here 1. N: the same number; K: the number of classes." }));
    if (told.length) {
      head.push(make("p", { className: "hint", textContent: "Its comment has the equation for a whole batch, several pictures at once:" }), make("div", { className: "equations" }, ...told.flatMap(typeset)));
      head.push(explainLetters(head[1]));
    }
    return make("div", { className: "source" }, make("h3", { textContent: "The source" }), ...boxes, ...head.filter(Boolean));
  }

  /** The marked lines with the head of their function and the lines around them; a button shows the others. */
  function makeLines({ lines, start }, marked, name) {
    const rows = lines.map((line, i) => make("span", { className: marked.has(start + i) ? "marked" : "" }, make("b", { textContent: start + i }), line || " "));
    const places = [...marked].map((number) => number - start), near = (i) => places.some((place) => Math.abs(i - place) <= 1);
    const heads = places.map((place) => lines.slice(0, place + 1).findLastIndex((line) => /^\s*def /.test(line)));
    const pre = make("pre", { className: "code", tabIndex: 0, data: { "aria-label": `Source of ${name}` } });
    const isShown = (i) => !places.length || near(i) || heads.includes(i);
    const show = (all) => pre.replaceChildren(...rows.flatMap((row, i) => (all || isShown(i) ? [row] : isShown(i - 1) && i < rows.length ? [make("span", { className: "gap", textContent: "…" })] : [])));
    show(false);
    if (rows.every((_, i) => isShown(i))) return pre;
    const more = make("button", { type: "button", className: "link", textContent: `Show all ${lines.length} lines` });
    more.addEventListener("click", () => (show(true), more.remove()));
    return make("div", {}, pre, more);
  }

  // ------------------------------------------------------------------------------------------------------- check

  /** The name under which the engine knows the chosen number, if a nudge can check its gradient. */
  function nudgeable() {
    const { layer, quantity, index } = chosen;
    if (quantity === "grad_x" && layer.x.name === "input") return { name: "input", index, what: "this pixel" };
    const name = quantity.replace(/\.grad$/, "");
    return layer && name !== quantity && layer.parameters.includes(name) ? { name: `${layer.name}.${name}`, index, what: `this ${name}` } : null;
  }

  function makeActions() {
    const target = nudgeable();
    if (!target) return null;
    const known = extras.checks.find((one) => one.name === target.name && one.index.join() === target.index.join());
    const result = make("div", { className: "result", data: { role: "status" } }), button = make("button", { type: "button", textContent: "Check this number" });
    const words = make("span", { className: "hint", textContent: `Raises and lowers ${target.what} by 0.00001, runs the network both times, and measures by how much the loss changes.` });
    const others = [];
    if (trace !== first) {
      words.textContent = "The check is of the network before the training steps: press Reset first.";
      button.disabled = true;
    } else if (!known && !services) {
      words.textContent = `A check runs the network, and this file only holds the results of ${extras.checks.length} checks. This number is not among them.`;
      button.disabled = true;
      others.push(goToChecked(target));
    }
    button.addEventListener("click", () => check(target, known, result, button));
    return make("div", {}, make("p", { className: "row" }, button, words, ...others.filter(Boolean)), result);
  }

  async function check({ name, index }, known, result, button) {
    button.disabled = true;
    try {
      result.replaceChildren(...checkedText(known || (await services.check(name, index))));
      if (name !== "input") follow({ name, index }, "checked");
    } catch (error) {
      result.replaceChildren(make("p", { className: "trouble", textContent: error.message }));
    }
    button.disabled = false;
    result.scrollIntoView({ block: "nearest" });
    result.firstChild.scrollIntoView({ block: "nearest" }); // its first sentence, if there is no room for all of it
  }

  /** In a file: a button to the nearest number of the same array whose check it holds, if possible of the same filter. */
  function goToChecked({ name, index }) {
    const farness = (one) => one.index.reduce((sum, i, axis) => sum + Math.abs(i - index[axis]) * (axis < 2 ? 1 : 1000), 0);
    const [some] = extras.checks.filter((one) => one.name === name).sort((a, b) => farness(a) - farness(b));
    if (!some) return null;
    const button = make("button", { type: "button", textContent: "Go to the nearest number that was checked" });
    button.addEventListener("click", () => {
      const layer = name === "input" ? trace.layers[0] : trace.layers[layerNumber(name.split(".")[0])];
      pinned = true;
      select({ layer, quantity: name === "input" ? "grad_x" : `${name.slice(layer.name.length + 1)}.grad`, index: some.index });
      el("sum-body").querySelector("button:not(.link)").focus();
    });
    return button;
  }

  function checkedText({ value, eps, loss_minus: below, loss_plus: above, gradient, numeric, at_kink: kink }) {
    const row = (words, ...numbers) => make("tr", {}, make("td", { textContent: words }), ...numbers.map((one) => cell(one)));
    const difference = Math.abs(gradient - numeric) / Math.max(Math.abs(numeric), Math.abs(gradient), 1e-12);
    const digits = Math.min(8, Math.floor(-Math.log10(difference || 1e-9))), bothZero = Math.max(Math.abs(gradient), Math.abs(numeric)) < 1e-9;
    const verdict = kink
      ? "The slopes on the two sides differ: between the two losses a gate or a pooling window switches, so no single number is the slope here."
      : bothZero ? "Both are 0 up to rounding: backpropagation is right about this number."
        : digits >= 3 ? `Both agree in their first ${digits} digits: backpropagation is right about this number.`
          : "They differ: one of the two is wrong.";
    const rest = kink || bothZero || digits < 3 ? "" : "Digits that are not shown may differ, because numbers are rounded, and because the loss is a curve: over 2ε it is not quite straight. ";
    return [
      make("p", { className: "lead verdict", textContent: verdict }),
      make("p", { className: "row" }, linkToSteps()),
      make("table", {}, make("tbody", {},
        row(`loss at ${text(value, 6)} − ε`, text(below, 12)), row(`loss at ${text(value, 6)} + ε`, text(above, 12)),
        row(`measured slope: difference of these losses / 2ε, with ε = ${text(eps)}`, text(numeric, 8)), row("gradient from backpropagation", text(gradient, 8)))),
      make("p", { className: "hint", textContent: `${rest}Here everything is computed with 64-bit numbers (16 digits), so the last digits can differ from those above.` }),
    ];
  }

  // ----------------------------------------------------------------------------------------------------- the loss

  function makeBars() {
    const z = trace.layers.at(-1).y, p = trace.arrays.probabilities, t = trace.arrays.target, g = trace.layers.at(-1).grad_y;
    const rows = trace.class_names.map((name, k) => {
      const choose = (quantity, hold) => {
        if (!hold && pinned) return;
        pinned = hold;
        select({ quantity, index: [k] });
      };
      const score = make("button", { type: "button", className: "link number", textContent: text(at(z, k), 4), title: "the score: where does it come from?" });
      score.addEventListener("click", (event) => (event.stopPropagation(), go(trace.layers.length - 1, { layer: trace.layers.at(-1), quantity: "y", index: [k] })));
      const share = make("button", { type: "button", className: "link number", textContent: shareText(at(p, k)), title: "p: how is it computed?" });
      share.classList.add("here");
      share.addEventListener("click", (event) => (event.stopPropagation(), choose("p", true)));
      const probability = make("td", {}, share);
      const row = make("tr", { tabIndex: 0, data: { "aria-selected": "false" } },
        make("th", {}, name, k === trace.label ? make("small", { textContent: " label" }) : ""), make("td", {}, score), probability, cell(text(at(t, k))), cell(shareText(at(g, k))),
        make("td", { className: "rail" }, barOf(at(g, k))));
      row.addEventListener("click", () => choose("score", true));
      row.addEventListener("pointermove", (event) => event.pointerType === "mouse" && choose(probability.contains(event.target) ? "p" : "score", false));
      row.addEventListener("keydown", (event) => event.target === row && (event.key === "Enter" || event.key === " ") && (event.preventDefault(), choose("score", true)));
      return row;
    });
    const titles = { class: "", "score z": "the score of the class", p: "the probability that softmax computes from the scores", t: "the target: 1 for the label, 0 for the other classes", "p − t": "the gradient of the loss at the score", "": "" };
    const head = make("tr", {}, ...Object.entries(titles).map(([textContent, title]) => make("th", { textContent, title })));
    const formulas = extras.formulas.loss || {}, hint = (words) => make("p", { className: "hint" }, ...lettered(words));
    const box = make("div", { className: "lossbox" }, make("table", { className: "bars" }, make("tbody", {}, head, ...rows)));
    box.append(hint("z: the score, the output of the last layer; a click on it leads to this layer. p: the probability that softmax computes from it; point at a p, or tap it, to see how. t: the target, 1 for the label and 0 for the others."));
    box.append(hint("p − t is the gradient of the loss at the score: the derivative of the loss with respect to z. A gradient says what raises the loss; a training step goes the other way. So a step is meant to raise the score of the label, where p − t is negative (orange), and to lower the other scores, where it is positive (blue). It does so by moving weights and biases. Most weights lie in earlier layers and act on all scores at once, so the scores do not move exactly in proportion to p − t."));
    const equations = (...those) => make("div", { className: "equations" }, ...those.flatMap((one) => typeset(formulas[one] || "")));
    box.append(make("h3", { textContent: "Why p − t?" }), equations("p", "loss"));
    box.append(hint("S is the sum over all classes j, and c is the label. The logarithm of a fraction is a difference, and log e^z = z. Now take the derivative with respect to one score z[k]. The slope of log S is 1/S, and of the sum S only the summand e^z[k] depends on z[k]; the slope of −z[c] is −1 for k = c and 0 otherwise, which is −t[k]:"));
    box.append(equations("derivation"), makeChapter("loss"));
    box.querySelectorAll(".equations").forEach((one) => one.after(explainLetters(one, LOSS) || ""));
    return box;
  }

  /** Words in which z[k] and e^z are set as in the formulas, with the letters lowered and raised. */
  const lettered = (words) => words.split(/(\^?[a-zS]\[\w\]|\^\w)/).flatMap((part) => {
    const [, power, letter, , index] = /^(\^?)(\w)(\[(\w)\])?$/.exec(part) || [];
    if (!letter || part.length < 2) return [part];
    const set = [letter, index ? make("sub", { textContent: index }) : ""];
    return power ? [make("sup", {}, ...set)] : set;
  });

  const CHAPTERS = {
    loss: ["04_softmax_cross_entropy", "4"], Dense: ["03_dense_and_relu", "3"], ReLU: ["03_dense_and_relu", "3"], Conv2d: ["05_convolution", "5"],
    MaxPool2d: ["06_max_pool", "6"], AvgPool2d: ["06_max_pool", "6"], BatchNorm: ["07_batch_norm_and_dropout", "7"], Dropout: ["07_batch_norm_and_dropout", "7"],
  };

  /** The chapter that derives it: a link where the page stands beside the chapters, else the name of the file. */
  function makeChapter(kind) {
    if (!(kind in CHAPTERS)) return null;
    const [file, number] = CHAPTERS[kind], words = `chapter ${number}`, name = `docs/path/${file}.md`;
    if (!extras.chapters) return make("p", { className: "hint chapter", textContent: `Derived step by step in ${words}: the file ${name} in the repository of tinycnn (an installed package does not contain it).` });
    const link = make("a", { href: extras.chapters.replace("*", file), target: services ? "_blank" : "_top", rel: "noopener", textContent: words });
    return make("p", { className: "hint chapter" }, "Derived step by step in ", link, services ? ` (opens the text of ${name}, with formulas in LaTeX).` : ".");
  }

  function barOf(value) {
    const bar = make("div", { className: "bar" }), width = 50 * Math.min(1, Math.abs(value));
    bar.style.width = `${width}%`;
    bar.style.left = `${value < 0 ? 50 - width : 50}%`;
    bar.style.background = colourOf(value < 0 ? "--against" : "--for");
    return bar;
  }

  function markBar() {
    el("panels").querySelectorAll(".bars tr[aria-selected]").forEach((row, k) => row.setAttribute("aria-selected", String(k === chosen.index[0])));
  }

  // ------------------------------------------------------------------------------------------- train on this picture

  const WRONG_ANSWER = "To see large gradients, choose a picture that the network reads wrongly, or give a wrong answer on purpose.";
  const MOST_MOVED = 10; // numbers in the list of those with the largest gradients
  const HOW = { // what each optimizer does with a gradient, in its first step
    sgd: (lr) => `SGD: new number = number before − rate × gradient, here with the rate ${lr}.`,
    adam: (lr) => `Adam divides each gradient by the usual size of this gradient so far. In the first step this is its own size, so every number moves by about the rate, ${lr}, whatever its gradient.`,
    adamw: (lr) => `AdamW divides each gradient by the usual size of this gradient so far. In the first step this is its own size, so every number moves by about the rate, ${lr}, whatever its gradient; weights are also pulled a little towards 0.`,
    rmsprop: (lr) => `RMSprop divides each gradient by the usual size of this gradient so far. So in the first step every number moves by the same multiple of the rate, ${lr}, whatever its gradient.`,
    muon: (lr) => `Muon does not use the gradient of a weight alone: it takes those of the whole matrix, and makes all directions in it equally strong before it multiplies by the rate, ${lr}.`,
  };

  function preparePractice() {
    const choices = services ? services.optimizers : [...new Set(extras.practice.map(({ optimizer }) => optimizer))];
    const rates = services ? services.rates : [...new Set(extras.practice.map(({ lr }) => lr))];
    el("optimizer").replaceChildren(...choices.map((name) => make("option", { textContent: name })));
    el("rate").replaceChildren(...rates.map((lr) => make("option", { textContent: lr })));
    el("rate").value = String(rates.includes(0.001) ? 0.001 : rates[0]);
    practised = null;
    dropped = "";
    round += 1;
    showPractice();
  }

  /** {name, index} of the weight or bias that is chosen, or whose gradient is; null for another number. */
  function numberOfStep() {
    const { layer, quantity, index } = chosen, name = quantity.replace(/\.grad$/, "");
    return layer && layer.parameters.includes(name) && layer.weights[name].grad ? { name: `${layer.name}.${name}`, index } : null;
  }

  /** Remembers the weight that a reader checked or chose; a choice of the number that was checked does not change the words. */
  function follow(number, how) {
    if (!number || (own && how === "chose" && own.name === number.name && String(own.index) === String(number.index))) return;
    own = { ...number, how };
    if (practised) showPractice();
  }

  /** How the steps moved the weight that a reader checked or chose last, or else that of the open step; nothing without one. */
  function ownParts({ optimizer, lr, done, isRecorded, after }, table, hint) {
    const number = own || numberOfStep();
    if (!number) return [];
    const { value, grad } = weightOf(first, number.name), at = Sums.flat(value.shape, number.index), before = value.data[at];
    const title = make("h3", { textContent: `The number that you ${own ? own.how : "see above"}${own ? " last" : ""}` });
    const place = extras.checks.findIndex((one) => one.name === number.name && String(one.index) === String(number.index));
    const kept = isRecorded && place >= 0 ? recordedFor({ optimizer, lr }).checked[place] : null;
    if (isRecorded && !kept) return [title, hint(`${nameOfWeight(number)}: how the steps moved it is not in this file, which has this only for the numbers that it has a check for.`)];
    const now = isRecorded ? kept[after > 1 ? 1 : 0] : weightOf(trace, number.name).value.data[at];
    const row = make("tr", { title: meaningOf(number.name) }, ...[nameOfWeight(number), text(before, 6), text(grad.data[at], 6), text(now, 6), text(now - before, 4)].map((one) => cell(one)));
    return [title, table(["weight or bias", "before", "gradient before", headAfter(after), "changed by"], [row]), ...meaningsOf([number]).map(hint)];
  }

  function weightOf(one, name) {
    const [layer, ...rest] = name.split(".");
    return one.layers[layerNumber(layer)].weights[rest.join(".")];
  }

  const headAfter = (steps) => (steps === 1 ? "after the first step" : `after ${steps} steps`);

  /** What a number that training changes does in its layer, in a few words. */
  function meaningOf(name) {
    const own = name.split(".").at(-1), { kind } = trace.layers[layerNumber(name.split(".")[0])], isConv = kind.endsWith("Conv2d");
    const words = {
      weight: kind === "Dense" ? "multiplies one input, for one unit" : isConv ? "one number of a filter, which multiplies the pixel under it at every place" : "multiplies one input",
      bias: kind === "Dense" ? "is added to one unit" : isConv ? "is added to the output of one filter, at every place" : "is added",
      gamma: `scales one ${unitOf(name)}: multiplies its numbers x̂, which have been shifted and divided (batch norm)`,
      beta: `shifts one ${unitOf(name)}: is added to its numbers after they were multiplied by gamma (batch norm)`,
    };
    return words[own] || "";
  }

  /** One sentence for each kind of number in a list: "beta of batchnorm: …". */
  function meaningsOf(list) {
    const words = list.map(({ name }) => [name.split(".").at(-1), name.split(".")[0].replace(/_\d+$/, ""), meaningOf(name)]);
    return [...new Set(words.filter((one) => one[2]).map(([own, layer, meaning]) => `${own} of ${layer}: ${meaning}.`))];
  }

  /** A link to the training steps, for the places where a reader has seen a loss or a gradient. */
  function linkToSteps() {
    const link = make("button", { type: "button", className: "link", textContent: "Take a training step ↓" });
    link.addEventListener("click", () => {
      el("practice-title").scrollIntoView();
      el("one").focus({ preventScroll: true });
    });
    return link;
  }

  const settings = () => ({ optimizer: el("optimizer").value, lr: Number(el("rate").value) });

  async function practise(more) {
    const wanted = { ...settings(), steps: (practised ? practised.steps : 0) + more }, mine = round;
    practiceTrouble("");
    el("one").disabled = el("ten").disabled = true;
    try {
      const result = services ? await services.practise(wanted) : recorded(wanted);
      if (mine !== round) return;
      practised = { ...result, ...wanted };
      if (result.trace) replaceTrace(result.trace);
    } catch (error) {
      if (mine !== round) return;
      practiceTrouble(error.message);
    }
    showPractice();
  }

  function practiceTrouble(words) {
    el("practice-trouble").textContent = words;
    el("practice-trouble").hidden = !words;
  }

  const recordedFor = ({ optimizer, lr }) => extras.practice.find((one) => one.optimizer === optimizer && one.lr === lr);

  function recorded(wanted) {
    const found = recordedFor(wanted);
    if (!found) throw new Error(`This file holds no steps of ${wanted.optimizer} with the rate ${wanted.lr}; choose another rate.`);
    return { losses: found.losses.slice(0, wanted.steps + 1), probabilities: found.probabilities.slice(0, wanted.steps + 1), moved: found.moved };
  }

  /** How many more steps can be taken: in a file, only those that it holds. */
  function stepsLeft() {
    const found = services ? null : recordedFor(settings()), done = practised ? practised.steps : 0;
    return services ? Math.max(0, services.most - done) : found ? found.losses.length - 1 - done : 0;
  }

  /** Shows the numbers after some steps, at the step of the walk that is open. */
  function replaceTrace(next) {
    const { layer, quantity, index, plain } = chosen, same = layer && next.layers.find(({ name }) => name === layer.name);
    trace = next;
    steps = listSteps();
    makeTrack();
    showAbout();
    go(current, { layer: same, quantity, index, plain }, { scrolls: false, holds: pinned });
  }

  function reset(event) {
    const isSetting = event && event.type === "change";
    if (!isSetting) dropped = "";
    else if (practised) {
      const { optimizer, lr, steps: done, losses } = practised;
      dropped = `The setting was changed, so the steps start again. For comparison: ${count(done, "step", "steps")} of ${optimizer} with the rate ${lr} led from the loss ${lossText(losses[0])} to ${lossText(losses[done])}.`;
    }
    practised = null;
    round += 1;
    practiceTrouble("");
    if (trace !== first) replaceTrace(first);
    showPractice();
  }

  function showPractice() {
    const left = stepsLeft(), hint = (words) => make("p", { className: "hint", textContent: words });
    el("one").disabled = el("ten").disabled = left < 1 || outdated !== "";
    el("practice-outdated").hidden = !outdated;
    el("practice-outdated").textContent = `${outdated} Before you take steps, press Backward.`;
    el("ten").textContent = left < 1 || left >= 10 ? "Ten more" : `${left} more`;
    el("reset").disabled = !practised;
    if (!practised) return el("practised").replaceChildren(...(dropped ? [hint(dropped)] : []), hint(`No step taken yet. Loss: ${lossText(first.loss)}`));
    const { losses, probabilities, moved, optimizer, lr, steps: done } = practised, table = (head, rows) => make("div", { className: "scroller" }, make("table", {}, make("thead", {}, make("tr", {}, ...head.map((name) => make("th", { textContent: name })))), make("tbody", {}, ...rows)));
    const read = (p) => {
      const best = p.indexOf(Math.max(...p));
      return `${label(best)} (${percent(p[best])})`;
    };
    const rows = losses.map((loss, i) => make("tr", {}, cell(i), cell(lossText(loss)), cell(percent(probabilities[i][first.label])), cell(read(probabilities[i]))));
    const parts = [...(dropped ? [hint(dropped)] : []), ...(optimizer === "sgd" ? [hint(prediction(losses, lr))] : []), ...lessonOf(losses).map(hint)];
    if (!services) parts.push(hint(`${left < 1 ? `These are all ${done} steps that this file holds. The command tinycnn serve opens this page with a running network, which takes more. ` : left < 10 ? `This file holds ${count(left, "more step", "more steps")}. ` : ""}The steps were taken when the file was written, and everything above still shows the numbers before the first step.`));
    else parts.push(hint(`Everything above now shows the numbers after ${count(done, "step", "steps")}. Reset returns to those before.`));
    parts.push(table(["after step", "loss", `p of ${label(first.label)}`, "read as"], rows));
    const isLast = moved && done === recordedFor({ optimizer, lr }).losses.length - 1;
    const after = moved && done > 1 && !isLast ? 1 : done; // a file holds the weights after the first and after the last step
    const how = { optimizer, lr, done, isRecorded: Boolean(moved), after };
    parts.push(...ownParts(how, table, hint), ...movedParts(moved || movedBy(first, trace), how, table, hint));
    el("practised").replaceChildren(...parts);
  }

  /** By how much the first step was to change the loss according to the gradients, and by how much it did. */
  function prediction(losses, lr) {
    const gradients = first.layers.flatMap((layer) => layer.parameters.map((name) => layer.weights[name].grad).filter(Boolean));
    const squares = gradients.reduce((sum, { data }) => data.reduce((total, gradient) => total + gradient * gradient, sum), 0);
    const words = `The first step, with SGD: every number moves by −rate × its gradient g, so according to the gradients the loss changes by −rate × Σ g² = −${lr} × ${text(squares, 4)} = ${text(-lr * squares, 4)}. It went from ${lossText(losses[0])} to ${lossText(losses[1])}, so it changed by ${text(losses[1] - losses[0], 4)}.`;
    const off = Math.round(100 * Math.abs((losses[1] - losses[0] + lr * squares) / (lr * squares)));
    return `${words} That is ${off} % off: along a step, the gradients themselves change. With a smaller rate, the two come closer.`;
  }

  /** What the losses of the steps show: a rate that is too large, or a picture learned by heart. */
  function lessonOf(losses) {
    const found = [], last = losses.at(-1), rose = losses.findIndex((loss, i) => i > 0 && loss > losses[i - 1] + 1e-3);
    if (rose > 0) found.push(`In step ${rose} the loss rose: the rate is too large. The gradient holds for small changes only; a step that is too long passes the lowest point.`);
    if (last < 1e-4 && losses.length > 2) found.push("With a loss this close to 0, the gradients are close to 0, too, so further steps hardly change a number.");
    if (losses[0] < 0.05) found.push(`The loss was close to 0 before the first step: the network read this picture as ${label(first.label)}, and was sure. So there was almost nothing to learn from it. ${WRONG_ANSWER}`);
    else if (last < 0.05) found.push("The network now knows this one picture by heart, which says nothing about other pictures. A training therefore takes each step on many pictures at once, and makes it so small that no single picture determines the weights.");
    return found;
  }

  /** The numbers with the largest gradients, before and after, and how the optimizer computed the new ones. */
  function movedParts(list, { optimizer, lr, isRecorded, after }, table, hint) {
    if (!list.length) return [];
    const lines = list.map((one) => make("tr", { title: meaningOf(one.name) }, cell(nameOfWeight(one)), cell(text(one.before, 6)), cell(text(one.gradient, 6)), cell(text(isRecorded && after > 1 ? one.last : one.after, 6))));
    const [largestOne] = list, parts = [make("h3", { textContent: "The weights and biases with the largest gradients before the first step" })];
    parts.push(hint((HOW[optimizer] || (() => `The optimizer ${optimizer} computes the new numbers from the gradients.`))(lr)));
    if (optimizer === "sgd" && after === 1) parts.push(hint(writtenOut(largestOne, lr)));
    if (after > 1) parts.push(hint(`Each of the ${after} steps used the gradients of its own moment. The table has only those before the first step, so they do not explain the whole change.`));
    parts.push(...meaningsOf(list).map(hint), table(["weight or bias", "before", "gradient before", headAfter(after)], lines));
    return parts;
  }

  /** A step of SGD for one number, and why its last digits can be others than those that the engine computed. */
  function writtenOut({ before, gradient, after }, lr) {
    const result = text(before - lr * gradient, 6), words = `The first row, written out: ${text(before, 6)} − ${lr} × ${brackets(gradient, 6)} = ${result}, all rounded to 6 digits.`;
    if (result === text(after, 6)) return words;
    return `${words} The network got ${text(after, 6)}: it rounds each number to ${trace.dtype === "float64" ? "about 16" : "about 7"} digits on the way, this page only at the end.`;
  }

  function nameOfWeight({ name, index }) {
    const [layer, ...own] = name.split("."), names = axesOf(index, name);
    return `${own.join(".")} of ${layer}, ${index.map((i, axis) => placeOn(names[axis], i)).join(", ")}`;
  }

  /** The numbers with the largest gradients in all arrays: before, the gradient, after. */
  function movedBy(old, now) {
    const all = old.layers.flatMap((layer, i) => layer.parameters.filter((name) => layer.weights[name].grad).flatMap((name) => {
      const { value, grad } = layer.weights[name], after = now.layers[i].weights[name].value;
      const best = [...grad.data.keys()].sort((a, b) => Math.abs(grad.data[b]) - Math.abs(grad.data[a])).slice(0, MOST_MOVED);
      return best.map((k) => ({ name: `${layer.name}.${name}`, index: Sums.unflat(value.shape, k), before: value.data[k], gradient: grad.data[k], after: after.data[k] }));
    }));
    return all.sort((a, b) => Math.abs(b.gradient) - Math.abs(a.gradient)).slice(0, MOST_MOVED);
  }

  // ---------------------------------------------------------------------------------------------------------- saliency

  const METHODS = {
    gradient: ["gradient of the score", "how the score changes if the pixel gets a little more ink. It changes abruptly from pixel to pixel, so it looks like noise."],
    "input × gradient": ["input × gradient", "this gradient times the pixel: what the ink that is there contributes. A pixel without ink is 0 and contributes 0."],
    SmoothGrad: ["SmoothGrad", "the mean of this gradient over many copies of the picture, each with other random noise. What differs by chance cancels."],
    "Grad-CAM": ["Grad-CAM", "the maps of the last layer that has maps, added up; each counts as much as it raises the score. It shows regions, not pixels."],
    occlusion: ["occlusion", "how far the score falls when a patch around the pixel is covered. It needs no derivative, so it checks the others."],
  };

  /** Maps that came after the trace. */
  function addSaliency(found) {
    extras.saliency = found;
    showSaliency();
  }

  function showSaliency() {
    el("saliency").hidden = !extras.saliency;
    if (!extras.saliency) return;
    const image = trace.arrays.input, [H, W] = image.shape, read = first.arrays.probabilities.data;
    const predicted = first.training ? "" : label(read.indexOf(Math.max(...read))); // as the maps: before any practice, and not in training mode
    el("explained").textContent = predicted && `, ${predicted}`;
    const figures = [["the picture", image.data], ...Object.entries(extras.saliency)].map(([name, values]) => {
      const isPicture = name === "the picture", [title, words] = METHODS[name] || [name, ""];
      const canvas = make("canvas", { width: W, height: H, data: { role: "img", "aria-label": isPicture ? title : `${title}: which pixels mattered${predicted && ` for ${predicted}`}` } });
      const context = canvas.getContext("2d"), paint = painter(Math.max(...Array.from(values, Math.abs)) || 1, isPicture);
      for (let i = 0; i < H * W; i++) {
        context.fillStyle = paint(values[isPicture ? i * image.shape[2] : i]);
        context.fillRect(i % W, Math.floor(i / W), 1, 1);
      }
      const most = text(Math.max(...Array.from(values, Math.abs)), 3);
      const legend = make("div", { className: isPicture ? "legend ink" : "legend", data: { "aria-hidden": "true" } }, isPicture ? "0" : `−${most}`, make("i"), most);
      return make("figure", {}, canvas, legend, make("figcaption", {}, make("b", { textContent: title }), words ? `: ${words}` : ""));
    });
    el("maps").replaceChildren(...figures);
  }

  // ------------------------------------------------------------------------------------------------ address, keys, play

  /** The address of a step: #layer=conv2d_1&pass=backward&of=weight.grad&at=0,0,0,1. Without a pass: the way back. */
  function remember(pushes = false) {
    if (!chosen) return;
    const { pass, layer } = steps[current], { quantity, index, plain } = chosen;
    const parts = pass === "loss" ? ["loss"] : [`layer=${layer.name}`, `pass=${pass}`];
    if (!plain && pinned) parts.push(`of=${quantity}`, `at=${index.join(",")}`);
    try {
      history[pushes ? "pushState" : "replaceState"](pushes ? { from: titleOf(steps[current]) } : history.state, "", `#${parts.join("&")}`);
      const from = history.state && history.state.from;
      el("return").hidden = !from;
      el("return").textContent = `↩ ${from}`;
      el("return").setAttribute("aria-label", `Back to where the link was: ${from}`);
    } catch {
      // a page inside another document may not have an address of its own
    }
  }

  function goToAddress() {
    const fields = new Map(location.hash.slice(1).split("&").map((part) => part.split("=").map(decodeURIComponent)));
    const layer = trace.layers[layerNumber(fields.get("layer"))], pass = fields.get("pass") || "backward";
    const quantity = fields.get("of"), index = (fields.get("at") || "").split(",").map(Number);
    const isPlace = (shape) => index.length === shape.length && index.every((i, axis) => Number.isInteger(i) && i >= 0 && i < shape[axis]);
    if (!layer) {
      const isOfIt = isOfLoss(quantity) && isPlace([trace.class_names.length]);
      go(trace.layers.length, isOfIt ? { quantity, index } : null, { pushes: false });
      if (fields.has("layer")) notice(`The address names the layer ${fields.get("layer")}, which this network does not have. It has: ${trace.layers.map(({ name }) => name).join(", ")}.`);
      else if (quantity && !isOfIt) notice(`The address asks for ${quantity} at ${fields.get("at")}. The loss has p and score, at 0 to ${trace.class_names.length - 1}.`);
      return;
    }
    const known = Sums.quantities(layer), array = known.includes(quantity) ? Sums.arrayOf(layer, quantity) : null;
    const isInside = array && isPlace(array.shape), number = steps.findIndex((step) => step.layer === layer && step.pass === pass);
    go(number < 0 ? stepOf({ layer, quantity: "grad_x" }) : number, isInside ? { layer, quantity, index } : null, { pushes: false });
    if (number < 0) notice(`The address names the pass ${pass}. Expected: forward or backward.`);
    else if (quantity && !array) notice(`The address asks for ${quantity} of ${layer.name}, which has: ${known.join(", ")}. Another number is shown.`);
    else if (array && !isInside) notice(`The address asks for ${quantity} at ${fields.get("at") || "no place"}. Its shape is ${array.shape.join("×")}, counted from 0. Another number is shown.`);
  }

  /** Says above the step what was wrong with an address; goes with the next step. */
  function notice(words) {
    el("notice").textContent = words;
    el("notice").hidden = !words;
  }

  function play(on) {
    clearInterval(timer);
    const isLast = () => current + 1 === steps.length;
    if (on && isLast()) go(0); // from the end, it plays from the start
    timer = on ? setInterval(() => (go(current + 1), isLast() && play(false)), PLAY_MS) : null;
    el("play").title = `a new step every ${PLAY_MS / 1000} seconds`;
    el("play").textContent = on ? "Pause" : "Play";
  }

  function onKey(event) {
    const busy = event.target.closest && event.target.closest("canvas, select, input, pre");
    if (trace && event.key === "Escape" && pinned) return release();
    if (!trace || busy || event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key === "ArrowRight") go(current + 1);
    else if (event.key === "ArrowLeft") go(current - 1);
    else if (event.key === " " && !event.target.closest("button, tr")) play(!timer);
    else return;
    event.preventDefault();
  }

  const BRIEF = 2; // summands in the bar at the bottom

  /** The number and the largest of its summands, in one line; empty where it has none. */
  function inBrief(sum) {
    if (sum.combine === "quotient" || !sum.terms.length) return "";
    const product = ({ factors }) => factors.map(({ value }) => brackets(value, 3)).join(" × ");
    if (sum.combine === "max") return `${text(sum.engine)} is the largest of ${sum.terms.map(product).join(", ")}`;
    const all = [...chosen.shown.shown, ...sum.added], more = sum.terms.length + sum.added.length - Math.min(BRIEF, all.length);
    return `${briefText(sum.engine)} = ${all.slice(0, BRIEF).map(product).join(" + ")}${more ? ` + ${count(more, "more summand", "more summands")}` : ""}`;
  }

  /** On a narrow page, the bar at the bottom: the chosen number, its sum in brief, and the way to its sum or back to the pictures. */
  function showPeek() {
    if (!chosen) return;
    const { top, bottom } = el("sum").getBoundingClientRect(), isThere = top < window.innerHeight / 2, { sum, layer } = chosen;
    const words = sentenceOf(chosen), short = layer && words.startsWith(`${layer.name}: `) ? words.slice(layer.name.length + 2) : words;
    const brief = isThere || !sum ? "" : inBrief(sum);
    el("peek-sum").replaceChildren(make("b", { textContent: isThere ? "↑ pictures" : "↓ whole sum" }), ` ${short}${sum && !brief ? `: ${text(sum.engine)}` : ""}`);
    el("peek-brief").textContent = brief;
    el("peek").hidden = bottom < window.innerHeight / 3;
    el("peek").querySelector(".pad").hidden = isThere || !views.length;
  }

  // ------------------------------------------------------------------------------------------------------------ start

  function showAbout() {
    const read = trace.arrays.probabilities.data, best = read.indexOf(Math.max(...read));
    const after = trace === first ? "" : `After ${count(practised.steps, "training step", "training steps")} on it: `;
    const old = outdated ? `${outdated.replace("This walk", "The walk below")} There: ` : "";
    el("about").textContent = `${old}${after}The network reads ${old ? "its" : "this"} picture as ${label(best)} (${percent(read[best])}). The label is ${label(trace.label)}, to which it gives ${percent(read[trace.label])}. Loss: −log\u00a0p${isLoss(trace.loss)} (natural logarithm). Point at a number, or tap it, to see how it was computed.`;
    el("begin").hidden = false;
  }

  /** Marks this walk as that of an earlier drawing or answer, by a sentence that begins with "This walk"; "" ends it. */
  function outdate(words) {
    if (words === outdated || !trace) return;
    outdated = words;
    el("walk").classList.toggle("is-outdated", words !== "");
    el("outdated").hidden = !words;
    el("outdated-why").textContent = words;
    showAbout();
    showPractice();
  }

  /** Shows a trace. `more`: sources, formulas and what else belongs to it; `server`: the services of a server, or null. */
  function show(bytes, more, server = null) {
    play(false);
    trace = first = bytes.layers ? bytes : Sums.parse(bytes);
    extras = { ...extras, ...more };
    services = server;
    steps = listSteps();
    maps.clear();
    places.clear();
    own = null;
    el("walk").hidden = false;
    makeTrack();
    preparePractice();
    showSaliency();
    showAbout();
    el("origin").textContent = `Every number was computed by tinycnn${extras.version ? ` ${extras.version}` : ""} with NumPy in ${trace.dtype === "float64" ? "64-bit numbers (16 digits)" : "32-bit numbers (7 digits)"}. ${trace.training ? "Training mode: dropout drops numbers, and batch norm uses the mean of this one picture." : "Dropout and batch norm, if there are any, behave as in a prediction."} This page multiplies and adds the numbers again, to show that the result is the same.`;
    goToAddress();
  }

  async function inflated(base64) {
    const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Response(stream).arrayBuffer();
  }

  /** Shows the trace that the file holds, if it holds one. */
  async function start() {
    el("previous").addEventListener("click", () => go(current - 1));
    el("next").addEventListener("click", () => go(current + 1));
    el("play").addEventListener("click", () => play(!timer));
    el("begin").addEventListener("click", begin);
    el("to-backward").addEventListener("click", () => {
      el("drawing").scrollIntoView();
      el(el("backward").disabled ? "sheet" : "backward").focus();
    });
    el("to-picture").addEventListener("click", toPicture);
    el("to-steps").append(linkToSteps());
    el("colours").open = !window.matchMedia("(max-width: 60rem)").matches;
    el("return").addEventListener("click", () => history.back());
    el("one").addEventListener("click", () => practise(1));
    el("ten").addEventListener("click", () => practise(Math.min(10, stepsLeft())));
    el("reset").addEventListener("click", reset);
    document.addEventListener("keydown", onKey);
    el("jump").addEventListener("change", () => go(Number(el("jump").value)));
    el("release").addEventListener("click", release);
    el("peek-sum").addEventListener("click", () => {
      const { top } = el("sum").getBoundingClientRect(), isThere = top < window.innerHeight / 2, mine = views.find((view) => isChosen(view));
      if (isThere && mine) mine.node.scrollIntoView({ block: "center" });
      else el(isThere ? "step-title" : "sum").scrollIntoView();
    });
    for (const button of document.querySelectorAll("#peek [data-move]")) {
      button.addEventListener("click", () => {
        const mine = views.find((view) => isChosen(view)) || views[0];
        if (mine) mine.moveBy(...button.dataset.move.split(",").map(Number));
        showPanel(mine);
      });
    }
    for (const id of ["optimizer", "rate"]) el(id).addEventListener("change", reset);
    for (const event of ["scroll", "resize"]) {
      window.addEventListener(event, showPeek, { passive: true });
      window.addEventListener(event, showWhere, { passive: true });
    }
    window.addEventListener("resize", fadeTrack);
    el("track").addEventListener("scroll", fadeTrack, { passive: true });
    const redraw = () => trace && (showStep(steps[current]), select(chosen), showSaliency());
    window.matchMedia("screen and (prefers-color-scheme: dark)").addEventListener("change", redraw);
    window.addEventListener("resize", () => views.forEach((view) => view.draw()));
    window.addEventListener("hashchange", () => trace && goToAddress());
    const data = el("trace-data");
    if (!data) return;
    el("share").hidden = true; // the file itself is what can be shared
    const more = JSON.parse(el("trace-extras").textContent);
    if (more.saliency) {
      for (const [name, values] of Object.entries(more.saliency)) more.saliency[name] = new Float32Array(Uint8Array.from(atob(values), (letter) => letter.charCodeAt(0)).buffer);
    }
    show(await inflated(data.textContent.trim()), more);
  }

  return { show, outdate, addSaliency, start, text, shareText, nameOfWeight, get trace() { return trace; }, get extras() { return extras; }, get chosen() { return chosen; }, select, go, colourOf, percent, make };
})();

document.addEventListener("DOMContentLoaded", () => Walk.start());
