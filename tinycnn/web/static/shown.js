// How predictions and arrays are shown, on the page for drawings and on the one for pictures.
"use strict";

/** A probability with one decimal. Softmax makes no 0 and no 1; both are rounded (as in tinycnn/metrics.py). */
function percent(share) {
  const text = (100 * share).toFixed(1);
  return text === "100.0" ? ">99.9 %" : text === "0.0" ? "<0.1 %" : `${text} %`;
}

const verdict = (share) => `${share < 0.6 ? "not sure: " : ""}${percent(share)}`;

const bytesOf = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

/** Red, green and blue of a colour of the style sheet, such as "--for". */
function rgb(name) {
  const colour = getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  return [1, 3, 5].map((i) => parseInt(colour.slice(i, i + 2), 16));
}

/** Puts what the colours of a map mean into an element, as a sentence with "blue" and "orange" in these colours. */
function putColours(element, words) {
  const sentence = words[0].toUpperCase() + words.slice(1);
  element.replaceChildren(...sentence.split(/(blue|orange)/i).filter(Boolean).map((part) => {
    const kind = { blue: "for", orange: "against" }[part.toLowerCase()];
    return kind ? Object.assign(document.createElement("span"), { className: kind, textContent: part }) : part;
  }));
}

function put(canvas, image) {
  canvas.width = image.width;
  canvas.height = image.height;
  canvas.getContext("2d").putImageData(image, 0, 0);
}
