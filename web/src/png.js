// The PNG that the page saves, with the note from which `vae-gen repeat` makes the picture again. The note has the form
// that `vae-gen sample` and `vae-gen decode` write: one tEXt chunk with the keyword vae-gen and JSON in ASCII.

import { enlarged, element, paint } from "./draw.js";

const KEYWORD = "vae-gen";
const SIDE = 224; // pixels of the longer side at most, unless the model's pictures are larger
const HEADER = 33; // bytes of a PNG's signature and its IHDR chunk, after which other chunks may stand

/** Numbers with the nine digits from which each float32 can be read again. */
const exact = (values) => Array.from(values, (value) => Number(Math.fround(value).toPrecision(9)));

/** The name and version of the model, and the SHA-256 of each graph that a picture may depend on. */
function factsOf({ model, graphs }) {
  const facts = { name: model.name, version: model.version, sha256: graphs.decoder.sha256 };
  if (graphs.latents) facts.latents_sha256 = graphs.latents.sha256;
  if (graphs.detail) facts.detail_sha256 = graphs.detail.sha256;
  return facts;
}

/** How to make the picture again: from its seed while the sliders are where the sample left them, else from its latent. */
function noteOf({ vae, state, noise, sampled, sliders }, scale) {
  const size = { layout: "single", columns: 1, scale };
  const model = factsOf(vae.manifest);
  const { seed, start, prior, label, temperature, detail } = state;
  if (sliders.latent.every((value, at) => value === sampled[at])) {
    return { command: "sample", seed, start, count: 1, ...size, prior, label: label < 0 ? null : label, temperature, detail, model };
  }
  const drawn = detail && noise ? { noise: [exact(noise)] } : {};
  return { command: "decode", count: 1, source: "latents", latents: [exact(sliders.latent)], ...drawn, detail, ...size, model };
}

/** CRC-32, as PNG defines it. */
function crc32(bytes) {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit += 1) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return ~crc >>> 0;
}

/** A PNG with a tEXt chunk more. */
export function withNote(png, note) {
  const ascii = JSON.stringify(note).replace(/[\u0080-\uffff]/g, (letter) => `\\u${letter.charCodeAt(0).toString(16).padStart(4, "0")}`);
  const body = new TextEncoder().encode(`tEXt${KEYWORD}\0${ascii}`);
  const chunk = new Uint8Array(body.length + 8);
  const view = new DataView(chunk.buffer);
  view.setUint32(0, body.length - 4);
  chunk.set(body, 4);
  view.setUint32(body.length + 4, crc32(body));
  return new Blob([png.slice(0, HEADER), chunk, png.slice(HEADER)], { type: "image/png" });
}

/** The picture of the page as a PNG. */
export async function toPng(page) {
  const canvas = element("canvas");
  const { levels, shape } = enlarged(page.levels, page.vae.imageShape, SIDE);
  const note = noteOf(page, shape[1] / page.vae.imageShape[1]);
  paint(canvas, levels, shape);
  const blob = await new Promise((done) => canvas.toBlob(done, "image/png"));
  return withNote(new Uint8Array(await blob.arrayBuffer()), note);
}
