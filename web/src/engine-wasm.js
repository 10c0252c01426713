// The engine of the static build: onnxruntime-web in this tab, WebAssembly, one thread, nothing from another host.

import * as ort from "onnxruntime-web/wasm";
import wasmUrl from "onnxruntime-web/ort-wasm-simd-threaded.wasm?url";

import { download } from "./download.js";
import { check } from "./numbers.js";

export const runtime = "ONNX Runtime in WebAssembly";

const GRAPHS = ["decoder", "latents", "detail"]; // those that the first picture needs; the encoder waits for a picture

/** What runs graphs, after the runtime and the first graphs were loaded; progress hears of bytes. */
export async function open(folder, manifest, progress) {
  check(typeof WebAssembly === "object", "a browser with WebAssembly, got one without; try another browser");
  const wasm = await download(wasmUrl, progress);
  Object.assign(ort.env.wasm, { wasmBinary: wasm.buffer, numThreads: 1 });
  ort.env.logLevel = "error";
  const sessions = {};
  const session = (name) => (sessions[name] ??= load(folder, manifest.graphs[name], progress));
  let turn = Promise.resolve(); // a session in WebAssembly takes one run at a time
  const run = async (name, inputs) => {
    check(manifest.graphs[name], `a model with a graph called ${name}, got ${Object.keys(manifest.graphs).join(", ")}`);
    const opened = await session(name);
    const feed = Object.fromEntries(
      Object.entries(inputs).map(([key, { dtype, dims, data }]) => [key, new ort.Tensor(dtype, data, dims)]),
    );
    turn = turn.catch(() => {}).then(() => opened.run(feed));
    const outputs = await turn;
    return Object.fromEntries(
      Object.entries(outputs).map(([key, tensor]) => [key, { dtype: tensor.type, dims: tensor.dims, data: tensor.data }]),
    );
  };
  // Kept for the next visit, and for visits without a network; not every place has service workers.
  navigator.serviceWorker?.register(new URL("sw.js", document.baseURI)).catch(() => {});
  for (const name of GRAPHS) if (manifest.graphs[name]) await session(name);
  return { run };
}

async function load(folder, { file, sha256 }, progress) {
  const content = await download(new URL(file, folder), progress);
  if (globalThis.crypto?.subtle) { // only pages from https: and this machine may hash
    const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", content));
    const found = Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("");
    check(found === sha256, `the ${file} that the manifest describes, got another SHA-256; copy the model again`);
  }
  return ort.InferenceSession.create(content, { executionProviders: ["wasm"] }).catch((error) => {
    throw new Error(`expected a graph in ${file}, got: ${String(error.message ?? error).slice(0, 120)}; copy it again`);
  });
}
