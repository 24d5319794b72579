// The service's API: one streamed chat, one abort. Independent of the page.

const WAIT_MS = 2000; // how long the service waits for the confirmation of the chat's worker

/** An error response, or with status null an error inside a stream. */
export class ServiceError extends Error {
  constructor(message, status = null, retryAfterS = null) {
    super(message);
    this.status = status;
    this.retryAfterS = retryAfterS;
  }
}

/** The service could not be reached, or its answer is incomplete. */
export class ConnectionLostError extends Error {}

/** A unique id; randomUUID is missing on pages loaded over plain HTTP. */
export function newRequestId() {
  if (crypto.randomUUID) return crypto.randomUUID();
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * Start a chat and yield `{at, text, finishReason}` per event, and once more at its end; `at` is a performance.now().
 * The first item has `worker`, the process that runs the chat. Aborting `signal` closes the connection.
 * Throws ServiceError, and ConnectionLostError also for a stream without `[DONE]`.
 */
export async function* stream(body, key, signal) {
  const response = await post("chat/", body, key, signal);
  if (!response.ok) throw await errorOf(response);
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
  if (!complete) throw new ConnectionLostError("The answer ended before it was complete.");
  yield { at: performance.now(), text: "", finishReason: null };
}

/**
 * Abort a chat. Returns `{at, status, worker, closedMs}`: the time of the answer; `stopped`, `accepted`,
 * `already_aborted`, or `remembered` if the abort came before its chat; the process that received it; and the time from
 * its arrival there to the closed upstream, null if that was not confirmed.
 * Throws ServiceError (404: no such chat) and ConnectionLostError.
 */
export async function abort(requestId, key) {
  const response = await post("abort/", { request_id: requestId, wait_ms: WAIT_MS }, key);
  const at = performance.now();
  if (response.ok) {
    const closed = /\bstopped;dur=([\d.]+)/.exec(response.headers.get("Server-Timing") ?? "");
    return { at, status: (await response.json()).status, worker: response.headers.get("X-Worker"), closedMs: closed && Number(closed[1]) };
  }
  const error = await errorOf(response);
  if (error.remembered) return { at, status: "remembered" };
  throw error;
}

/** The service's description `{strategy, workers, upstream}`, or null. */
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

async function errorOf(response) {
  const payload = parsed(await response.text().catch(() => ""));
  const message = messageOf(payload) ?? `The service answered ${response.status}.`;
  const seconds = Number.parseInt(response.headers.get("Retry-After") ?? "", 10);
  const error = new ServiceError(message, response.status, Number.isNaN(seconds) ? null : seconds);
  error.remembered = payload?.remembered_s !== undefined;
  return error;
}

// OpenAI's {"error": {"message"}}, FastAPI's {"detail": "..."} and its list of invalid fields.
function messageOf(payload) {
  const detail = payload?.error?.message ?? payload?.detail;
  if (Array.isArray(detail)) return detail.map((one) => `${one.loc?.at(-1)}: ${one.msg}`).join("; ");
  return typeof detail === "string" ? detail : null;
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null; // an event without JSON has nothing to show
  }
}
