// The engine of the static build: onnxruntime-web in this tab, WebAssembly, one thread, nothing from another host.

import * as ort from "onnxruntime-web/wasm";
import wasmUrl from "onnxruntime-web/ort-wasm-simd-threaded.wasm?url";

import { download } from "./download.js";
import { check } from "./numbers.js";
import { checkHash } from "./sha256.js";

export const runtime = "ONNX Runtime in WebAssembly";

const WASM = __WASM__; // { bytes, sha256 }, filled in by the build
const FIRST = ["decoder", "latents", "detail"]; // what the first picture needs; the encoder waits for rest or a picture

const sessions = new Map(); // by SHA-256, so that a second try goes on where the first one stopped

/**
 * What runs graphs, after the runtime and the first graphs were loaded; progress hears of bytes and of all of them.
 * again: after a failure, past what the browser kept.
 */
export async function open(folder, manifest, progress, again) {
  check(typeof WebAssembly === "object", "a browser with WebAssembly, got one without; try another browser");
  const first = FIRST.filter((name) => manifest.graphs[name]).map((name) => manifest.graphs[name]);
  const total = first.reduce((sum, { bytes }) => sum + bytes, WASM.bytes);
  const received = {};
  const heard = (name) => (bytes) => {
    received[name] = bytes;
    progress(Object.values(received).reduce((sum, some) => sum + some, 0), total);
  };
  const runtimeReady = wasm(heard("wasm"), again);
  const session = (graph, listener = () => {}, fresh = false) => {
    const { sha256 } = graph;
    if (!sessions.has(sha256)) {
      const opening = load(folder, graph, runtimeReady, listener, fresh);
      opening.catch(() => sessions.delete(sha256)); // whoever asks next tries again
      sessions.set(sha256, opening);
    }
    return sessions.get(sha256);
  };
  let turn = Promise.resolve(); // a session in WebAssembly takes one run at a time
  const run = async (name, inputs) => {
    check(manifest.graphs[name], `a model with a graph called ${name}, got ${Object.keys(manifest.graphs).join(", ")}`);
    const opened = await session(manifest.graphs[name]);
    const feed = Object.fromEntries(
      Object.entries(inputs).map(([key, { dtype, dims, data }]) => [key, new ort.Tensor(dtype, data, dims)]),
    );
    turn = turn.catch(() => {}).then(() => opened.run(feed));
    const outputs = await turn;
    return Object.fromEntries(
      Object.entries(outputs).map(([key, tensor]) => [key, { dtype: tensor.type, dims: tensor.dims, data: tensor.data }]),
    );
  };
  const ready = async (graph) => {
    await session(graph, heard(graph.file), again);
    heard(graph.file)(graph.bytes);
  };
  await Promise.all([runtimeReady, ...first.map(ready)]);
  return { run, keep };
}

/** Keep all files for the next visit, and for visits without a network; not every place has service workers. */
function keep() {
  navigator.serviceWorker?.register(new URL("sw.js", document.baseURI)).catch(() => {});
}

/** The runtime's own code, checked before it is taken: ONNX Runtime never recovers from one that is broken. */
async function wasm(heard, fresh) {
  if (ort.env.wasm.wasmBinary) return heard(WASM.bytes);
  const content = await download(wasmUrl, heard, fresh);
  await checkHash(content, WASM.sha256, "the WebAssembly that this page was built with");
  Object.assign(ort.env.wasm, { wasmBinary: content.buffer, numThreads: 1 });
  ort.env.logLevel = "error";
}

async function load(folder, { file, sha256 }, runtimeReady, heard, fresh) {
  const content = await download(new URL(file, folder), heard, fresh);
  await checkHash(content, sha256, `the ${file} that the manifest describes`);
  await runtimeReady;
  return ort.InferenceSession.create(content, { executionProviders: ["wasm"] }).catch((error) => {
    throw new Error(`expected a graph in ${file}, got: ${String(error.message ?? error).slice(0, 120)}; copy it again`);
  });
}
