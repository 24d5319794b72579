// Talks to the service in a thread of its own: a browser that has seen a press paints first, and would stamp late.

import { abort, stream } from "./chat.js";

const calls = {
  stream,
  async *abort(...args) {
    yield await abort(...args);
  },
};

addEventListener("message", async ({ data: { name, args }, ports: [port] }) => {
  try {
    for await (const { at, ...event } of calls[name](...args)) {
      port.postMessage({ at: performance.timeOrigin + at, ...event });
    }
    port.postMessage({ done: true });
  } catch ({ message, status, retryAfterS }) {
    port.postMessage({ error: { message, status, retryAfterS } });
  }
});
