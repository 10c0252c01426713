// Builds the static page, which runs the model in the browser's tab. The environment variable VAE_GEN_MODEL names another
// model folder, and VAE_GEN_DIST another place for the build.

import { createHash } from "node:crypto";
import { cpSync, mkdirSync, readFileSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { join, relative, resolve } from "node:path";
import { gzipSync } from "node:zlib";

const here = import.meta.dirname;
const model = resolve(here, process.env.VAE_GEN_MODEL ?? "../artifacts/fashion-mnist-12d");
const dist = resolve(here, process.env.VAE_GEN_DIST ?? "dist");
const wasm = readFileSync(join(here, "node_modules/onnxruntime-web/dist/ort-wasm-simd-threaded.wasm"));
const WASM = { bytes: wasm.length, sha256: createHash("sha256").update(wasm).digest("hex") };
const COMPRESSED = /\.(js|css|html|json|wasm|onnx)$/;

function files(folder) {
  return readdirSync(folder).flatMap((name) => {
    const path = join(folder, name);
    return statSync(path).isDirectory() ? files(path) : [path];
  });
}

/** Adds the model folder, a service worker that keeps all files for later, and a compressed copy of each file. */
function site() {
  return {
    name: "site",
    closeBundle() {
      mkdirSync(join(dist, "model"), { recursive: true });
      const manifest = JSON.parse(readFileSync(join(model, "manifest.json")));
      const graphs = ["encoder", "decoder", "latents", "detail"].filter((name) => manifest.graphs[name]);
      if (!manifest.graphs.latents) graphs.push("generator");
      const documents = ["manifest.json", "golden.json", "map.json"].filter((name) => name === "manifest.json" || manifest.files[name]);
      for (const name of [...graphs.map((graph) => manifest.graphs[graph].file), ...documents]) {
        cpSync(join(model, name), join(dist, "model", name));
      }
      const paths = files(dist).map((path) => relative(dist, path).replaceAll("\\", "/")).filter((path) => !/\.gz$|^sw\.js$/.test(path)).sort();
      const digest = createHash("sha256");
      for (const path of paths) digest.update(path).update(readFileSync(join(dist, path)));
      const worker = readFileSync(join(here, "src/sw.js"), "utf8")
        .replace("__NAME__", JSON.stringify(digest.digest("hex").slice(0, 16)))
        .replace("__FILES__", JSON.stringify(["./", ...paths]));
      writeFileSync(join(dist, "sw.js"), worker);
      for (const path of files(dist).filter((name) => COMPRESSED.test(name))) {
        writeFileSync(`${path}.gz`, gzipSync(readFileSync(path), { level: 9 }));
      }
    },
  };
}

export default {
  base: "./",
  define: { __WASM__: JSON.stringify(WASM) },
  build: { outDir: dist, emptyOutDir: true, target: "esnext", assetsInlineLimit: 0, modulePreload: { polyfill: false }, chunkSizeWarningLimit: 2000 },
  resolve: { alias: [{ find: "./engine.js", replacement: join(here, "src/engine-wasm.js") }] },
  plugins: [site()],
};
