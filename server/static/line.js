// The page's line to the worker: the two calls of chat.js, with `at` on the page's own clock.

import { ConnectionLostError, ServiceError } from "./chat.js";

const worker = new Worker("page/worker.js", { type: "module" });
const open = new Set(); // what takes a message, for each call under way
worker.addEventListener("error", () => {
  const error = { message: "This browser could not start the page's worker." };
  for (const take of open) take({ error });
});

/** As `stream` in chat.js; aborting `signal` closes its connection. */
export const stream = (body, key, signal) => call("stream", [body, key], signal);

/** As `abort` in chat.js. */
export async function abort(requestId, key) {
  for await (const answer of call("abort", [requestId, key])) return answer;
  throw new ConnectionLostError("The service gave no answer.");
}

/** End whatever is under way, and with it its connection. */
export function hangUp() {
  worker.terminate();
}

async function* call(name, args, signal) {
  const { port1, port2 } = new MessageChannel();
  const inbox = [];
  let wake = () => {};
  const take = (message) => {
    inbox.push(message);
    wake();
  };
  open.add(take);
  port1.onmessage = ({ data }) => take(data);
  signal?.addEventListener("abort", () => port1.postMessage("close"), { once: true });
  worker.postMessage({ name, args }, [port2]);
  try {
    for (;;) {
      while (inbox.length) {
        const { at, done, error, ...event } = inbox.shift();
        if (done) return;
        if (error) throw revived(error);
        yield { at: at - performance.timeOrigin, ...event };
      }
      await new Promise((resolve) => (wake = resolve));
    }
  } finally {
    open.delete(take);
    port1.close();
  }
}

// An error loses its class on the way; only the service's own have a status, null in mid-stream.
function revived({ message, status, retryAfterS }) {
  return status === undefined ? new ConnectionLostError(message) : new ServiceError(message, status, retryAfterS);
}
