// Calls the service in a separate thread: after a press the page's thread paints first, which would delay timestamps.

import { abort, stream } from "./chat.js";

const calls = {
  async *stream(port, ...args) {
    const controller = new AbortController();
    port.onmessage = () => controller.abort(); // the page closes this call's connection
    yield* stream(...args, controller.signal);
  },
  async *abort(port, ...args) {
    yield await abort(...args);
  },
};

addEventListener("message", async ({ data: { name, args }, ports: [port] }) => {
  try {
    for await (const { at, ...event } of calls[name](port, ...args)) {
      port.postMessage({ at: performance.timeOrigin + at, ...event });
    }
    port.postMessage({ done: true });
  } catch ({ message, status, retryAfterS }) {
    port.postMessage({ error: { message, status, retryAfterS } });
  }
});
