// The service worker of the static build: after the first load, the page works without a network.
// The build fills in the name, which changes with any file, and the list of files.

const NAME = __NAME__;
const FILES = __FILES__;

addEventListener("install", (event) => {
  event.waitUntil(caches.open(NAME).then((cache) => cache.addAll(FILES)).then(() => skipWaiting()));
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

/** After a failure the page asks past what is kept: that may be what was broken. */
async function fresh(request) {
  const answer = await fetch(request).catch(() => null);
  if (!answer?.ok) return answer ?? kept(request);
  const cache = await caches.open(NAME);
  await cache.put(request, answer.clone());
  return answer;
}
