// What the page says: one sentence for where a chat is, and for every failure what happened and what to do.

import { reading } from "./dial.js";
import { ServiceError } from "./chat.js";

/** A Stop that is unanswered for so long (ms) is stuck: browsers open six connections to an HTTP/1.1 host, for all tabs. */
export const HANG_UP_MS = 300;

const plural = (count, noun) => `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;

/** A duration as it stands in a sentence; `ms` since the press. */
export const took = (ms) => reading(ms, "ms").join(" ");

/** An upper bound, not a measurement: a chunk carries one token or more, and an answer may end before its limit. */
export function saved(chat) {
  if (chat.maxTokens === null) return "unknown without Max tokens";
  return `at most ${plural(Math.max(0, chat.maxTokens - chat.chunks), "token")}`;
}

/** What this page talks to. */
export function about({ strategy, workers, upstream }) {
  const parts = [`Strategy ${strategy}`, plural(workers, "worker")];
  if (upstream) parts.push(`upstream: ${upstream}`);
  return `${parts.join(" · ")}.`;
}

/** Shown when an answer turns out to come from the mock and nothing had said so before. */
export const MOCK = "This answer comes from the mock model: random words.";

/** Why an answer ended; an API's own word where there is no better one. */
export const ended = (reason) =>
  ({ abort: "stopped", stop: "complete", length: "token limit reached", hung_up: "connection closed" })[reason] ?? reason;

/** When the service answered the Stop, and what it said. */
export function answered({ ackAt, ackStatus, pressAt, hungUp }) {
  if (ackAt === null) return hungUp ? `not within ${took(HANG_UP_MS)}` : "–";
  const said = { stopped: "confirmed", already_aborted: "already recorded", accepted: "recorded only" }[ackStatus] ?? ackStatus;
  return `${took(ackAt - pressAt)}, ${said}`;
}

/** The sentence a screen reader hears when the state changes. */
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
      if (chat.hungUp) return `Stopped: the Stop had no answer, so this page closed its connection, ${plural(chat.chunks, "chunk")} in.`;
      if (chat.pressAt === null) return `The service ended the answer after ${plural(chat.chunks, "chunk")}.`;
      return `Stopped after ${took(chat.endAt - chat.pressAt)}, ${plural(chat.chunks, "chunk")} in.`;
    case "finished": {
      const whole = `${plural(chat.chunks, "chunk")} in ${reading(chat.endAt - chat.sentAt).join(" ")}.`;
      if (chat.pressAt !== null) return `The answer was over before the stop took effect: ${whole}`;
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

/** What went wrong with a chat, and what to do about it. */
export function trouble(error, chat) {
  const sofar = chat.chunks ? ` ${plural(chat.chunks, "chunk")} had arrived.` : "";
  return [`${sentence(error.message)}${sofar}`, advice(error)];
}

/** Why a stop did not take, and what to do about it. */
export function stopTrouble(error) {
  if (error instanceof ServiceError && error.status === 404) {
    return [
      `The stop did not find its chat: ${sentence(error.message)}`,
      "Press Stop again. If it never finds it, the service runs several workers without a store that they share.",
    ];
  }
  return [
    `The stop was not accepted, the answer goes on: ${sentence(error.message)}`,
    "Press Stop again. Closing this page ends the answer, too.",
  ];
}

function advice(error) {
  if (!(error instanceof ServiceError)) return "See whether the service runs and this device is online, then send again.";
  const wait = error.retryAfterS ? `Wait ${plural(error.retryAfterS, "second")}, then send again.` : "Send again in a while.";
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
      return "See whether the service's upstream runs and takes its key, then send again.";
    default:
      return "Send again.";
  }
}

const sentence = (text) => (/[.!?]$/.test(text) ? text : `${text}.`);
