// Talks to the service: one streamed chat, one abort. Knows nothing of the page.

const WAIT_MS = 2000; // how long the service may wait for the worker that owns the chat to confirm the stop

/** The service answered, and the answer was a refusal or a failure; `status` is null for one in mid-stream. */
export class ServiceError extends Error {
  constructor(message, status = null, retryAfterS = null) {
    super(message);
    this.status = status;
    this.retryAfterS = retryAfterS;
  }
}

/** The service could not be reached, or its answer broke off. */
export class ConnectionLostError extends Error {}

/** 1-128 visible characters that nobody else has; randomUUID is missing where the page came over plain HTTP. */
export function newRequestId() {
  if (crypto.randomUUID) return crypto.randomUUID();
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * Start a chat and yield `{at, text, finishReason}` per event, and once more at its end; `at` is a performance.now().
 * The first item has `worker`, the process that holds the chat. Aborting `signal` closes the connection.
 * Throws ServiceError, and ConnectionLostError also when the stream ends without saying that it is complete.
 */
export async function* stream(body, key, signal) {
  const response = await post("chat/", body, key, signal);
  if (!response.ok) throw await refusal(response);
  yield { at: performance.now(), text: "", finishReason: null, worker: response.headers.get("X-Worker") };
  let complete = false;
  for await (const { name, data } of events(response.body)) {
    const at = performance.now();
    if (data === "[DONE]") {
      complete = true;
      continue;
    }
    const payload = parsed(data);
    if (name === "error" || payload?.error) throw new ServiceError(messageOf(payload) ?? "The answer failed.");
    const choice = payload?.choices?.[0];
    if (!choice) continue;
    const mock = payload.system_fingerprint === "fp_mock";
    yield { at, text: choice.delta?.content ?? "", finishReason: choice.finish_reason ?? null, mock };
  }
  if (!complete) throw new ConnectionLostError("The answer broke off before its end.");
  yield { at: performance.now(), text: "", finishReason: null };
}

/**
 * Abort a chat. Returns `{at, status, worker, closedMs}`: when the answer came; `stopped`, `accepted`,
 * `already_aborted`, or `remembered` when the abort came before its chat; the process that took it; and how long after
 * its arrival there the upstream was closed, null if that was not confirmed.
 * Throws ServiceError (404: the service knows no such chat) and ConnectionLostError.
 */
export async function abort(requestId, key) {
  const response = await post("abort/", { request_id: requestId, wait_ms: WAIT_MS }, key);
  const at = performance.now();
  if (response.ok) {
    const closed = /\bstopped;dur=([\d.]+)/.exec(response.headers.get("Server-Timing") ?? "");
    return { at, status: (await response.json()).status, worker: response.headers.get("X-Worker"), closedMs: closed && Number(closed[1]) };
  }
  const error = await refusal(response);
  if (error.remembered) return { at, status: "remembered" };
  throw error;
}

/** What the service says of itself: `{strategy, workers, upstream}`, or null. */
export async function about() {
  const response = await fetch(new URL("about", import.meta.url)).catch(() => null);
  return response?.ok ? response.json() : null;
}

async function post(path, body, key, signal) {
  const headers = { "Content-Type": "application/json" };
  if (key) headers.Authorization = `Bearer ${key}`;
  try {
    return await fetch(new URL(`../${path}`, import.meta.url), { method: "POST", headers, body: JSON.stringify(body), cache: "no-store", signal });
  } catch {
    throw new ConnectionLostError("The service cannot be reached.");
  }
}

async function* events(body) {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  for (;;) {
    let read;
    try {
      read = await reader.read();
    } catch {
      throw new ConnectionLostError("The connection to the service was lost.");
    }
    if (read.done) return;
    const whole = (rest + decoder.decode(read.value, { stream: true })).split(/\r?\n\r?\n/);
    rest = whole.pop();
    for (const event of whole) {
      const lines = event.split(/\r?\n/);
      const name = lines.find((line) => line.startsWith("event:"))?.slice(6).trim();
      const data = lines.filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trimStart());
      if (data.length) yield { name, data: data.join("\n") };
    }
  }
}

async function refusal(response) {
  const payload = parsed(await response.text().catch(() => ""));
  const message = messageOf(payload) ?? `The service answered ${response.status}.`;
  const seconds = Number.parseInt(response.headers.get("Retry-After") ?? "", 10);
  const error = new ServiceError(message, response.status, Number.isNaN(seconds) ? null : seconds);
  error.remembered = payload?.remembered_s !== undefined;
  return error;
}

// OpenAI's {"error": {"message"}}, FastAPI's {"detail": "..."} and its list of what is wrong with which field.
function messageOf(payload) {
  const detail = payload?.error?.message ?? payload?.detail;
  if (Array.isArray(detail)) return detail.map((one) => `${one.loc?.at(-1)}: ${one.msg}`).join("; ");
  return typeof detail === "string" ? detail : null;
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null; // an event that is no JSON carries nothing to show
  }
}
