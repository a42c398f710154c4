// Send pictures one after another, show what the network returns for each. A picture is sent as it is; only one that is
// larger than a request may be is made smaller first, and its card says so.
"use strict";

const $ = (id) => document.getElementById(id);
const MOST_CARDS = 100; // pictures on the page
const MOST_BARS = 10; // with more classes, only the most probable are shown
const FADED = 0.3; // of the picture, under the map of what mattered

const SIGNATURES = [ // how a file begins, and its type: a name may be wrong
  [/^\x89PNG\r\n\x1a\n/, "image/png"],
  [/^\xff\xd8\xff/, "image/jpeg"],
  [/^RIFF[^]{4}WEBP/, "image/webp"],
  [/^GIF8[79]a/, "image/gif"],
  [/^BM/, "image/bmp"],
];

let model = null; // the description of the network
let cards = []; // each {file, item, answer}, in the order of the page
let queue = []; // cards that wait for their turn
let working = false;

// ------------------------------------------------------------------------------------------------------ what is sent

/** The type of a file by its first bytes, or undefined for one that the server does not read. */
async function typeOf(file) {
  const start = String.fromCharCode(...new Uint8Array(await file.slice(0, 12).arrayBuffer()));
  return SIGNATURES.find(([signature]) => signature.test(start))?.[1];
}

/** The decoded picture, rotated as its file states, with the numbers that are in the file; null if that fails. */
async function decoded(file) {
  try {
    return await createImageBitmap(file, { colorSpaceConversion: "none" });
  } catch {
    return null;
  }
}

/** What to send for a file: {type, body, note}. */
async function prepared(file) {
  const type = await typeOf(file), fits = type && file.size <= model.most_bytes, bitmap = await decoded(file);
  if (fits && (!bitmap || bitmap.width * bitmap.height <= model.most_pixels)) return { type, body: file, note: "" };
  if (!bitmap) throw new Error("not a picture that can be read here; expected PNG, JPEG, WebP, GIF or BMP.");
  return smaller(bitmap);
}

/** A picture on white, as a JPEG file that fits into a request. */
async function smaller(bitmap) {
  const canvas = document.createElement("canvas"), context = canvas.getContext("2d");
  for (let pixels = model.most_pixels; ; pixels /= 2) {
    const scale = Math.min(1, Math.sqrt(pixels / (bitmap.width * bitmap.height)));
    canvas.width = Math.max(1, Math.floor(bitmap.width * scale));
    canvas.height = Math.max(1, Math.floor(bitmap.height * scale));
    context.fillStyle = "#fff";
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.imageSmoothingQuality = "high";
    context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    const body = await new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.95));
    if (body.size > model.most_bytes) continue;
    const note = `${size(bitmap)} pixels, sent as a JPEG of ${size(canvas)}, because one of more than ${grouped(model.most_pixels)} pixels or ${grouped(model.most_bytes)} bytes is refused.`;
    return { type: "image/jpeg", body, note };
  }
}

const grouped = (number) => number.toLocaleString("en");
const size = ({ width, height }) => `${grouped(width)} × ${grouped(height)}`;

async function ask(file) {
  const { type, body, note } = await prepared(file);
  let response;
  try {
    response = await patientFetch("predict?inside=1", { method: "POST", headers: { "Content-Type": type }, body });
  } catch {
    throw new Error("the server does not answer. Is it still running?");
  }
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error);
  return { ...answer, note };
}

// ------------------------------------------------------------------------------------------------------------- queue

/** Takes files, each as a new card, those of one choice in their order, before the earlier ones. */
function take(files) {
  const given = [...files], taken = given.slice(0, MOST_CARDS);
  trouble(
    given.length === 0 ? "There is no picture in it: save the picture as a file first, and choose that." :
    given.length > MOST_CARDS ? `Only the first ${MOST_CARDS} of ${grouped(given.length)} pictures are read here; tinycnn predict reads a whole folder.` : "",
  );
  const added = taken.map((file) => ({ file, item: waitingCard(file), answer: null }));
  cards = [...added, ...cards];
  cards.slice(MOST_CARDS).forEach(({ item }) => item.remove());
  cards = cards.slice(0, MOST_CARDS);
  $("cards").prepend(...added.map(({ item }) => item));
  queue.push(...added);
  update();
  work();
}

async function work() {
  if (working || !model) return;
  working = true;
  $("cards").setAttribute("aria-busy", "true");
  let read = [];
  while (queue.length) {
    const card = queue.shift();
    if (!cards.includes(card)) continue; // cleared meanwhile
    try {
      card.answer = await ask(card.file);
    } catch (error) {
      card.error = error.message;
    }
    if (!cards.includes(card)) continue;
    show(card);
    read.push(card);
  }
  $("cards").setAttribute("aria-busy", "false");
  working = false;
  speak(read.filter((card) => cards.includes(card)));
}

function clear() {
  cards = [];
  queue = [];
  $("cards").replaceChildren();
  trouble("");
  update();
  $("files").focus();
}

function update() {
  $("none").hidden = cards.length > 0;
  $("clear").hidden = cards.length === 0;
}

function trouble(sentence) {
  $("trouble").textContent = sentence;
  $("trouble").hidden = !sentence;
}

function speak(read) {
  const failed = read.filter(({ error }) => error).length;
  if (read.length === 1) $("spoken").textContent = read[0].error ? `${read[0].file.name}: ${read[0].error}` : `${read[0].file.name}: ${spoken(read[0].answer)}`;
  else if (read.length) $("spoken").textContent = `${read.length - failed} pictures read${failed ? `, ${failed} could not be read` : ""}.`;
}

// ------------------------------------------------------------------------------------------------------------- cards

/** An element with properties and children. */
function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

const waitingCard = (file) => make("li", {}, make("h3", { textContent: file.name }), make("p", { className: "hint", textContent: "reading …" }));

/** The most important words about an answer, and further ones: ["circle", "98.0 %"]. */
function headline({ outputs, class_names, answer, probabilities, numbers }) {
  if (outputs === "classes") return [answer, verdict(Math.max(...probabilities))];
  if (outputs === "numbers") return numbers.length === 1 ? [rounded(numbers[0]), class_names[0]] : ["", ""];
  const likely = class_names.map((name, k) => ({ name, share: probabilities[k] })).filter(({ share }) => share >= 0.5);
  likely.sort((a, b) => b.share - a.share);
  return [listed(likely.map(({ name }) => name)) || "none", likely.length ? "at least 50 % each, by itself" : "no label has 50 %"];
}

/** The first names, as many as are read in passing. */
function listed(names) {
  let count = 1;
  while (count < names.length && names.slice(0, count + 1).join(", ").length <= 80) count++;
  return names.slice(0, count).join(", ") + (count < names.length ? ` and ${grouped(names.length - count)} more` : "");
}

function spoken(answer) {
  const values = answer.numbers ? answer.numbers.map(rounded) : answer.probabilities.map(percent);
  if (answer.outputs === "classes") return headline(answer).join(", ");
  return values.map((value, k) => `${answer.class_names[k]} ${value}`).slice(0, MOST_BARS).join(", ");
}

const rounded = (number) => String(Number(number.toPrecision(6))); // as tinycnn predict prints it

function show(card) {
  const title = make("h3", { textContent: card.file.name });
  if (card.error) {
    const sentence = card.error[0].toUpperCase() + card.error.slice(1);
    card.item.replaceChildren(title, make("p", { className: "trouble", textContent: sentence }));
    return;
  }
  const { answer } = card, [words, more] = headline(answer), parts = make("div", { className: "parts" });
  const verdictLine = make("p", { className: "verdict" }, make("strong", { textContent: words }), make("span", { textContent: more }));
  const [H, W] = answer.picture.shape;
  parts.append(figure("seen", `What the network gets: ${W}×${H}${answer.picture.shape[2] === 1 ? ", grey" : ""}`, card.file.name));
  if (answer.saliencies.length) parts.append(figure("mattered", `What mattered for ${answer.explained}`, card.file.name));
  parts.append(answer.numbers ? numberList(answer) : bars(answer));
  card.item.replaceChildren(title, ...(words ? [verdictLine] : []), parts);
  if (answer.note) card.item.append(make("p", { className: "hint", textContent: answer.note }));
  offerMethods(answer);
  paint(card);
}

function figure(kind, caption, name) {
  const canvas = make("canvas", { className: `pixels ${kind}` });
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", `${caption}, of ${name}`);
  return make("figure", {}, canvas, make("figcaption", { textContent: caption }));
}

/** Sets the width of the column of names. */
function withNames(list, names) {
  list.style.setProperty("--name", `${Math.max(1.5, 0.62 * Math.min(14, Math.max(...names.map((name) => name.length))))}rem`);
  return list;
}

function bars({ outputs, class_names, answer, probabilities }) {
  let shown = probabilities.map((share, k) => ({ share, name: class_names[k] }));
  const rest = shown.length - MOST_BARS;
  if (rest > 0) shown = shown.sort((a, b) => b.share - a.share).slice(0, MOST_BARS);
  const items = shown.map(({ share, name }) => {
    const bar = make("div", { className: "bar" });
    bar.style.width = `${100 * share}%`;
    const rail = make("span", { className: "rail" }, bar), item = make("li", { title: name });
    item.append(make("span", { className: "name", textContent: name }), rail, make("span", { className: "share", textContent: percent(share) }));
    item.classList.toggle("best", outputs === "classes" ? name === answer : share >= 0.5);
    return item;
  });
  if (rest > 0) items.push(make("li", { className: "rest", textContent: `and ${grouped(rest)} more, each at most ${percent(shown[MOST_BARS - 1].share)}` }));
  return withNames(make("ol", { className: "bars" }, ...items), shown.map(({ name }) => name));
}

function numberList({ class_names, numbers }) {
  const items = numbers.map((number, k) =>
    make("li", { title: class_names[k] }, make("span", { className: "name", textContent: class_names[k] }), make("span", { className: "share", textContent: rounded(number) })),
  );
  return withNames(make("ol", { className: "bars numbers" }, ...items), class_names);
}

// ---------------------------------------------------------------------------------------------------------- pictures

/** The choice of a method, once it is known which ones the network allows. */
function offerMethods({ saliencies }) {
  if (!saliencies.length || $("method").options.length) return;
  $("method").append(...saliencies.map(({ name }) => make("option", { textContent: name })));
  $("which").hidden = $("legend").hidden = false;
}

/** What the colours of a map mean; the number of a network that returns numbers is its score. */
function explainColours({ colours }, outputs) {
  const words = outputs === "numbers" ? colours.replaceAll("score", "number") : colours;
  putColours($("legend"), `${words}. The strongest has the full colour.`);
}

function paint({ item, answer }) {
  if (!answer) return;
  const [H, W, C] = answer.picture.shape, pixels = bytesOf(answer.picture.pixels), image = new ImageData(W, H);
  for (let i = 0; i < H * W; i++) image.data.set([pixels[C * i], pixels[C * i + (C > 1)], pixels[C * i + (C > 1 ? 2 : 0)], 255], 4 * i);
  put(item.querySelector(".seen"), image);
  const map = answer.saliencies.find(({ name }) => name === $("method").value) || answer.saliencies[0];
  if (!map) return;
  const canvas = item.querySelector(".mattered");
  put(canvas, mapOn(image, bytesOf(map.maps)));
  explainColours(map, answer.outputs);
  canvas.nextSibling.textContent = `What mattered for ${answer.explained}${map.largest ? "" : ": nothing, by this method"}`;
}

/** A map, bytes centred on 128, in the colours for positive and negative over a faded grey copy of the picture. */
function mapOn({ data, width, height }, bytes) {
  const zero = rgb("--zero"), above = rgb("--for"), below = rgb("--against"), image = new ImageData(width, height);
  bytes.forEach((byte, i) => {
    const value = Math.max(-1, (byte - 128) / 127), end = value < 0 ? below : above, share = Math.abs(value);
    const grey = 0.3 * data[4 * i] + 0.59 * data[4 * i + 1] + 0.11 * data[4 * i + 2];
    for (let c = 0; c < 3; c++) image.data[4 * i + c] = ((1 - FADED) * zero[c] + FADED * grey) * (1 - share) + end[c] * share;
    image.data[4 * i + 3] = 255;
  });
  return image;
}

// ------------------------------------------------------------------------------------------------------------- start

/** What the network takes and returns, in a sentence. */
function described({ parameters, input_shape: [H, W, C], outputs, class_names }) {
  const count = class_names.length, some = listed(class_names);
  const returned = {
    classes: `chooses one of ${grouped(count)} classes (${some})`,
    labels: `returns a probability for each of ${grouped(count)} labels by itself (${some})`,
    numbers: count === 1 ? "returns a number" : `returns ${grouped(count)} numbers`,
  }[outputs];
  return `A convolutional network with ${grouped(parameters)} parameters takes the middle of a picture, scaled to ${W}×${H} pixels${C === 1 ? " in grey" : " in colour"}, and ${returned}.`;
}

for (const id of ["files", "camera"]) {
  $(id).addEventListener("change", ({ target }) => {
    if (target.files.length) take(target.files);
    target.value = ""; // the same file can be chosen again
  });
}
const hasFiles = (event) => event.dataTransfer?.types.length > 0;
document.addEventListener("dragover", (event) => {
  if (!hasFiles(event)) return;
  event.preventDefault(); // a browser would open the picture instead
  $("drop").classList.add("over");
});
document.addEventListener("dragleave", (event) => event.relatedTarget || $("drop").classList.remove("over"));
document.addEventListener("drop", (event) => {
  if (!hasFiles(event)) return;
  event.preventDefault();
  $("drop").classList.remove("over");
  take(event.dataTransfer.files);
});
document.addEventListener("paste", (event) => take(event.clipboardData.files));
$("clear").addEventListener("click", clear);
$("method").addEventListener("change", () => cards.forEach(paint));
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => cards.forEach(paint));

async function start() {
  try {
    model = await (await patientFetch("model")).json();
    $("about").textContent = described(model);
    work();
  } catch {
    trouble("The server does not answer. Is it still running?");
  }
}
start();
