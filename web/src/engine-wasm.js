// The engine of the static page: the model runs in this tab, with onnxruntime-web on one thread. `vae-gen page` puts this
// file in the place of engine.js, and npm's libraries into lib/. Nothing comes from another host.

import { VAE, check, checkSha256 } from "../../examples/vae.mjs";
import * as ort from "../../lib/ort.js";
import { WASM } from "../../lib/wasm.js"; // { bytes, sha256 }
import { download } from "./download.js";

export const runtime = "The model runs on ONNX Runtime in this tab, in WebAssembly.";

const wasmUrl = new URL("../../lib/ort-wasm-simd-threaded.wasm", import.meta.url).href;
const FIRST = ["decoder", "latents", "detail"]; // the graphs that the first picture needs; the encoder can wait

const sessions = new Map(); // outlives a load that failed, so that the next one continues there
const sha256 = async (content) => (await import("../../lib/noble/sha2.js")).sha256(content);

/** Opens the model folder, ONNX Runtime and the first graphs; progress(received, total) is called with numbers of bytes. */
export async function open(folder, progress) {
  check(typeof WebAssembly === "object", "a browser with WebAssembly, got one without; try another browser");
  const [sizes, received] = [new Map([[wasmUrl, WASM.bytes]]), new Map()];
  const sum = (bytes) => [...bytes.values()].reduce((total, some) => total + some, 0);
  const count = (address, bytes) => {
    if (sizes.has(address)) progress(sum(received.set(address, bytes)), sum(sizes));
  };
  const read = (address) => download(address, (bytes) => {
    count(address, bytes);
    dispatchEvent(new CustomEvent("downloaded", { detail: { address, bytes } })); // the lesson waits for the encoder
  });
  const vae = await VAE.load(folder, { ort, read, sha256, sessions });
  const { graphs } = vae.manifest;
  const first = FIRST.filter((name) => graphs[name]);
  for (const name of first) sizes.set(vae.place + graphs[name].file, graphs[name].bytes);
  vae.ort = openRuntime(read); // sessions wait for it
  await Promise.all([vae.ort, ...first.map(async (name) => {
    await vae.open(name);
    count(vae.place + graphs[name].file, graphs[name].bytes); // for a graph that an earlier load has opened
  })]);
  return vae;
}

/** ONNX Runtime with its WebAssembly, which is checked first: ONNX Runtime never recovers from a broken one. */
async function openRuntime(read) {
  if (!ort.env.wasm.wasmBinary) {
    const content = await read(wasmUrl);
    await checkSha256(content, WASM.sha256, "the WebAssembly that this page was built with", sha256);
    Object.assign(ort.env.wasm, { wasmBinary: content.buffer, numThreads: 1 });
    ort.env.logLevel = "error";
  }
  return ort;
}

/** The bytes of an endless GIF of frames, each Uint8Array [channels × height × width], for 60 milliseconds each. */
export async function gif(frames, [channels, height, width]) {
  const { GIFEncoder, applyPalette, quantize } = await import("../../lib/gifenc.js");
  const encoder = GIFEncoder();
  const size = height * width;
  const greys = Array.from({ length: 256 }, (_, level) => [level, level, level]);
  frames.forEach((frame, at) => {
    if (channels === 1) return encoder.writeFrame(frame, width, height, { delay: 60, palette: at ? null : greys });
    const pixels = Uint8Array.from({ length: 4 * size }, (_, i) => (i % 4 === 3 ? 255 : frame[(i % 4) * size + (i >> 2)]));
    const palette = quantize(pixels, 256);
    return encoder.writeFrame(applyPalette(pixels, palette), width, height, { delay: 60, palette });
  });
  encoder.finish();
  return encoder.bytes();
}

/** Keeps all files for the next visit, and for visits without a network. Not every address can have service workers. */
export function keep() {
  navigator.serviceWorker?.register(new URL("sw.js", document.baseURI)).catch(() => {});
}
