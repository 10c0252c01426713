// The state of the page in its address, so that a link restores it. Seeds are decimal strings.

import { check, wholeNumber } from "../../examples/vae.mjs";

/** The part of an address after #, for a state { seed, start, prior, label, temperature, detail, latent }. */
export function toHash({ seed, start, prior, label, temperature, detail, latent }) {
  const fields = { seed, start, prior, label, temperature, detail: detail ? 1 : 0 };
  if (latent) fields.z = Array.from(latent, (value) => Number(value.toFixed(3))).join(",");
  return `#${new URLSearchParams(fields)}`;
}

/** The state in such a part, with the model's defaults for what it leaves out; null for an empty part. */
export function fromHash(hash, vae) {
  if (hash.length < 2) return null;
  const fields = new URLSearchParams(hash.slice(1));
  const state = { ...vae.resolve(), start: "0", latent: null };
  state.seed = String(wholeNumber(fields.get("seed") ?? "", "a link with a seed"));
  if (fields.has("start")) state.start = String(wholeNumber(fields.get("start"), "a link with a start"));
  if (fields.has("prior")) state.prior = fields.get("prior");
  const number = (name) => (fields.get(name).trim() ? Number(fields.get(name)) : NaN);
  if (fields.has("label")) state.label = number("label");
  if (fields.has("temperature")) state.temperature = number("temperature");
  if (fields.has("detail")) {
    check(/^[01]$/.test(fields.get("detail")), `a link with detail 0 or 1, got ${fields.get("detail").slice(0, 20) || "nothing"}`);
    state.detail = fields.get("detail") === "1" && Boolean(vae.manifest.detail);
  }
  const fitted = Boolean(vae.manifest.graphs.latents);
  check(state.prior === "normal" || (fitted && state.prior === "fitted"), `a link with a prior of this model, got ${state.prior.slice(0, 20)}`);
  const classes = state.prior === "fitted" ? vae.classNames.length : 0;
  check(Number.isInteger(state.label) && state.label >= -1 && state.label < classes, `a link with a class of this model, got ${state.label}`);
  check(state.temperature >= 0 && state.temperature <= 2, `a link with a temperature from 0 to 2, got ${state.temperature}`);
  if (fields.has("z")) {
    const latent = fields.get("z").split(",").map((text) => (text.trim() ? Number(text) : NaN));
    const fits = latent.length === vae.latentDim && latent.every((value) => Math.abs(value) <= 100);
    check(fits, `a link with ${vae.latentDim} numbers of a latent, got ${fields.get("z").slice(0, 30)}`);
    state.latent = latent;
  }
  return state;
}
