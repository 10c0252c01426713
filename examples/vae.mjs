// A variational autoencoder (VAE) from a model folder, on ONNX Runtime, in a browser or in Node.js 20.16 or newer.
//
//     import * as ort from "onnxruntime-web"; // in Node.js: import ort from "onnxruntime-node";
//     import { VAE, greyLevels } from "./vae.mjs";
//
//     const vae = await VAE.load("model/", { ort }); // the folder's address, or in Node.js its path
//     const samples = await vae.sample(2, { seed: 7 }); // the same two pictures on every machine
//     console.log(greyLevels(samples.images));
//
// All arrays are flat. Images are Float32Array [n × channels × height × width] with values in [0, 1], and latents are
// Float32Array [n × latentDim]; `rows(images, n)` splits them into n pieces. Arguments may also be nested arrays.
// An error is one line with what was expected, what was found, and often what to do.

/**
 * @typedef {number | bigint | string} Whole
 *   A whole number from 0 to 2^63-1. From 2^53 on, give it as a BigInt or as decimal digits.
 * @typedef {ArrayLike<any>} Values
 *   Numbers in a flat typed array, or in arrays of any depth.
 * @typedef {object} Choice
 *   What to sample. Whatever is left out takes the model's default.
 * @property {Whole} [seed]  which endless sequence of pictures; a random one below 2^53 by default
 * @property {Whole} [start]  the index of the first picture in that sequence; 0 by default
 * @property {"normal" | "fitted"} [prior]  the density that latents are drawn from: N(0, I), or the one that was fitted
 *   to the latents of the training images
 * @property {number | string} [label]  one class only: its index in `classNames`, its name, or a word of its name, as
 *   "boot"; -1 means any class
 * @property {number} [temperature]  the factor of the latents' noise, from 0 to 100; 1 by default
 * @property {boolean} [detail]  true draws pictures with the detail stage, false gives the decoder's mean pictures
 * @typedef {object} Drawn
 *   Latents that were drawn, and what belongs to them.
 * @property {Float32Array} latents  [n × latentDim]
 * @property {number[]} labels  the class of each latent, or -1 where it has none
 * @property {Float32Array | null} noise  the input of the detail stage, [n × its width]; null if there is no such stage
 * @property {string} seed  in decimal digits
 * @property {string} start  in decimal digits
 * @typedef {Drawn & { images: Float32Array }} Samples
 * @typedef {{ name: string, difference: number, allowed: number, passed: boolean }} Check
 *   The largest absolute difference of one kind of value from the golden vectors, and the largest one that passes.
 */

const LARGEST = 1e6; // beyond it a network's sums overflow, and its pictures hold NaN
const ROUNDING = 1e-3; // pixels may lie so far outside of [0, 1]
const SMALLEST = 2 ** -24; // decoded pixels count as at least this, because the logarithm of 0 is infinite

/** A trained VAE: it samples, encodes and decodes. `VAE.load` opens one. */
export class VAE {
  #turn = Promise.resolve();
  #golden = null;
  #directions = null;

  /**
   * Opens a model folder. Its graphs are read, checked and opened when they are first needed.
   * @param {string | URL} folder  the address of the model folder, or in Node.js its path
   * @param {object} engine  what runs the graphs: `ort` or `run` is required
   * @param {any} [engine.ort]  the module onnxruntime-web or onnxruntime-node, or a promise of it
   * @param {object} [engine.sessionOptions]  options for ONNX Runtime's sessions, instead of the CPU and one thread
   * @param {(graph: string, inputs: object) => Promise<object>} [engine.run]  runs a graph elsewhere, of the inputs
   *   { name: { dtype, dims, data } }, and returns its outputs { name: typed array }
   * @param {(address: string) => Promise<Uint8Array>} [engine.read]  reads a file of the folder
   * @param {(content: Uint8Array) => Uint8Array} [engine.sha256]  hashes on pages from plain http:, where
   *   browsers do not
   * @param {Map<string, Promise<any>>} [engine.sessions]  holds the opened sessions by the SHA-256 of their graphs; a
   *   second load with the map of a first one does not read those graphs again
   * @returns {Promise<VAE>}
   */
  static async load(folder, { ort, sessionOptions, run, read = readBytes, sha256, sessions = new Map() } = {}) {
    check(ort || run, "{ ort }, which is onnxruntime-web or onnxruntime-node, got neither that nor { run }");
    check(typeof folder === "string" || folder instanceof URL, `the address of a model folder, got ${shown(folder)}`);
    const place = String(folder).replace(/\/*$/, "/");
    const vae = Object.assign(new VAE(), { place, ort, sessionOptions, elsewhere: run, read, sha256, sessions });
    const manifest = await vae.readJson("manifest.json");
    const fits = manifest?.schema_version === 1 && manifest.graphs?.decoder;
    check(fits, `a manifest.json of schema version 1 in ${folder}, got ${manifest?.schema_version ?? "another file"}`);
    return Object.assign(vae, { manifest });
  }

  /** How many numbers a latent has. */
  get latentDim() {
    return this.manifest.latent.dimensions;
  }

  /** The shape of an image: [channels, height, width]. */
  get imageShape() {
    const { channels, height, width } = this.manifest.image;
    return [channels, height, width];
  }

  /** How the training pictures were prepared, so that others can be prepared alike: { fit, background, invert_bright, fill }. */
  get preparation() {
    return this.manifest.preparation ?? { fit: "pad", background: "black", invert_bright: true, fill: 1 }; // a folder from before it was noted
  }

  /** The names of the classes; empty for a model that was trained without classes. */
  get classNames() {
    return this.manifest.class_names;
  }

  /**
   * Makes n pictures: start … start+n−1 of a seed, the same ones on every machine.
   * @param {number} [n]
   * @param {Choice} [choice]
   * @returns {Promise<Samples>}  its noise is null if the detail stage was not used
   */
  async sample(n = 1, choice = {}) {
    const drawn = await this.draw(n, choice);
    const samples = { ...drawn, noise: this.resolve(choice).detail ? drawn.noise : null };
    return { images: await this.decode(samples), ...samples };
  }

  /**
   * Makes n pictures in chunks, so that memory does not grow with n.
   * @param {number} n
   * @param {Choice & { chunk?: number }} [choice]  chunk is the number of pictures in each chunk, 256 by default
   * @returns {AsyncGenerator<Samples>}
   */
  async *stream(n, { chunk = 256, seed = randomSeed(), start = 0, ...choice } = {}) {
    check(Number.isInteger(chunk) && chunk >= 1, `a chunk of at least 1 picture, got ${shown(chunk)}`);
    const { from } = wholeRange(start, n);
    for (let at = 0; at < n; at += chunk) {
      yield await this.sample(Math.min(chunk, n - at), { ...choice, seed, start: from + BigInt(at) });
    }
  }

  /**
   * Draws n latents without decoding them: what `sample` makes its pictures of.
   * @param {number} [n]
   * @param {Choice} [choice]
   * @returns {Promise<Drawn>}
   */
  async draw(n = 1, { seed = randomSeed(), start = 0, ...choice } = {}) {
    const { prior, label, temperature } = this.resolve(choice);
    const { from, count } = wholeRange(start, n);
    const range = { seed: [wholeNumber(seed)], start: [from], count: [count] };
    const origin = { seed: String(range.seed), start: String(from) };
    if (!this.manifest.graphs.latents) { // a model folder from before there were fitted priors
      const { latent } = await this.run("generator", range);
      return { latents: latent, labels: Array(Number(count)).fill(-1), noise: null, ...origin };
    }
    const chosen = { prior: [BigInt(prior === "fitted")], label: [BigInt(label)], temperature: [temperature] };
    const { latent, labels, noise = null } = await this.run("latents", { ...range, ...chosen });
    return { latents: latent, labels: Array.from(labels, Number), noise, ...origin };
  }

  /**
   * Makes the pictures of latents.
   *
   * The detail stage needs noise besides a latent. If none is given, all latents share the noise of picture 0 of seed 0
   * from the normal prior, so that a latent always gives the same picture.
   * @param {Values | Drawn} latents  [n × latentDim]; or what `sample` or `draw` returned, which includes the noise
   * @param {{ noise?: Values | null, detail?: boolean }} [options]  noise for each latent, or one row for all of them;
   *   detail as in `Choice`, and by default true if there is noise and false if it is null
   * @returns {Promise<Float32Array>}
   */
  async decode(latents, { noise: own, detail } = {}) {
    check(!own || detail !== false, "noise or detail: false, got both");
    const noise = own === undefined ? latents?.noise : own;
    const latent = flat(latents?.latents ?? latents);
    detail ??= noise === undefined ? undefined : noise !== null;
    if (!this.resolve({ detail }).detail) return (await this.run("decoder", { latent })).image;
    const given = flat(noise ?? (await this.draw(1, { seed: 0, prior: "normal" })).noise);
    const [n, width] = [Math.ceil(latent.length / this.latentDim), this.manifest.detail.noise];
    const rowsOfNoise = given.length === width ? flat(Array(n).fill(given)) : given;
    const fits = rowsOfNoise.length === n * width;
    check(fits, `${width} numbers of noise for each latent, or once for all, got ${given.length}`);
    return (await this.run("detail", { latent, noise: rowsOfNoise })).image;
  }

  /**
   * The latents on the way from latent a to latent b, both included; `decode` makes their pictures.
   *
   * "linear" is a straight line, and "spherical" the arc that keeps the usual distance from the prior's centre. "likely"
   * goes where the fitted prior is dense, so that fewer pictures are torn between two garments; it takes some hundredths
   * of a second. It is the default of a model that has a fitted prior.
   * @param {Values} a  [latentDim]
   * @param {Values} b  [latentDim]
   * @param {number} [steps]  how many latents, at least 2
   * @param {{ method?: "likely" | "linear" | "spherical" }} [options]
   * @returns {Promise<Float32Array>}  [steps × latentDim]
   */
  async interpolate(a, b, steps = 11, { method } = {}) {
    check(Number.isInteger(steps) && steps >= 2, `at least 2 steps, got ${shown(steps)}`);
    const fitted = Boolean(this.manifest.graphs.latents);
    method ??= fitted ? "likely" : "linear";
    const methods = fitted ? ["likely", "linear", "spherical"] : ["linear", "spherical"];
    check(methods.includes(method), `the method ${methods.join(" or ")}, got ${shown(method)}`);
    const spec = { name: "latent", dtype: "float32", shape: [1, this.latentDim] };
    const [first, last] = [a, b].map((end) => Array.from(checkedInput(spec, end).data));
    const corners = method === "likely" ? likelyPath(await this.#fittedDensity(), first, last) : [first, last];
    const along = method === "spherical" ? arc(first, last) : evenly(corners);
    const inner = Array.from({ length: steps - 2 }, (_, at) => along((at + 1) / (steps - 1)));
    return Float32Array.from([first, ...inner, last].flat());
  }

  #fittedDensity() {
    this.density ??= this.#readListed("prior.json").then(fittedDensity);
    this.density.catch(() => delete this.density); // a failure is forgotten: the next call tries again
    return this.density;
  }

  /**
   * Encodes images into the mean and the log-variance of the posterior, which is the normal distribution of the latents
   * that could have made an image.
   * @param {Values} images  in [0, 1]; or grey levels from 0 to 255 as Uint8Array or Uint8ClampedArray. `fitPixels` of
   *   fit.mjs makes them of the pixels of a canvas
   * @returns {Promise<{ mean: Float32Array, logVariance: Float32Array }>}  each [n × latentDim]
   */
  async encode(images) {
    const image = unitRange(images, this.imageShape);
    const { mean, log_variance: logVariance } = await this.run("encoder", { image });
    return { mean, logVariance };
  }

  /**
   * How well the model describes images, at the means of their posteriors and with the decoder's mean pictures.
   * @param {Values} images  as in `encode`
   * @returns {Promise<{ nats: number[], unexplained: number[], familiar: boolean[] }>}  the loss of each image; the share of
   *   its variation that the reconstruction misses; and whether it resembles the images that the model was trained on
   */
  async losses(images) {
    const { mean, logVariance } = await this.encode(images);
    const made = await this.decode(mean, { detail: false });
    const n = mean.length / this.latentDim;
    const { pixel_variance: variance, familiar: limits } = this.manifest.metrics?.test ?? {};
    const gaussian = this.manifest.likelihood === "gaussian";
    const pairs = [unitRange(images, this.imageShape), made].map((all) => rows(all, n));
    const codes = [mean, logVariance].map((all) => rows(all, n));
    const found = Array.from({ length: n }, (_, row) => {
      const [[x, p], [m, v]] = [pairs, codes].map((both) => both.map((all) => all[row]));
      const average = x.reduce((sum, value) => sum + value, 0) / x.length;
      let [nats, squared, variation] = [0, 0, 0];
      x.forEach((value, at) => {
        const [error, inner] = [(value - p[at]) ** 2, Math.min(1 - SMALLEST, Math.max(SMALLEST, p[at]))];
        squared += error;
        variation += (value - average) ** 2;
        nats += gaussian ? error / (2 * variance) + 0.5 * Math.log(2 * Math.PI * variance)
          : -(value * Math.log(inner) + (1 - value) * Math.log1p(-inner));
      });
      m.forEach((value, at) => (nats += 0.5 * (value ** 2 + Math.exp(v[at]) - v[at] - 1)));
      const unexplained = squared / Math.max(variation, SMALLEST);
      const [lowest, highest] = limits?.nats_per_pixel ?? [-Infinity, Infinity];
      const familiar = nats / x.length >= lowest && nats / x.length <= highest && unexplained <= (limits?.unexplained ?? Infinity);
      return { nats, unexplained, familiar };
    });
    const all = (name) => found.map((one) => one[name]);
    return { nats: all("nats"), unexplained: all("unexplained"), familiar: all("familiar") };
  }

  /**
   * Replays golden.json, which has inputs with their expected outputs.
   * @param {{ draws?: boolean, encodings?: boolean }} [parts]  false leaves out what needs no encoder, or what needs it
   * @returns {Promise<Check[]>}
   */
  async verify({ draws = true, encodings = true } = {}) {
    const golden = this.#golden ?? (await this.readJson("golden.json"));
    const worst = {};
    const compare = (name, found, expected) => {
      const comparable = found.length === expected.length && found.length > 0; // no values would agree with anything
      const differences = Float64Array.from(found, (value, at) => Math.abs(value - expected[at]));
      worst[name] = Math.max(worst[name] ?? 0, comparable ? differences.reduce((a, b) => Math.max(a, b)) : NaN);
    };
    try {
      if (draws) await this.#replayDraws(golden, compare);
      if (encodings) await this.#replayEncodings(golden, compare);
      this.#golden = golden;
      const allowed = { noise: golden.tolerances.latent, label: 0, ...golden.tolerances };
      return Object.entries(worst).map(([name, difference]) => (
        { name, difference, allowed: allowed[name], passed: difference <= allowed[name] }));
    } catch (error) {
      check(!(error instanceof TypeError), "golden vectors in golden.json, got others; copy the model folder again");
      throw error;
    }
  }

  async #replayDraws({ samples, latents: choices, decodings, details, moves }, compare) {
    const compareImages = async (expected, latents, options) =>
      compare("grey_levels", greyLevels(await this.decode(latents, options)), bytesOf(expected.base64));
    for (const { seed, start, count, latents, images } of samples) {
      const drawn = await this.draw(count, { seed, start });
      compare("latent", drawn.latents, flat(latents));
      const first = (values) => values.slice(0, (values.length / count) * images.count); // not all come with a picture
      await compareImages(images, first(drawn.latents), { noise: this.resolve().detail ? first(drawn.noise) : null });
    }
    for (const { count, latents, labels, noise, ...choice } of this.manifest.graphs.latents ? choices : []) {
      const drawn = await this.draw(count, choice);
      compare("latent", drawn.latents, flat(latents));
      compare("label", drawn.labels, labels);
      if (noise) compare("noise", drawn.noise, flat(noise));
    }
    await compareImages(decodings.images, decodings.latents, { detail: false });
    if (this.manifest.detail) await compareImages(details.images, details.latents, { noise: details.noise });
    for (const { name, label, position, latents } of moves?.cases ?? []) {
      const options = label < 0 ? {} : { label };
      for (const [at, latent] of moves.latents.entries()) {
        compare("move", await this.move(latent, name, position, options), latents[at]);
      }
    }
  }

  async #replayEncodings({ encodings }, compare) {
    const { mean, logVariance } = await this.encode(bytesOf(encodings.images.base64));
    compare("mean", mean, flat(encodings.mean));
    compare("log_variance", logVariance, flat(encodings.log_variance));
  }

  /**
   * The directions of the latent space along which one attribute of the picture changes; empty for a model without any.
   * Each has a `name`, the `attribute` that it moves, the `labels` of the classes that it is for (null for a model without
   * classes), and for each of these what it was measured to do: `reached`, `others`, `moved_most`, `kept` and `monotone`.
   * @returns {Promise<{ name: string, attribute: string, labels: number[] | null }[]>}
   */
  async directions() {
    return (await this.#field())?.directions ?? [];
  }

  /**
   * Predicts the attributes of the picture of one latent, in standard deviations from the average of its class.
   * @param {Values} latent  [latentDim]
   * @param {{ label?: number | string }} [options]  the class to compare with; the latent's most likely one by default
   * @returns {Promise<Record<string, number>>}  a number for the name of each direction that is for the class
   */
  async attributes(latent, { label } = {}) {
    const { field, values, group } = await this.#measured(latent, label);
    const positions = positionsOf(field, values, group);
    const suiting = field.directions.filter(({ labels }) => !labels || labels.includes(group));
    return Object.fromEntries(suiting.map(({ name, attribute }) => [name, positions[field.attributes.indexOf(attribute)]]));
  }

  /**
   * Moves one latent along a direction: one attribute of the picture changes, and the others stay nearly as they are.
   * @param {Values} latent  [latentDim]
   * @param {string} name  the name of a direction
   * @param {number} position  where to move to, in standard deviations of the attribute from the average of the class;
   *   it is limited to what all but the most extreme 1 in 100 pictures of the class have
   * @param {{ label?: number | string }} [options]  as for `attributes`
   * @returns {Promise<Float32Array>}
   */
  async move(latent, name, position, { label } = {}) {
    const { field, values, group } = await this.#measured(latent, label);
    const direction = field.directions.find((one) => one.name === name && (!one.labels || one.labels.includes(group)));
    const known = field.directions.filter(({ labels }) => !labels || labels.includes(group)).map((one) => one.name);
    const where = field.groups > 1 ? ` for the class ${this.classNames[group] ?? group}` : "";
    check(direction, `one of the directions${where} (${known.join(", ")}), got ${shown(name)}`);
    check(Number.isFinite(position), `a finite position, got ${shown(position)}`);
    return Float32Array.from(moved(field, values, group, field.attributes.indexOf(direction.attribute), position));
  }

  /** What directions.json holds, with its arrays as numbers; null for a model without that file. */
  async #field() {
    if (!this.manifest.files?.["directions.json"]) return null;
    this.#directions ??= this.#readListed("directions.json").then((document) => {
      check(document?.schema_version === 1, "directions of schema version 1 in directions.json, got others; copy the model folder again");
      return readField(document);
    });
    return this.#directions.catch((error) => {
      this.#directions = null; // a failure is forgotten: the next call tries again
      throw error;
    });
  }

  async #measured(latent, label) {
    const field = await this.#field();
    check(field, `a model with directions, got ${this.manifest.model.name} without any`);
    const values = Array.from(flat(latent), Number);
    check(values.length === this.latentDim && values.every(Number.isFinite), `a latent of ${this.latentDim} numbers, got ${shown(values)}`);
    const index = label === undefined ? -1 : this.resolve({ label }).label;
    return { field, values, group: field.groups === 1 ? 0 : index >= 0 ? index : likeliest(field, values) };
  }

  /**
   * Checks a choice, and fills in the model's defaults.
   * @param {Choice} [choice]
   * @returns {{ prior: "normal" | "fitted", label: number, temperature: number, detail: boolean }}
   */
  resolve({ prior, label, temperature = 1, detail } = {}) {
    const { graphs, latent, detail: stage } = this.manifest;
    const fitted = Boolean(graphs.latents);
    const index = typeof label === "string" ? findLabel(label, this.classNames) : label ?? -1;
    const more = this.classNames.length > 20 ? ` and ${this.classNames.length - 20} more` : "";
    const classes = fitted && this.classNames.length
      ? `one of the classes ${this.classNames.slice(0, 20).join(", ")}${more}` : "no label";
    check(index === -1 || (fitted && this.classNames[index]), `${classes}, got the label ${shown(label)}`);
    prior ??= index >= 0 ? "fitted" : latent.default_prior ?? "normal";
    const priors = fitted ? ["normal", "fitted"] : ["normal"];
    check(priors.includes(prior), `the prior ${priors.join(" or ")}, got ${shown(prior)}`);
    check(index === -1 || prior === "fitted", `the fitted prior for the label ${shown(label)}, got the normal one`);
    const isNumber = typeof temperature === "number";
    const inRange = fitted ? isNumber && temperature >= 0 && temperature <= 100 : temperature === 1; // only latents.onnx has it
    check(inRange, `a temperature ${fitted ? "from 0 to 100" : "of 1"}, got ${shown(temperature)}`);
    check(stage || !detail, "a model with a detail stage, got one without; leave detail and noise out");
    return { prior, label: index, temperature, detail: detail ?? stage?.default ?? false };
  }

  /** Opens graphs of the manifest ahead of their first use, by their names. */
  async open(...names) {
    await Promise.all(names.map((name) => this.#session(this.#graph(name))));
  }

  /**
   * Runs one graph of the model. Inputs and outputs are flat arrays by their names in the manifest.
   * @param {string} name
   * @param {Record<string, Values>} inputs
   * @returns {Promise<Record<string, any>>}
   */
  async run(name, inputs = {}) {
    const graph = this.#graph(name);
    const feed = Object.fromEntries(graph.inputs.map((spec) => [spec.name, checkedInput(spec, inputs[spec.name])]));
    if (this.elsewhere) return this.elsewhere(name, feed);
    const [session, { Tensor }] = await Promise.all([this.#session(graph), this.ort]);
    const tensors = mapped(feed, ({ dtype, dims, data }) => new Tensor(dtype, data, dims));
    this.#turn = this.#turn.catch(() => {}).then(() => session.run(tensors)); // WebAssembly takes one run at a time
    return mapped(await this.#turn, ({ data }) => data);
  }

  #graph(name) {
    const { graphs } = this.manifest;
    check(graphs[name], `a model with a graph called ${shown(name)}, got one with ${Object.keys(graphs).join(", ")}`);
    return graphs[name];
  }

  #session({ file, sha256 }) {
    if (!this.sessions.has(sha256)) { // calls at the same time open it once
      const opening = this.#openSession(file, sha256);
      this.sessions.set(sha256, opening);
      opening.catch(() => this.sessions.delete(sha256)); // a failure is forgotten: the next call tries again
    }
    return this.sessions.get(sha256);
  }

  async #openSession(file, sha256) {
    const content = await this.read(this.place + file);
    await checkSha256(content, sha256, `the ${file} that manifest.json describes`, this.sha256);
    const { InferenceSession } = await this.ort;
    const options = { executionProviders: ["cpu"], intraOpNumThreads: 1, ...this.sessionOptions };
    return InferenceSession.create(content, options).catch((error) =>
      check(false, `a graph in ${file}, got: ${String(error.message ?? error).slice(0, 120)}; copy it again`));
  }

  /** The content of a JSON file that the manifest lists, checked by its hash; where graphs run elsewhere, the server checks it. */
  async #readListed(name) {
    const content = await this.read(this.place + name);
    const entry = this.manifest.files?.[name];
    if (entry && !this.elsewhere) await checkSha256(content, entry.sha256, `the ${name} that manifest.json describes`, this.sha256);
    return JSON.parse(new TextDecoder().decode(content));
  }

  /** The content of a JSON file of the model folder; null if it is no JSON. */
  async readJson(name) {
    const text = new TextDecoder().decode(await this.read(this.place + name));
    try {
      return JSON.parse(text);
    } catch {
      return null;
    }
  }
}

// Directions. The formulas are those of vae_gen's internal/directions.py, which explains them, in the same order.

const STEPS = 12; // on the way to a position
const LONGEST = 1.5; // step, in the metric of the class
const LOWEST_SHARE = 0.2; // of an attribute's deviation over all pictures; in a class it counts with no less
const ENOUGH_EVIDENCE = 0.5; // for the class, which a latent gathers on its way
const FLATTEST = 1e-6; // where the attribute changes less than this with any movement, a latent stays

/** A directions.json with its arrays as numbers: { step, values } is int16 in base64, in multiples of the step. */
function readField({ dimensions: width, classes: groups, hidden, attributes, network, weights, directions, ...tables }) {
  const count = attributes.length;
  const unpacked = ({ step, values }, length) => {
    const numbers = Array.from(new Int16Array(bytesOf(values).buffer), (value) => value * step);
    check(numbers.length === length, `${length} numbers in directions.json, got ${numbers.length}; copy the model folder again`);
    return numbers;
  };
  const lengths = [hidden * width, hidden, hidden * hidden, hidden, (count + groups) * hidden, count + groups];
  const field = { width, groups, hidden, attributes, weights, directions };
  field.network = lengths.map((length, at) => unpacked(network[at], length));
  field.middles = rows(unpacked(tables.middles, groups * width), groups);
  field.precisions = rows(unpacked(tables.precisions, (groups * width * (width + 1)) / 2), groups).map((lower) =>
    Array.from({ length: width * width }, (_, at) => {
      const [row, column] = [Math.floor(at / width), at % width].sort((a, b) => b - a);
      return lower[(row * (row + 1)) / 2 + column];
    }));
  for (const name of ["averages", "deviations", "lowest", "highest"]) field[name] = rows(unpacked(tables[name], groups * count), groups);
  return field;
}

const dot = (a, b) => a.reduce((sum, value, at) => sum + value * b[at], 0);

/** matrix · vector, for a flat matrix of rows as long as the vector. */
function times(matrix, vector) {
  const width = vector.length;
  return Array.from({ length: matrix.length / width }, (_, row) => {
    let sum = 0;
    for (let at = 0; at < width; at++) sum += matrix[row * width + at] * vector[at];
    return sum;
  });
}

/** The outputs of the network, and the values of its two hidden layers. */
function predict({ network: [w1, b1, w2, b2, w3, b3] }, latent) {
  const first = times(w1, latent).map((value, at) => Math.tanh(value + b1[at]));
  const second = times(w2, first).map((value, at) => Math.tanh(value + b2[at]));
  return { first, second, outputs: times(w3, second).map((value, at) => value + b3[at]) };
}

function likeliest(field, latent) {
  const evidence = predict(field, latent).outputs.slice(field.attributes.length);
  return evidence.indexOf(Math.max(...evidence));
}

function positionsOf(field, latent, group) {
  const { outputs } = predict(field, latent);
  return field.attributes.map((_, at) => (outputs[at] - field.averages[group][at]) / field.deviations[group][at]);
}

function moved(field, latent, group, attribute, position) {
  const wanted = Math.min(Math.max(position, field.lowest[group][attribute]), field.highest[group][attribute]);
  const plus = (step, share) => (value, at) => value + share * step[at];
  for (let left = STEPS; left > 0; left--) {
    const half = latent.map(plus(stepOf(field, latent, group, attribute, wanted, left), 0.5));
    latent = latent.map(plus(stepOf(field, half, group, attribute, wanted, left - 0.5), 1));
  }
  return latent;
}

/** The change of a latent in one step, if `left` steps are left to the position wanted. */
function stepOf(field, latent, group, attribute, wanted, left) {
  const { width, hidden, attributes, weights, network: [w1, , w2, , w3] } = field;
  const count = attributes.length;
  const { first, second, outputs } = predict(field, latent);
  const derivative = (row) => { // of one output by the latent: w3 · diag(1 − second²) · w2 · diag(1 − first²) · w1
    const slopes = Array(hidden).fill(0);
    for (let at = 0; at < hidden; at++) {
      const factor = w3[row * hidden + at] * (1 - second[at] ** 2);
      for (let to = 0; to < hidden; to++) slopes[to] += factor * w2[at * hidden + to];
    }
    const result = Array(width).fill(0);
    for (let at = 0; at < hidden; at++) {
      const factor = slopes[at] * (1 - first[at] ** 2);
      for (let to = 0; to < width; to++) result[to] += factor * w1[at * width + to];
    }
    return result;
  };
  const deviations = field.deviations[group];
  const cost = [...field.precisions[group]];
  const add = (weight, vector) => {
    for (let row = 0; row < width; row++) {
      for (let column = 0; column < width; column++) cost[row * width + column] += weight * vector[row] * vector[column];
    }
  };
  for (let at = 0; at < count; at++) {
    if (at === attribute || deviations[at] < LOWEST_SHARE || !weights.held[at]) continue;
    add(weights.held[at], derivative(at).map((value) => value / deviations[at]));
  }
  const off = latent.map((value, at) => value - field.middles[group][at]);
  const away = times(field.precisions[group], off);
  const distance = Math.sqrt(Math.max(dot(off, away), 1e-12));
  add(weights.radius, away.map((value) => value / distance));
  const evidence = derivative(count + group);
  add(weights.evidence, evidence);
  const own = derivative(attribute).map((value) => value / deviations[attribute]);
  const [change, surer] = solved(cost, [own, evidence]);
  const more = (weights.evidence * Math.max(ENOUGH_EVIDENCE - outputs[count + group], 0)) / left;
  const [gain, push] = [dot(change, own), more * dot(surer, own)];
  const place = (outputs[attribute] - field.averages[group][attribute]) / deviations[attribute];
  const length = gain > FLATTEST ? ((wanted - place) / left - push) / gain : 0;
  const step = change.map((value, at) => length * value + more * surer[at]);
  const far = Math.sqrt(Math.max(dot(step, times(field.precisions[group], step)), 1e-24));
  return step.map((value) => value * Math.min(1, LONGEST / far));
}

/** The solutions of matrix · x = b for several b, for a symmetric positive matrix, by its Cholesky factor. */
function solved(matrix, vectors) {
  const width = vectors[0].length;
  const factor = Array(width * width).fill(0);
  for (let row = 0; row < width; row++) {
    for (let column = 0; column <= row; column++) {
      let sum = matrix[row * width + column];
      for (let at = 0; at < column; at++) sum -= factor[row * width + at] * factor[column * width + at];
      factor[row * width + column] = row === column ? Math.sqrt(sum) : sum / factor[column * width + column];
    }
  }
  return vectors.map((vector) => {
    const x = [...vector];
    for (let row = 0; row < width; row++) {
      for (let at = 0; at < row; at++) x[row] -= factor[row * width + at] * x[at];
      x[row] /= factor[row * width + row];
    }
    for (let row = width - 1; row >= 0; row--) {
      for (let at = row + 1; at < width; at++) x[row] -= factor[at * width + row] * x[at];
      x[row] /= factor[row * width + row];
    }
    return x;
  });
}

/** Grey levels 0 … 255 of images: ⌊255·x + 0.5⌋ in float32, as in every language. */
export function greyLevels(images) {
  return Uint8Array.from(images, (x) => Math.fround(Math.fround(255 * x) + 0.5)); // the conversion cuts: the floor here
}

/** Splits a flat array into n rows of equal length. */
export function rows(values, n) {
  return Array.from({ length: n }, (_, at) => values.slice((at * values.length) / n, ((at + 1) * values.length) / n));
}

/** A random seed below 2^53, which fits into a number of any language, as a BigInt. */
export function randomSeed() {
  const [high, low] = crypto.getRandomValues(new Uint32Array(2));
  return (BigInt(high & 0x1fffff) << 32n) | BigInt(low);
}

/** A whole number from 0 to 2^63-1 as a BigInt; an error calls it by its name. */
export function wholeNumber(value, name = "a seed") {
  const text = shown(value).trim();
  const exact = /^\d{1,19}$/.test(text) && (typeof value !== "number" || Number.isSafeInteger(value));
  check(exact && BigInt(text) < 2n ** 63n, `${name} from 0 to 2^63-1, got ${text.slice(0, 30) || "nothing"}` +
    (typeof value === "number" && value >= 2 ** 53 ? "; give it as a BigInt or as decimal digits" : ""));
  return BigInt(text);
}

/** The bytes of a base64 text. */
export function bytesOf(base64) {
  return Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
}

/** Refuses content whose SHA-256 is not the expected one, given in hexadecimal digits. */
export async function checkSha256(content, expected, what, sha256) {
  const { subtle } = crypto;
  check(subtle || sha256, "a page from https: or 127.0.0.1, where browsers can hash what they load; got plain http:");
  const hash = new Uint8Array(subtle ? await subtle.digest("SHA-256", content) : await sha256(content));
  const found = Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("");
  check(found === expected, `${what}, got another SHA-256; copy it again`);
}

/** A value for an error, as a short text. */
function shown(value) {
  try {
    return String(value).slice(0, 60);
  } catch { // an object without a prototype
    return typeof value;
  }
}

/** Throws an error "expected …" if the condition does not hold. */
export function check(holds, expected) {
  if (!holds) throw new Error(`expected ${expected}`);
}

/**
 * The density of the fitted prior, a mixture of Gaussians, in flat arrays: for each component its log-weight with its
 * log-normaliser, and the inverse of its Cholesky factor, row by row, with the inverse times the mean.
 */
function fittedDensity({ dimensions: d, mixtures }) {
  const floats = (base64) => new Float32Array(bytesOf(base64).buffer);
  const size = (d * (d + 1)) / 2;
  const [logs, inverses, offsets] = [[], [], []];
  let before = 0;
  for (const { threshold, component_thresholds: ends, means, factors } of mixtures) {
    const [share, all, lower] = [threshold - before, floats(means), floats(factors)];
    before = threshold;
    ends.forEach((end, k) => {
      const [mean, factor] = [all.subarray(k * d, (k + 1) * d), lower.subarray(k * size, (k + 1) * size)];
      let log = Math.log(share * (end - (ends[k - 1] ?? 0))) - 2 * Math.log(2 ** 32) - (d / 2) * Math.log(2 * Math.PI);
      for (let row = 0; row < d; row++) log -= Math.log(Math.abs(factor[(row * (row + 3)) / 2]));
      const inverse = inverseOfLower(factor, d);
      logs.push(log);
      inverses.push(...inverse);
      for (let i = 0, at = 0; i < d; i++) {
        let sum = 0;
        for (let j = 0; j <= i; j++, at++) sum += inverse[at] * mean[j];
        offsets.push(sum);
      }
    });
  }
  return { d, logs, inverses: Float64Array.from(inverses), offsets: Float64Array.from(offsets) };
}

/** The inverse of a lower triangular matrix; the entry (i, j) of both is at i(i + 1)/2 + j. */
function inverseOfLower(factor, d) {
  const inverse = new Float64Array(factor.length);
  for (let j = 0; j < d; j++) {
    for (let i = j; i < d; i++) {
      let sum = i === j ? 1 : 0;
      for (let k = j; k < i; k++) sum -= factor[(i * (i + 1)) / 2 + k] * inverse[(k * (k + 1)) / 2 + j];
      inverse[(i * (i + 1)) / 2 + j] = sum / factor[(i * (i + 3)) / 2];
    }
  }
  return inverse;
}

/** The log-density at z in nats, and its gradient. */
function logDensity({ d, logs, inverses, offsets }, z) {
  const [y, terms, gradient] = [new Float64Array(offsets.length), new Float64Array(logs.length), new Float64Array(d)];
  let largest = -Infinity;
  for (let k = 0, at = 0, row = 0; k < logs.length; k++) {
    let squared = 0;
    for (let i = 0; i < d; i++, row++) {
      let sum = -offsets[row];
      for (let j = 0; j <= i; j++, at++) sum += inverses[at] * z[j];
      y[row] = sum;
      squared += sum * sum;
    }
    terms[k] = logs[k] - squared / 2;
    if (terms[k] > largest) largest = terms[k];
  }
  let total = 0;
  for (const term of terms) total += Math.exp(term - largest);
  const log = largest + Math.log(total);
  const size = (d * (d + 1)) / 2;
  for (let k = 0; k < logs.length; k++) {
    const share = Math.exp(terms[k] - log);
    if (share < 1e-12) continue;
    for (let i = 0, at = k * size; i < d; i++) {
      const pull = share * y[k * d + i];
      for (let j = 0; j <= i; j++, at++) gradient[j] -= pull * inverses[at];
    }
  }
  return { log, gradient };
}

/**
 * The corners of a path from a to b on which the density p of the fitted prior is high: it makes the sum of
 * |segment|² · p^(-2/√d) small, by Gauss-Newton steps from the straight line, as vae_gen does in Python.
 */
function likelyPath(density, a, b, segments = 32, rounds = 40) {
  const [d, root] = [density.d, Math.sqrt(density.d)];
  let path = Array.from({ length: segments + 1 }, (_, at) => a.map((x, i) => x + (b[i] - x) * (at / segments)));
  const reference = path.map((z) => logDensity(density, z).log).reduce((most, log) => Math.max(most, log), -Infinity);
  const costOf = (corners) => {
    const weights = [];
    const gradient = corners.map(() => new Float64Array(d));
    let cost = 0;
    for (let at = 0; at < segments; at++) {
      const [from, to] = [corners[at], corners[at + 1]];
      const { log, gradient: uphill } = logDensity(density, from.map((x, i) => (x + to[i]) / 2));
      const exponent = (2 / root) * (reference - log);
      const weight = Math.exp(Math.min(60, Math.max(-60, exponent)));
      const own = weight * from.reduce((sum, x, i) => sum + (to[i] - x) ** 2, 0);
      const pull = Math.abs(exponent) < 60 ? own / root : 0;
      for (let i = 0; i < d; i++) {
        gradient[at + 1][i] += 2 * weight * (to[i] - from[i]) - pull * uphill[i];
        gradient[at][i] -= 2 * weight * (to[i] - from[i]) + pull * uphill[i];
      }
      weights.push(weight);
      cost += own;
    }
    return { cost, gradient, weights };
  };
  let now = costOf(path);
  let step = 1;
  for (let round = 0; round < rounds; round++) {
    const move = gaussNewton(now, d);
    let slope = 0;
    move.forEach((row, at) => row.forEach((value, i) => (slope += value * now.gradient[at][i])));
    let [tried, next] = [path, now];
    for (step = Math.min(1, 2 * step); ; step /= 2) { // a shorter step until the cost falls
      tried = path.map((corner, at) => corner.map((x, i) => x + step * move[at][i]));
      next = costOf(tried);
      if (next.cost <= now.cost + 1e-4 * step * slope || step < 1e-3) break;
    }
    if (!(next.cost < now.cost)) break;
    const gain = now.cost - next.cost;
    [path, now] = [tried, next];
    if (gain < 1e-3 * now.cost) break;
  }
  return path;
}

/** Solves for the move of each corner, with the ends held: a tridiagonal system, by elimination. */
function gaussNewton({ gradient, weights }, d) {
  const move = gradient.map(() => new Float64Array(d));
  const diagonal = [];
  for (let at = 1; at < weights.length; at++) {
    const ratio = at > 1 ? (2 * weights[at - 1]) / diagonal[at - 1] : 0;
    diagonal[at] = 2 * (weights[at - 1] + weights[at]) - ratio * 2 * weights[at - 1];
    for (let i = 0; i < d; i++) move[at][i] = -gradient[at][i] + ratio * move[at - 1][i];
  }
  for (let at = weights.length - 1; at >= 1; at--) {
    for (let i = 0; i < d; i++) move[at][i] = (move[at][i] + 2 * weights[at] * move[at + 1][i]) / diagonal[at];
  }
  return move;
}

/** A function of t in [0, 1] that goes along corners at an even speed. */
function evenly(corners) {
  const passed = [0];
  corners.slice(1).forEach((corner, at) => passed.push(passed[at] + Math.hypot(...corner.map((x, i) => x - corners[at][i]))));
  return (t) => {
    const place = t * passed.at(-1);
    const at = Math.max(1, passed.findIndex((length, index) => index > 0 && length >= place));
    const share = (place - passed[at - 1]) / (passed[at] - passed[at - 1] || 1);
    return corners[at - 1].map((x, i) => x + (corners[at][i] - x) * share);
  };
}

/** A function of t in [0, 1] that goes along the arc between two latents, or along the line where there is no arc. */
function arc(a, b) {
  const dot = (x, y) => x.reduce((sum, value, i) => sum + value * y[i], 0);
  const angle = Math.acos(Math.min(1, Math.max(-1, dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b)) || 1)));
  if (Math.sin(angle) <= 1e-6) return evenly([a, b]);
  return (t) => a.map((x, i) => (Math.sin((1 - t) * angle) * x + Math.sin(t * angle) * b[i]) / Math.sin(angle));
}

/**
 * The index of the one class with this name, or with these whole words in its name, which may be in the plural ("boots",
 * "dresses"); undefined if there is none.
 */
function findLabel(label, classNames) {
  const words = (text) => ` ${text.toLowerCase().split(/[^\p{L}\p{N}]+/u).filter(Boolean).join(" ")} `;
  const names = classNames.map(words);
  for (const wanted of [words(label), words(label).replace(/s $/, " "), words(label).replace(/es $/, " ")]) {
    const found = names.flatMap((name, at) => (name.includes(wanted) && wanted.trim() ? [at] : []));
    if (names.includes(wanted)) return names.indexOf(wanted);
    if (found.length) return found.length === 1 ? found[0] : undefined;
  }
  return undefined;
}

function wholeRange(start, n) {
  const [from, count] = [wholeNumber(start, "a start"), wholeNumber(n, "a number of pictures")];
  check(count >= 1n && from + count <= 2n ** 63n, `at least 1 picture, and none past 2^63-1, got ${shown(n)} from ${shown(start)}`);
  return { from, count };
}

/** Values as a tensor of the manifest's dtype and shape, in which a word stands for any number of rows. */
function checkedInput({ name, dtype, shape }, values) {
  const data = flat(values);
  const rowLength = shape.reduce((product, axis) => (typeof axis === "number" ? product * axis : product), 1);
  const n = data.length / rowLength;
  const fits = n >= 1 && Number.isInteger(n) && (shape.length > 0 || n === 1);
  check(fits, `${name} of shape [${shape.join(", ")}], got ${data.length} values`);
  const dims = shape.map((axis) => (typeof axis === "number" ? axis : n));
  if (dtype === "int64") return { dtype, dims, data: BigInt64Array.from(data, BigInt) };
  check(data.every(Number.isFinite), `finite values in ${name}, got others`);
  const largest = data.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
  check(largest <= LARGEST, `${name} from -${LARGEST} to ${LARGEST}, got ${largest}; the prior's are hardly ever beyond 5`);
  return { dtype, dims, data: Float32Array.from(data) };
}

/** Images in [0, 1], flat: grey levels are divided by 255, and what rounding left outside is clipped. */
function unitRange(images, [, height, width]) {
  const canvas = "the pixels of a canvas (red, green, blue and opacity); convert them with fitPixels of fit.mjs";
  check(!(images?.data && images.width), `images in an array, got ${canvas}`);
  const values = flat(images);
  if (images instanceof Uint8Array || images instanceof Uint8ClampedArray) {
    const opaque = (_, at) => values[at] === 255 || at % 4 < 3; // opacity is nearly always full
    const isCanvas = values.length % (4 * height * width) === 0 && values.every(opaque) && values.some((x) => x < 255);
    check(!isCanvas, `grey levels, got ${canvas}`);
    return Float32Array.from(values, (level) => level / 255);
  }
  let [low, high] = [Infinity, -Infinity];
  for (const x of values) {
    check(Number.isFinite(x), "images with finite values, got NaN or infinity; clean them first");
    [low, high] = [Math.min(low, x), Math.max(high, x)];
  }
  const near = (by) => low >= -by && high <= 1 + by;
  const advice = near(0.5) ? "clip them" : low < 0 ? "undo their normalisation" : "divide grey levels by 255";
  check(near(ROUNDING), `images with values in [0, 1], got values from ${low} to ${high}; ${advice}`);
  return low < 0 || high > 1 ? Float32Array.from(values, (x) => Math.min(1, Math.max(0, x))) : values;
}

function flat(values) {
  if (ArrayBuffer.isView(values) && !(values instanceof DataView)) return values;
  if (!Array.isArray(values)) check(false, `numbers in an array, got ${shown(values)}`);
  return values.flatMap((value) => (typeof value === "object" ? Array.from(flat(value)) : value));
}

/** An object with each of its values changed. */
export function mapped(object, change) {
  return Object.fromEntries(Object.entries(object).map(([name, value]) => [name, change(value)]));
}

/** The bytes of a file: by fetch, or in Node.js from a path. */
async function readBytes(address) {
  const refuse = (got) => check(false, `the file ${address}, got ${got}; check the address of the model folder`);
  const files = globalThis.process?.getBuiltinModule?.("node:fs/promises"); // no import, which browsers would refuse
  if (files && !/^https?:/.test(address)) {
    const path = address.startsWith("file:") ? new URL(address) : address;
    return files.readFile(path).catch(({ code }) => refuse(code === "ENOENT" ? "none" : code));
  }
  const response = await fetch(address).catch(() => refuse("no answer"));
  if (!response.ok) refuse(`HTTP status ${response.status}`);
  return new Uint8Array(await response.arrayBuffer());
}
