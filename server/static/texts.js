// The page's texts: one sentence for each state, and for each failure what happened and what to do.

import { reading } from "./dial.js";
import { ServiceError } from "./chat.js";

/** Limit (ms) for the answer to a Stop: browsers open six connections to an HTTP/1.1 host, for all tabs together. */
export const STOP_TIMEOUT_MS = 300;

const plural = (count, noun) => `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;

/** Format a duration in ms. */
export const duration = (ms) => reading(ms, "ms").join(" ");

/** An upper bound: a chunk carries one token or more, and an answer may end before its limit. */
export function saved(chat) {
  if (chat.maxTokens === null) return "unknown without Max tokens";
  return `at most ${plural(Math.max(0, chat.maxTokens - chat.chunks), "token")}`;
}

/** Describe the service. */
export function about({ strategy, workers, upstream }) {
  const parts = [`Strategy ${strategy}`, plural(workers, "worker")];
  if (upstream) parts.push(`upstream: ${upstream}`);
  return `${parts.join(" · ")}.`;
}

/** Shown when an answer comes from the mock and the description does not mention it. */
export const MOCK = "This answer comes from the mock model: random words.";

/** Beside the model's name, when the upstream is the mock. */
export const ANY_MODEL = "the mock accepts any";

/** The stops of a visit, {closed, end} in ms, as a table; an unknown time is empty. */
export const csv = (stops) =>
  ["stop,upstream_closed_within_ms,browser_end_ms", ...stops.map(({ closed, end }, at) => [at + 1, closed ?? "", end].join())].join("\n");

/** Why an answer ended; by default the API's own finish_reason. */
export const ended = (reason) =>
  ({ abort: "stopped", stop: "complete", length: "token limit reached", closed_by_page: "connection closed" })[reason] ?? reason;

/** When and how the service answered the Stop. */
export function answered({ ackAt, ackStatus, pressAt, closedByPage }) {
  if (ackAt === null) return closedByPage ? `not within ${duration(STOP_TIMEOUT_MS)}` : "–";
  const status = { stopped: "confirmed", already_aborted: "already recorded", accepted: "recorded only" }[ackStatus] ?? ackStatus;
  return `${duration(ackAt - pressAt)}, ${status}`;
}

/** The status line, which screen readers announce. */
export function status(state, chat) {
  switch (state) {
    case "waiting":
      return "Waiting for the first token.";
    case "streaming":
      return "Streaming.";
    case "stopping":
      if (chat.ackStatus === null) return "Stopping.";
      return "The abort is recorded, the stream has not ended yet.";
    case "stopped":
      if (chat.closedByPage) return `Stopped: the Stop was not answered in time, so this page closed its connection, ${plural(chat.chunks, "chunk")} in.`;
      if (chat.pressAt === null) return `The service ended the answer after ${plural(chat.chunks, "chunk")}.`;
      return `Stopped after ${duration(chat.endAt - chat.pressAt)}, ${plural(chat.chunks, "chunk")} in.`;
    case "finished": {
      const whole = `${plural(chat.chunks, "chunk")} in ${reading(chat.endAt - chat.sentAt).join(" ")}.`;
      if (chat.pressAt !== null) return `The answer was complete before the stop took effect: ${whole}`;
      return chat.finishReason === "length" ? `Finished at the token limit: ${whole}` : `Finished: ${whole}`;
    }
    case "error":
      return "Failed.";
    case "lost":
      return "Connection lost.";
    default:
      return "Ready.";
  }
}

/** Describe a failed chat, and what to do. */
export function chatError(error, chat) {
  const arrived = chat.chunks ? ` ${plural(chat.chunks, "chunk")} had arrived.` : "";
  return [`${sentence(error.message)}${arrived}`, advice(error)];
}

/** Describe a failed stop, and what to do. */
export function stopError(error) {
  if (error instanceof ServiceError && error.status === 404) {
    return [
      `The stop did not find its chat: ${sentence(error.message)}`,
      "Press Stop again. If it fails every time, the service runs several workers without a shared store.",
    ];
  }
  return [
    `The stop was not accepted, the answer continues: ${sentence(error.message)}`,
    "Press Stop again. Closing this page ends the answer, too.",
  ];
}

function advice(error) {
  if (!(error instanceof ServiceError)) return "Check that the service runs and this device is online, then send again.";
  const wait = error.retryAfterS ? `Wait ${plural(error.retryAfterS, "second")}, then send again.` : "Send again later.";
  switch (error.status) {
    case 401:
    case 403:
      return "Enter an API key of this service, then send again.";
    case 400:
    case 404:
    case 422:
      return "Check the model and Max tokens, then send again.";
    case 413:
      return "Shorten the question.";
    case 429:
    case 503:
      return wait;
    case 502:
    case 504:
      return "Check that the service's upstream runs and accepts its key, then send again.";
    default:
      return "Send again.";
  }
}

const sentence = (text) => (/[.!?]$/.test(text) ? text : `${text}.`);
