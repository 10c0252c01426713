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

  /** Replay the golden vectors that need no encoder: samples, every choice of prior, class and temperature, decodings. */
  async replayDraws(golden, differences) {
    const range = ({ seed, start, count }) => [seedOf(seed), seedOf(start, "a start"), count];
    for (const { latents, images, ...of } of golden.samples) {
      const drawn = await this.draw(...range(of), this.defaults);
      differences.hold("latent", joined(drawn.latents), latents.flat());
      const some = (values) => values.slice(0, images.count); // pictures are few, latents all
      const made = await this.decode(some(drawn.latents), this.defaults.detail ? some(drawn.noise) : null);
      differences.hold("grey_levels", joined(made), bytesOf(images.base64));
    }
    for (const { latents, labels, noise, ...of } of this.manifest.graphs.latents ? golden.latents : []) {
      const drawn = await this.draw(...range(of), of);
      differences.hold("latent", joined(drawn.latents), latents.flat());
      differences.hold("label", drawn.labels, labels);
      if (noise) differences.hold("noise", joined(drawn.noise), noise.flat());
    }
    const { decodings, details } = golden;
    differences.hold("grey_levels", joined(await this.decode(decodings.latents)), bytesOf(decodings.images.base64));
    if (this.detail) {
      differences.hold("grey_levels", joined(await this.decode(details.latents, details.noise)), bytesOf(details.images.base64));
    }
  }

  /** Replay the golden vectors of the encoder. */
  async replayEncodings({ encodings }, differences) {
    const pictures = rows(bytesOf(encodings.images.base64), this.pixels);
    for (const [at, picture] of pictures.entries()) {
      const { mean, logVariance } = await this.encode(picture);
      differences.hold("mean", mean, encodings.mean[at]);
      differences.hold("log_variance", logVariance, encodings.log_variance[at]);
    }
  }
}

const joined = (pictures) => pictures.flatMap((levels) => [...levels]);

/** The largest differences from golden vectors, by what was compared, and whether they are within the tolerances. */
export class Differences {
  constructor({ latent, grey_levels, mean, log_variance }) {
    this.allowed = { latent, noise: latent, label: 0, mean, log_variance, grey_levels };
    this.found = {};
  }

  hold(name, found, expected) {
    const worst = found.length === expected.length && found.length > 0 // no values would agree with anything
      ? found.reduce((most, value, at) => Math.max(most, Math.abs(value - expected[at])), 0) // NaN if there is one
      : NaN;
    this.found[name] = Math.max(this.found[name] ?? 0, worst);
  }

  /** Names of what is too far off. */
  get failed() {
    return Object.keys(this.found).filter((name) => !(this.found[name] <= this.allowed[name]));
  }

  /** The largest difference of numbers (pictures have grey levels, classes are equal or not). */
  get largest() {
    const { grey_levels: levels, label, ...numbers } = this.found;
    return Math.max(...Object.values(numbers));
  }

  /** All of them in words. */
  toString() {
    return Object.entries(this.found).map(([name, worst]) =>
      `${name.replace("_", " ")} ${["grey_levels", "label"].includes(name) ? worst : worst.toFixed(7)}`).join(", ");
  }
}

/** The manifest of a model folder, refused where it is none or newer than this page. again: past what was kept. */
export async function readManifest(folder, again) {
  const response = await fetch(new URL("manifest.json", folder), { cache: again ? "reload" : "default" }).catch(() => null);
  check(response?.ok, "a model beside this page, got no manifest.json; build the page again or start vae-gen play");
  const manifest = await response.json().catch(() => null);
  check(manifest?.schema_version === 1 && manifest.graphs?.decoder, "a manifest.json of schema version 1, got another; copy the model again");
  check(manifest.image.channels === 1, `a model of grey pictures, got ${manifest.image.channels} channels`);
  return manifest;
}

export function bytesOf(base64) {
  return Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
}
