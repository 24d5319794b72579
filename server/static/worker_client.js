// Calls chat.js in worker.js; converts `at` to the page's clock.

import { ConnectionLostError, ServiceError } from "./chat.js";

const worker = new Worker("page/worker.js", { type: "module" });
const open = new Set(); // the message handler of each running call
worker.addEventListener("error", () => {
  const error = { message: "This browser could not start the page's web worker." };
  for (const receive of open) receive({ error });
});

/** As `stream` in chat.js; aborting `signal` closes its connection. */
export const stream = (body, key, signal) => call("stream", [body, key], signal);

/** As `abort` in chat.js. */
export async function abort(requestId, key) {
  for await (const answer of call("abort", [requestId, key])) return answer;
  throw new ConnectionLostError("The service did not answer.");
}

/** End all calls, and close their connections. */
export function closeConnections() {
  worker.terminate();
}

async function* call(name, args, signal) {
  const { port1, port2 } = new MessageChannel();
  const inbox = [];
  let wake = () => {};
  const receive = (message) => {
    inbox.push(message);
    wake();
  };
  open.add(receive);
  port1.onmessage = ({ data }) => receive(data);
  signal?.addEventListener("abort", () => port1.postMessage("close"), { once: true });
  worker.postMessage({ name, args }, [port2]);
  try {
    for (;;) {
      while (inbox.length) {
        const { at, done, error, ...event } = inbox.shift();
        if (done) return;
        if (error) throw toError(error);
        yield { at: at - performance.timeOrigin, ...event };
      }
      await new Promise((resolve) => (wake = resolve));
    }
  } finally {
    open.delete(receive);
    port1.close();
  }
}

// A message cannot carry an error's class; only a ServiceError has a status, null inside a stream.
function toError({ message, status, retryAfterS }) {
  return status === undefined ? new ConnectionLostError(message) : new ServiceError(message, status, retryAfterS);
}
