// The picture on the page as a few lines of code.

const rounded = (latent) => `[${Array.from(latent, (value) => Number(value.toFixed(3))).join(", ")}]`;

/** Python that makes the picture with vae_gen. */
export function python({ seed, start, prior, label, temperature, detail }, latent, { manifest }) {
  const choice = `seed=${seed}, start=${start}, prior="${prior}", label=${label < 0 ? "None" : label}, temperature=${temperature}`;
  return [
    "from vae_gen import VAE",
    "",
    `vae = VAE(${JSON.stringify(manifest.model.name)})`,
    `latent = ${rounded(latent)}`,
    ...(detail
      ? [`sample = vae.sample(${choice})`, "image = vae.decode(latent, noise=sample.noise)"]
      : ["image = vae.decode(latent, detail=False)"]),
    "print(image.shape)  # float32 in [0, 1]",
  ].join("\n");
}

/** JavaScript that makes it with vae.mjs and the model folder beside it, in a page or with onnxruntime-node. */
export function javascript({ seed, start, prior, label, temperature, detail }, latent) {
  const choice = `{ seed: "${seed}", start: "${start}", prior: "${prior}", label: ${label}, temperature: ${temperature} }`;
  return [
    'import * as ort from "onnxruntime-web";',
    'import { VAE } from "./vae.mjs"; // `vae-gen kit` makes a folder with it and the model',
    "",
    'const vae = await VAE.load("model/", { ort });',
    `const latent = ${rounded(latent)};`,
    ...(detail
      ? [`const { noise } = await vae.draw(1, ${choice});`, "const image = await vae.decode(latent, { noise });"]
      : ["const image = await vae.decode(latent, { detail: false });"]),
    "console.log(image); // values in [0, 1]",
  ].join("\n");
}
