// Makes, decodes and encodes pictures in Node.js with vae.mjs and onnxruntime-node.
//
//     npm ci && node example.mjs [MODEL_FOLDER]
import { fileURLToPath } from "node:url";
import ort from "onnxruntime-node";
import { VAE, greyLevels, rows } from "../vae.mjs";

async function main(folder = fileURLToPath(new URL("../model", import.meta.url))) {
  const vae = await VAE.load(folder, { ort });
  const samples = await vae.sample(2, { seed: 7 });
  const [channels, height, width] = vae.imageShape;
  const step = Math.max(1, Math.floor(width / 28)); // of pixels, because a terminal is narrow
  for (const levels of rows(greyLevels(samples.images), 2)) {
    const planes = rows(levels, channels); // red, green and blue, or only grey
    const letter = (at) => " .:-=+*#%@"[Math.floor(planes.reduce((sum, plane) => sum + plane[at], 0) / channels / 26)];
    for (let y = 0; y < height; y += 2 * step) { // letters are twice as tall as wide
      console.log(Array.from({ length: Math.ceil(width / step) }, (_, x) => letter(y * width + x * step)).join(""));
    }
  }
  const names = samples.labels.map((label) => vae.classNames[label] ?? "a picture without a class");
  console.log("sample: the first two pictures of seed 7:", names.join(", "));
  console.log("decode:", (await vae.decode(samples)).length, "pixels, made of their latents once more");
  const { mean, logVariance } = await vae.encode(samples.images);
  console.log("encode:", mean.length, "posterior means and", logVariance.length, "log-variances");
  const checks = await vae.verify();
  console.log("verify:", checks.every(({ passed }) => passed) ? "equal to the golden vectors" : checks);
}

process.stdout.on("error", ({ code }) => process.exit(code === "EPIPE" ? 0 : 1)); // the reader may stop, as `head` does
await main(process.argv[2]).catch((error) => {
  console.error(`example.mjs: ${error.message}`);
  process.exitCode = 1;
});
