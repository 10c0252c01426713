// The service worker of the static page, which lets it work without a network after the first load.
// `vae-gen page` fills in the list of files, and a name that changes when any file does.

const NAME = __NAME__;
const FILES = __FILES__;

/** A request that asks the server whether a file that the browser has is still the newest one. */
const checked = (file) => new Request(file, { cache: "no-cache" });

addEventListener("install", (event) => {
  event.waitUntil(caches.open(NAME).then((cache) => cache.addAll(FILES.map(checked))).then(() => skipWaiting()));
});

addEventListener("activate", (event) => {
  const old = caches.keys().then((names) => Promise.all(names.filter((name) => name !== NAME).map((name) => caches.delete(name))));
  event.waitUntil(old.then(() => clients.claim()));
});

addEventListener("fetch", (event) => {
  if (event.request.method !== "GET" || new URL(event.request.url).origin !== location.origin) return;
  event.respondWith(event.request.cache === "reload" ? fresh(event.request) : kept(event.request));
});

async function kept(request) {
  return (await caches.match(request, { ignoreSearch: true, cacheName: NAME })) ?? fetch(request);
}

/** After a failure the page asks for a fresh copy, because the kept one may be broken. */
async function fresh(request) {
  const answer = await fetch(request).catch(() => null);
  if (!answer?.ok) return answer ?? kept(request);
  const cache = await caches.open(NAME);
  await cache.put(request, answer.clone());
  return answer;
}
