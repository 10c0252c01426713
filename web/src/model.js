// The model over an engine: samples, decoding, encoding, and the golden vectors replayed. No page in here.

import { check, greyLevels, seedOf } from "./numbers.js";

const float32 = (dims, data) => ({ dtype: "float32", dims, data: Float32Array.from(data) });
const int64 = (value) => ({ dtype: "int64", dims: [], data: BigInt64Array.of(BigInt(value)) });
const rows = (values, width) => Array.from({ length: values.length / width }, (_, at) => values.slice(at * width, (at + 1) * width));

export class Model {
  constructor(engine, manifest) {
    this.engine = engine;
    this.manifest = manifest;
    this.width = manifest.latent.dimensions;
    const { channels, height, width } = manifest.image;
    this.shape = [channels, height, width];
    this.pixels = channels * height * width;
    this.detail = manifest.detail ?? null;
    this.classes = manifest.graphs.latents ? manifest.class_names : [];
  }

  get defaults() {
    return {
      prior: this.manifest.latent.default_prior ?? "normal", label: -1, temperature: 1, detail: this.detail?.default ?? false,
    };
  }

  /** Latents, labels and noise (null without a detail stage) of samples start … start+count−1; one row each. */
  async draw(seed, start, count, { prior, label, temperature }) {
    if (!this.manifest.graphs.latents) {
      const { latent } = await this.engine.run("generator", { seed: int64(seed), start: int64(start), count: int64(count) });
      return { latents: rows(latent.data, this.width), labels: Array(count).fill(-1), noise: null };
    }
    const outputs = await this.engine.run("latents", {
      seed: int64(seed), start: int64(start), count: int64(count),
      prior: int64(prior === "fitted" ? 1 : 0), label: int64(label), temperature: float32([], [temperature]),
    });
    return {
      latents: rows(outputs.latent.data, this.width),
      labels: Array.from(outputs.labels.data, Number),
      noise: outputs.noise ? rows(outputs.noise.data, this.detail.noise) : null,
    };
  }

  /** Grey levels of latents, an array of Uint8Array: their mean pictures, or with noise (one row for all) details. */
  async decode(latents, noise = null) {
    const latent = float32([latents.length, this.width], latents.flatMap((row) => [...row]));
    const several = noise && Array.isArray(noise) ? noise : noise && latents.map(() => noise);
    const { image } = noise
      ? await this.engine.run("detail", { latent, noise: float32([latents.length, this.detail.noise], several.flatMap((row) => [...row])) })
      : await this.engine.run("decoder", { latent });
    return rows(greyLevels(image.data), this.pixels);
  }

  /** Mean and log-variance of the posterior of one picture's grey levels. */
  async encode(levels) {
    const image = float32([1, ...this.shape], Float32Array.from(levels, (level) => Math.fround(level / 255)));
    const { mean, log_variance } = await this.engine.run("encoder", { image });
    return { mean: Array.from(mean.data), logVariance: Array.from(log_variance.data) };
  }

  /** The golden vectors replayed: { passed, latents, greyLevels } with the largest differences. */
  async verify(golden) {
    let [latents, levels] = [0, 0];
    const farther = (found, expected) => found.reduce((worst, value, at) => Math.max(worst, Math.abs(value - expected[at])), 0);
    for (const { seed, start, count, latents: expected, images } of golden.samples) {
      const range = [seedOf(seed), seedOf(start, "a start"), count];
      const { latents: found, noise } = await this.draw(...range, this.defaults);
      latents = Math.max(latents, ...found.map((row, at) => farther(row, expected[at])));
      const wanted = rows(bytesOf(images.base64), this.pixels);
      const made = await this.decode(found.slice(0, wanted.length), this.defaults.detail ? noise.slice(0, wanted.length) : null);
      levels = Math.max(levels, ...made.map((picture, at) => farther(picture, wanted[at])));
    }
    const decoded = await this.decode(golden.decodings.latents);
    const expected = rows(bytesOf(golden.decodings.images.base64), this.pixels);
    levels = Math.max(levels, ...decoded.map((picture, at) => farther(picture, expected[at])));
    const { latent, grey_levels: grey } = golden.tolerances;
    return { passed: latents <= latent && levels <= grey, latents, greyLevels: levels };
  }
}

/** The manifest of a model folder, refused where it is none or newer than this page. */
export async function readManifest(folder) {
  const response = await fetch(new URL("manifest.json", folder)).catch(() => null);
  check(response?.ok, "a model beside this page, got no manifest.json; build the page again or start vae-gen play");
  const manifest = await response.json().catch(() => null);
  check(manifest?.schema_version === 1 && manifest.graphs?.decoder, "a manifest.json of schema version 1, got another; copy the model again");
  check(manifest.image.channels === 1, `a model of grey pictures, got ${manifest.image.channels} channels`);
  return manifest;
}

export function bytesOf(base64) {
  return Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
}
