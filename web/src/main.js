// Opens the model and the page, and shows what fails on the way.

import { check } from "../../examples/vae.mjs";
import * as engine from "./engine.js";
import { Page } from "./page.js";
import { listen, word } from "./words.js";

const find = (name) => document.querySelector(`#${name}`);
const report = (message) => (find("error").textContent = message);

function progress(received, total) {
  if (document.body.dataset.state !== "loading") return; // a file that was on its way when another one failed
  const share = Math.min(1, received / total);
  find("loading").setAttribute("aria-valuenow", Math.round(100 * share));
  find("loading").firstElementChild.style.width = `${100 * share}%`;
  find("verified").textContent = `loading, ${(received / 1e6).toFixed(1)} of ${(total / 1e6).toFixed(1)} MB`;
}

async function open() {
  const vae = await engine.open(new URL("model/", document.baseURI), progress);
  const { model, image, graphs, detail, data } = vae.manifest;
  check([1, 3].includes(image.channels), `a model of grey or colour pictures, got ${image.channels} channels`);
  const directions = (await vae.directions?.()) ?? [];
  find("about").replaceChildren(`${model.name} ${model.version}, a variational autoencoder, makes a picture from ` +
    `${vae.latentDim} numbers, called its `, word("latent"), ".");
  find("runtime").textContent = `${engine.runtime} Your pictures stay on this machine.`;
  find("licence").textContent = `The licence of the model: ${model.licence}.` +
    (data ? ` It was trained on ${data.name}, whose licence is: ${data.licence}.` : "");
  document.querySelectorAll("[data-fitted]").forEach((part) => (part.hidden = !graphs.latents));
  document.querySelectorAll("[data-detail]").forEach((part) => (part.hidden = !detail));
  find("label").parentElement.hidden ||= !vae.classNames.length;
  find("label").append(...vae.classNames.map((label, at) => new Option(label, at)));
  return new Page(vae, directions);
}

/** Loads the page; after a failure, a second call continues where the first one stopped. */
async function load() {
  const main = document.querySelector("main");
  report("");
  find("retry").hidden = true;
  document.body.dataset.state = "loading";
  try {
    globalThis.playground ??= await open();
    if (main.inert) await playground.begin();
    document.body.dataset.state = "loaded";
    await playground.proof.verify();
    await playground.openMap();
  } catch (error) {
    report(String(error.message ?? error));
    find("retry").hidden = false;
    if (main.inert) {
      document.body.dataset.state = "failed";
      find("verified").textContent = "no model";
    } else if (!playground.proof.checks.length) {
      find("verified").textContent = "not verified";
    }
  }
  document.body.dataset.ready = "true";
}

/** Does what can wait: the golden vectors of the encoder, and a copy of the page for the next visit. */
async function rest() {
  if (!globalThis.playground?.proof.checks.length) return;
  await new Promise((done) => (globalThis.requestIdleCallback ?? setTimeout)(done));
  if (!playground.proof.verifiedAll) await playground.proof.verifyEncodings();
  engine.keep();
}

listen();
// A browser would leave the page for a picture that is dropped before the model is loaded.
for (const kind of ["dragover", "drop"]) addEventListener(kind, (event) => event.preventDefault());
find("retry").addEventListener("click", () => load().then(rest));
load().then(rest);
