// Requests to the server. One that it is too busy for is sent again by itself, a few times, each after a random wait: a
// class that asks at the same moment does not ask again at the same moment.
"use strict";

const TRIES = 6;
const SLOW_MS = 1500; // after this time, the page says that it is waiting
let askers = 0; // requests that wait for the server

function showWaiting(by) {
  askers += by;
  document.getElementById("waiting").hidden = askers === 0;
}

/** The response, as of `fetch`; busy means the status 503 with the header Retry-After, which holds seconds. */
async function patientFetch(path, options) {
  let isShown = false;
  const show = () => isShown || ((isShown = true), showWaiting(1));
  const slow = setTimeout(show, SLOW_MS);
  try {
    for (let tried = 1; ; tried++) {
      const response = await fetch(path, options), seconds = Number(response.headers.get("Retry-After"));
      if (response.status !== 503 || !seconds || tried === TRIES) return response;
      show();
      await new Promise((done) => setTimeout(done, 1000 * seconds * tried * (0.5 + Math.random())));
    }
  } finally {
    clearTimeout(slow);
    if (isShown) showWaiting(-1);
  }
}
