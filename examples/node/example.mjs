// Makes, decodes and encodes pictures in Node.js with vae.mjs and onnxruntime-node.
//
//     npm ci && node example.mjs [MODEL_FOLDER]
import { fileURLToPath } from "node:url";
import ort from "onnxruntime-node";
import { VAE, greyLevels } from "../vae.mjs";

async function main(folder = fileURLToPath(new URL("../model", import.meta.url))) {
  const vae = await VAE.load(folder, { ort });
  const samples = await vae.sample(2, { seed: 7 });
  const [, height, width] = vae.imageShape;
  const levels = greyLevels(samples.images);
  for (let y = 0; y < 2 * height; y += 2) { // every second row, because letters are tall
    const row = levels.subarray(y * width, (y + 1) * width);
    console.log(Array.from(row, (level) => " .:-=+*#%@"[Math.floor(level / 26)]).join(""));
  }
  const names = samples.labels.map((label) => vae.classNames[label] ?? "a picture without a class");
  console.log("sample: the first two pictures of seed 7:", names.join(", "));
  console.log("decode:", (await vae.decode(samples)).length, "pixels, made of their latents once more");
  const { mean, logVariance } = await vae.encode(samples.images);
  console.log("encode:", mean.length, "posterior means and", logVariance.length, "log-variances");
  const checks = await vae.verify();
  console.log("verify:", checks.every(({ passed }) => passed) ? "equal to the golden vectors" : checks);
}

await main(process.argv[2]).catch((error) => {
  console.error(`example.mjs: ${error.message}`);
  process.exitCode = 1;
});
