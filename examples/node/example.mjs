// Pictures from a model folder with onnxruntime-node alone: copy what stands above `main` into your app.
//
//     npm ci && node example.mjs [MODEL_FOLDER]
//
// Images are flat arrays, float32 [n × channels × height × width] in [0, 1]; latents are [n × dimensions].
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import ort from "onnxruntime-node";

/** A model folder: a graph is hashed when it is first used, and every input is held against the manifest. */
export class Model {
  static async load(folder) {
    const file = join(folder, "manifest.json");
    check(existsSync(file), `a model folder with a manifest.json, found none in ${folder}`);
    const manifest = JSON.parse(await readFile(file, "utf8"));
    check(manifest.schema_version === 1, `schema version 1, found ${manifest.schema_version} in ${folder}`);
    return Object.assign(new Model(), { folder, manifest, sessions: {} });
  }

  /** { image, latent }: start … start+count−1 of a seed, the same on every machine. */
  async sample(seed, start = 0, count = 1) {
    return this.run("generator", checkedRange(seed, start, count));
  }

  /**
   * { latent, labels, noise }: latents for `decode`, classes and, with a detail stage, noise; `sample` with choices.
   * prior: normal or fitted; label: with fitted, a class's index in manifest.class_names, or −1 for any.
   */
  async draw(seed, start = 0, count = 1, { prior = "fitted", label = -1, temperature = 1 } = {}) {
    const classes = prior === "fitted" ? this.manifest.class_names.length : 0;
    const known = ["normal", "fitted"].includes(prior) && Number.isInteger(label) && label >= -1 && label < classes;
    check(known && temperature >= 0 && temperature <= 100, "the prior normal or fitted, the label -1 or (if fitted) " +
      `of a class, and a temperature from 0 to 100, got ${prior}, ${label}, ${temperature}`);
    const choice = { prior: [BigInt(prior === "fitted")], label: [BigInt(label)], temperature: [temperature] };
    return this.run("latents", { ...checkedRange(seed, start, count), ...choice });
  }

  /** The mean images of latents; with noise, those that the detail stage draws. */
  async decode(latent, noise) {
    return (await (noise ? this.run("detail", { latent, noise }) : this.run("decoder", { latent }))).image;
  }

  /** { mean, log_variance } of the posterior of images, each [n × dimensions]. */
  async encode(image) {
    check(image.every((x) => x >= 0 && x <= 1), "images with values in [0, 1], got others; divide grey levels by 255");
    return this.run("encoder", { image });
  }

  /** The outputs of a graph by name, for its inputs by name, all as flat arrays. */
  async run(name, values) {
    const graph = this.manifest.graphs[name];
    check(graph, `a model with a graph called ${name}, got ${Object.keys(this.manifest.graphs).join(", ")}`);
    const feed = Object.fromEntries(graph.inputs.map((spec) => [spec.name, checkedInput(spec, values[spec.name])]));
    const opening = (this.sessions[name] ??= this.open(graph)); // kept, so that calls at the same time open it once
    opening.catch(() => delete this.sessions[name]); // but no failure: the next call tries again
    const outputs = await (await opening).run(feed);
    return Object.fromEntries(Object.entries(outputs).map(([key, tensor]) => [key, tensor.data]));
  }

  async open({ file, sha256 }) {
    const content = await readFile(join(this.folder, file));
    const found = createHash("sha256").update(content).digest("hex");
    check(found === sha256, `the ${file} of the manifest, found another SHA-256; copy it again`);
    return ort.InferenceSession.create(content, { intraOpNumThreads: 1 }); // a second gains nothing in small networks
  }
}

/** A range as inputs. The graphs check nothing: numbers out of range would make pictures that mean nothing. */
function checkedRange(...range) {
  const exact = range.every((x) => (typeof x === "number" ? Number.isSafeInteger(x) : true) && /^\d{1,19}$/.test(x));
  const [seed, start, count] = exact ? range.map(BigInt) : [-1n, -1n, -1n];
  check(exact && seed < 2n ** 63n && count >= 1n && start + count <= 2n ** 63n, "a seed and a range within 0 to " +
    `2^63-1 (from 2^53 on as BigInt or decimal string), got seed ${range[0]}, ${range[2]} from ${range[1]}`);
  return { seed: [seed], start: [start], count: [count] };
}

/** A flat array as a tensor of the manifest's dtype and shape, in which a word stands for any number of rows. */
function checkedInput({ name, dtype, shape }, values) {
  const rowLength = shape.reduce((product, axis) => (typeof axis === "number" ? product * axis : product), 1);
  const rows = values.length / rowLength;
  const dims = shape.map((axis) => (typeof axis === "number" ? axis : rows));
  const fits = rows >= 1 && Number.isInteger(rows) && (shape.length > 0 || rows === 1);
  check(fits, `${name} of shape [${shape.join(", ")}], got ${values.length} values`);
  if (dtype === "int64") return new ort.Tensor(dtype, BigInt64Array.from(values), dims);
  check(values.every(Number.isFinite), `finite values in ${name}, got others`);
  return new ort.Tensor(dtype, Float32Array.from(values), dims);
}

/** Grey levels 0 … 255: ⌊255·x + 0.5⌋ in float32, as in every language. */
export function greyLevels(images) {
  return Uint8Array.from(images, (x) => Math.fround(Math.fround(255 * x) + 0.5)); // a conversion cuts: the floor here
}

function check(holds, expected) {
  if (!holds) throw new Error(`expected ${expected}`);
}

/** Show what each call does: two samples, a latent decoded, images encoded. */
async function main(folder = fileURLToPath(new URL("../model", import.meta.url))) {
  const model = await Model.load(folder);
  const { height, width } = model.manifest.image;
  const { image, latent } = await model.sample(7, 0, 2);
  for (let y = 0; y < 2 * height; y += 2) { // every second row: letters are tall
    const row = greyLevels(image.subarray(y * width, (y + 1) * width));
    console.log(Array.from(row, (level) => " .:-=+*#%@"[Math.floor(level / 26)]).join(""));
  }
  console.log("sample: two pictures of seed 7,", latent.length, "latent values");
  console.log("decode:", (await model.decode(latent)).length, "pixels of their latents' mean pictures");
  const { mean, log_variance } = await model.encode(image);
  console.log("encode:", mean.length, "posterior means and", log_variance.length, "log-variances");
  if (model.manifest.graphs.latents) { // older model folders lack it
    const { latent, labels, noise } = await model.draw(7, 0, 2, { temperature: 0.8 });
    console.log("draw:", (await model.decode(latent, noise)).length, "pixels, of the classes", labels.join(" and "));
  }
}

if (basename(process.argv[1] ?? "") === "example.mjs") { // run, and not imported
  await main(process.argv[2]).catch((error) => {
    console.error(`example.mjs: ${error.message}`);
    process.exitCode = 1;
  });
}
