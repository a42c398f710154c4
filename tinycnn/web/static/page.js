// Send the drawing, show the prediction. At most one request is under way; when it returns, only the latest drawing is
// sent, and the drawings in between are skipped.
"use strict";

const $ = (id) => document.getElementById(id);
const INSIDE_EVERY_MS = 250; // between two requests with feature maps while drawing; probabilities have no limit
const paper = makeSheet(() => requestAnswer());

// ------------------------------------------------------------------------------------------------------ requests

let waiting = false; // a request is under way
let stale = false; // the drawing has changed since that request was sent
let lastInside = 0;

async function ask(inside) {
  const request = { method: "POST", headers: { "Content-Type": "image/png" }, body: await paper.picture() };
  const response = await patientFetch(inside ? "predict?inside=1" : "predict", request);
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error);
  return answer;
}

async function requestAnswer() {
  if (waiting) {
    stale = true;
    return;
  }
  waiting = true;
  stale = false;
  if (!paper.isEmpty() && latest.empty) $("confidence").textContent = "reading …";
  $("bars").setAttribute("aria-busy", "true");
  const inside = !paper.isDrawing() || performance.now() - lastInside > INSIDE_EVERY_MS;
  if (inside) lastInside = performance.now();
  try {
    const answer = paper.isEmpty() ? { empty: true } : await ask(inside);
    if (!paper.isEmpty() || answer.empty) show(paper.isEmpty() ? { empty: true } : answer);
    trouble("");
  } catch (error) {
    trouble(error instanceof TypeError ? "The server does not answer. Is it still running?" : `The server says: ${error.message}`);
  }
  waiting = false;
  if (stale) requestAnswer();
  else $("bars").setAttribute("aria-busy", "false");
}

function trouble(sentence) {
  $("trouble").textContent = sentence;
  $("trouble").hidden = !sentence;
}

// -------------------------------------------------------------------------------------------------------- showing

let latest = { empty: true }; // shown again when the colour scheme changes
let speechTimer = 0;

function makeBars(names) {
  const letters = Math.min(12, Math.max(...names.map((name) => name.length)));
  $("bars").style.setProperty("--name", `${Math.max(1.5, 0.62 * letters)}rem`);
  for (const name of names) {
    const item = document.createElement("li");
    for (const part of ["name", "rail", "share"]) {
      const span = document.createElement("span");
      span.className = part;
      item.append(span);
    }
    const bar = document.createElement("div");
    bar.className = "bar";
    item.children[0].textContent = item.title = name;
    item.children[1].append(bar);
    $("bars").append(item);
  }
  showBars(null, null);
}

function showBars(probabilities, best) {
  [...$("bars").children].forEach((item, k) => {
    const share = probabilities ? probabilities[k] : 0;
    item.querySelector(".bar").style.width = `${100 * share}%`;
    item.querySelector(".share").textContent = probabilities ? percent(share) : "";
    item.classList.toggle("best", k === best);
  });
}

function show(answer) {
  const { digit, answer: name, probabilities, empty } = answer;
  $("digit").textContent = empty ? "?" : name;
  $("digit").classList.toggle("nothing", Boolean(empty));
  $("digit").classList.toggle("word", !empty && name.length > 2);
  $("confidence").textContent = empty ? "Nothing drawn yet" : verdict(probabilities[digit]);
  showBars(empty ? null : probabilities, empty ? null : digit);
  const several = answer.several || [];
  $("several").hidden = several.length === 0;
  $("several").textContent = `${several.length} digits, each read by itself: ${several.map((one) => `${one.answer} (${percent(one.probability)})`).join(", ")}. The pictures below are of the first.`;
  speak(several.length ? several.map((one) => one.answer).join(" ") : empty ? "Nothing drawn." : `${name}, ${percent(probabilities[digit])}`);
  latest = answer.layers || empty ? answer : { ...latest, picture: answer.picture, empty: false };
  showInside();
}

function speak(sentence) {
  clearTimeout(speechTimer);
  speechTimer = setTimeout(() => ($("spoken").textContent = sentence), 700); // 0.7 s after the last change
}

/** Maps bytes centred on 128 to colours: one for zero, one for positive, one for negative. */
function signedPixels(bytes, width, height) {
  const zero = rgb("--zero"), above = rgb("--for"), below = rgb("--against");
  const image = new ImageData(width, height);
  bytes.forEach((byte, i) => {
    const value = Math.max(-1, (byte - 128) / 127), end = value < 0 ? below : above;
    for (let c = 0; c < 3; c++) image.data[4 * i + c] = zero[c] + (end[c] - zero[c]) * Math.abs(value);
    image.data[4 * i + 3] = 255;
  });
  return image;
}

function greyPixels(rows) {
  const image = new ImageData(rows[0].length, rows.length);
  rows.flat().forEach((grey, i) => image.data.set([grey, grey, grey, 255], 4 * i));
  return image;
}

function blank(canvas) {
  canvas.width = canvas.height = 28;
}

/** Says for which class the map is: that with the highest score. Of a single output for two classes, always the second. */
function nameExplained(name) {
  const words = name ? ` for ${name}` : "";
  $("explained").textContent = words;
  $("saliency").setAttribute("aria-label", `Which pixels mattered${words}`);
}

function showInside() {
  if (latest.empty) {
    nameExplained("");
    blank($("seen"));
    blank($("saliency"));
    const hint = document.createElement("p");
    hint.className = "hint";
    hint.textContent = "Draw something to see them.";
    $("layers").replaceChildren(hint);
    return;
  }
  put($("seen"), greyPixels(latest.picture));
  if (!latest.layers) return;
  const { maps, shape, colours } = latest.saliencies.find(({ name }) => name === $("method").value) || latest.saliency;
  nameExplained(latest.explained);
  putColours($("colours"), `${colours}.`);
  put($("saliency"), signedPixels(bytesOf(maps), shape[1], shape[0]));
  const shown = [...$("layers").querySelectorAll(".layer")];
  if (shown.length !== latest.layers.length) $("layers").replaceChildren(...latest.layers.map(makeLayer));
  [...$("layers").children].forEach((section, i) => drawLayer(section.querySelector("canvas"), latest.layers[i]));
}

function makeLayer(layer) {
  const [height, width, count] = layer.shape;
  const section = document.createElement("div"), title = document.createElement("h3");
  const size = document.createElement("span"), canvas = document.createElement("canvas");
  section.className = "layer";
  const some = layer.shown < count ? `, the first ${layer.shown} shown` : "";
  size.textContent = height * width === 1 ? ` ${count} ${count === 1 ? "number" : "numbers"}${some}` : ` ${count} ${count === 1 ? "map" : "maps"} of ${height}×${width}${some}`;
  title.append(layer.name, size);
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", `Output of ${layer.name}`);
  section.append(title, canvas);
  return section;
}

/** Draws all maps of a layer side by side; each cell is a whole number of screen pixels wide. */
function drawLayer(canvas, layer) {
  const [height, width] = layer.shape, bytes = bytesOf(layer.maps), size = width * height;
  const dense = size === 1, ratio = Math.max(1, Math.round(window.devicePixelRatio));
  const cell = ratio * (dense ? 14 : $("layers").clientWidth < 500 ? 38 : 52), gap = ratio * (dense ? 2 : 4);
  const room = ratio * $("layers").clientWidth;
  const columns = Math.max(1, Math.min(layer.shown, Math.floor((room + gap) / (cell + gap))));
  const rows = Math.ceil(layer.shown / columns);
  canvas.width = columns * (cell + gap) - gap;
  canvas.height = rows * (cell + gap) - gap;
  canvas.style.width = `${canvas.width / ratio}px`;
  const context = canvas.getContext("2d"), one = document.createElement("canvas");
  context.imageSmoothingEnabled = false;
  for (let k = 0; k < layer.shown; k++) {
    put(one, signedPixels(bytes.subarray(k * size, (k + 1) * size), width, height));
    context.drawImage(one, (k % columns) * (cell + gap), Math.floor(k / columns) * (cell + gap), cell, cell);
  }
}

// ----------------------------------------------------------------------------------------------------------- start

/** Removes the word "digit" from the page, for networks whose classes are not digits. */
function useNeutralTexts() {
  document.title = "tinycnn: draw";
  document.querySelector("h1").textContent = "Draw";
  $("invitation").textContent = "Draw here";
  $("inside-title").textContent = "Your drawing on its way through the network";
}

async function start() {
  blank($("seen"));
  blank($("saliency"));
  paper.redraw();
  $("backprop").addEventListener("click", paper.keep);
  $("method").addEventListener("change", showInside);
  try {
    const model = await (await patientFetch("model")).json();
    const size = model.parameters.toLocaleString("en");
    $("about").textContent = `A convolutional network with ${size} parameters reads your drawing while you draw.`;
    makeBars(model.class_names);
    if (!Object.keys(model.digits).length) useNeutralTexts();
    $("backprop").parentElement.hidden = !model.has_walk;
    paper.restore();
  } catch {
    trouble("The server does not answer. Is it still running?");
  }
}

const repaint = () => {
  paper.redraw();
  showInside();
};
window.matchMedia("screen and (prefers-color-scheme: dark)").addEventListener("change", repaint);
window.addEventListener("resize", repaint);
start();
