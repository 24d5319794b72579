// The page: from the form to the service and back to the watch. `chat` is the one whose answer is live, or null.

import { ServiceError, about, newRequestId } from "./chat.js";
import { Dial, reading } from "./dial.js";
import { abort, hangUp, stream } from "./line.js";
import * as words from "./words.js";

const BEAT_MS = 100; // as a mechanical stopwatch; painting at every frame would slow down what is being measured
const REMEMBERED_MS = 1500; // an abort that came before its chat has taken effect by then, or it missed
const ROWS = 5;
const WORDS = { stopping: "Stopping", stopped: "Stopped", finished: "Finished", error: "Failed", lost: "Lost" };

const element = Object.fromEntries([...document.querySelectorAll("[id]")].map((one) => [one.id, one]));
const touch = matchMedia("(pointer: coarse)");
const narrow = matchMedia("(max-width: 55.99rem)"); // as in page.css: one column, the watch a dock at the bottom
const dial = new Dial();
const stops = []; // {closed, end} of each stop in this visit, ms
let chat = null;

element.ask.addEventListener("submit", (event) => {
  event.preventDefault();
  if (chat === null) send();
});
element.ask.addEventListener("keydown", (event) => {
  const send = event.target === element.question ? !event.shiftKey && !touch.matches : event.ctrlKey || event.metaKey;
  if (event.key !== "Enter" || event.isComposing || !send) return;
  event.preventDefault();
  element.ask.requestSubmit();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !event.isComposing && !event.repeat) press(event);
});
element.stop.addEventListener("click", press);
// A page that is kept for the Back button would go on listening to an answer that nobody reads.
addEventListener("pagehide", () => chat && hangUp());
addEventListener("pageshow", ({ persisted }) => persisted && chat && location.reload());

about().then((facts) => facts && (element.about.textContent = words.about(facts)));

async function send() {
  const current = {
    id: newRequestId(), key: element.key.value, sentAt: performance.now(), lastAt: null,
    maxTokens: element["max-tokens"].value ? element["max-tokens"].valueAsNumber : null,
    chunks: 0, late: 0, finishReason: null, endAt: null, owner: null, connection: new AbortController(), hungUp: false,
    pressAt: null, ackAt: null, ackStatus: null, taker: null, closedMs: null, aborting: null,
  }; // prettier-ignore
  chat = current;
  const body = { model: element.model.value, messages: [{ role: "user", content: element.question.value }] };
  if (current.maxTokens !== null) body.max_tokens = current.maxTokens;
  begin();
  try {
    for await (const event of stream({ ...body, request_id: current.id }, current.key, current.connection.signal)) {
      current.lastAt = event.at;
      current.owner ??= event.worker ?? null;
      if (event.mock && !element.about.textContent.includes("mock")) element.about.textContent += ` ${words.MOCK}`;
      current.finishReason = event.finishReason ?? current.finishReason;
      if (event.text) take(event.text);
    }
    current.endAt = current.lastAt;
    finish(current.finishReason === "abort" ? "stopped" : "finished", current);
  } catch (error) {
    current.endAt = performance.now();
    if (current.hungUp) {
      current.finishReason = "hung_up";
      finish("stopped", current);
      return;
    }
    finish(error instanceof ServiceError ? "error" : "lost", current);
    say(words.trouble(error, current));
  }
}

function begin() {
  element.answer.replaceChildren(document.createTextNode(""));
  element.answer.setAttribute("aria-busy", "true");
  dial.reset();
  say([]);
  show("waiting");
  element.stop.focus({ preventScroll: true });
  element.answer.parentElement.scrollIntoView({ block: narrow.matches ? "start" : "nearest" });
  overshot = 0;
  beat();
}

function take(text) {
  chat.chunks += 1;
  if (chat.pressAt !== null && chat.lastAt > chat.pressAt) chat.late += 1;
  element.answer.firstChild.appendData(text);
  dial.chunk(chat.lastAt - chat.sentAt);
  if (document.body.dataset.state === "waiting") show("streaming");
}

// The press is when the browser got it, not when this code ran; the abort leaves before anything is painted.
function press({ timeStamp }) {
  if (chat === null || chat.aborting !== null) return;
  chat.pressAt ??= timeStamp;
  chat.aborting = stop(chat);
  dial.press(chat.pressAt - chat.sentAt);
  say([]);
  show("stopping");
}

async function stop(current) {
  // A closed connection stops the answer, too, and it frees one of the browser's connections for the Stop.
  const hangUpLater = setTimeout(() => {
    if (chat !== current) return;
    current.hungUp = true;
    current.connection.abort();
  }, words.HANG_UP_MS);
  try {
    const ack = await abort(current.id, current.key).finally(() => clearTimeout(hangUpLater));
    [current.ackAt, current.ackStatus, current.taker] = [ack.at, ack.status, ack.worker ?? null];
    current.closedMs = ack.closedMs ?? null;
    if (current.ackStatus === "remembered" && chat === current) {
      setTimeout(() => missed(current, new ServiceError("Request ID not found", 404)), REMEMBERED_MS);
      return; // pressing again meanwhile would only be remembered again
    }
  } catch (error) {
    missed(current, error);
  }
  current.aborting = null;
  if (chat === current) show();
}

function missed(current, error) {
  if (chat !== current) return;
  current.aborting = current.ackAt = current.ackStatus = null;
  show(current.chunks ? "streaming" : "waiting");
  say(words.stopTrouble(error));
}

async function finish(state, current) {
  dial.turn((current.pressAt ?? current.endAt) - current.sentAt);
  const hadFocus = document.activeElement === element.stop;
  chat = null;
  element.answer.setAttribute("aria-busy", "false");
  show(state, current);
  follow(); // the last text may have come since the last beat
  if (hadFocus && !touch.matches) element.question.focus({ preventScroll: true }); // on a phone it would open the keyboard
  await current.aborting;
  if (chat !== null) return; // somebody was quick and has asked again
  if (state === "stopped" && current.pressAt !== null) remember(current);
  show(state, current);
}

function remember({ closedMs, endAt, pressAt }) {
  stops.push({ closed: closedMs, end: endAt - pressAt });
  const rows = stops.map(({ closed, end }, index) => row(index + 1, closed, end)).slice(-ROWS);
  element.history.tBodies[0].replaceChildren(...rows.reverse());
  element.history.hidden = false;
  element.history.tFoot.hidden = stops.length < 3;
  element.history.tFoot.replaceChildren(
    row(`Median of ${stops.length}`, median(stops.map(({ closed }) => closed)), median(stops.map(({ end }) => end))),
  );
}

function row(name, closed, end) {
  const line = document.createElement("tr");
  const head = document.createElement("th");
  head.scope = "row";
  head.textContent = name;
  line.append(head);
  for (const ms of [closed, end]) line.insertCell().textContent = ms === null ? "–" : words.took(ms);
  return line;
}

function median(values) {
  const sorted = values.filter((value) => value !== null).sort((a, b) => a - b);
  if (sorted.length < 3) return null;
  const half = sorted.length >> 1;
  return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

// Write the whole state out; every caller has changed the record first.
function show(state = document.body.dataset.state, current = chat) {
  const { endAt, pressAt, finishReason } = current;
  document.body.dataset.state = state;
  element.send.disabled = chat !== null;
  element.stop.setAttribute("aria-disabled", String(chat === null));
  element.word.textContent = WORDS[state] ?? "Stop";
  const sentence = words.status(state, current);
  if (element.status.textContent !== sentence) element.status.textContent = sentence;
  element.ack.textContent = words.answered(current);
  element.closed.textContent = current.closedMs === null ? "–" : `within ${words.took(current.closedMs)}`;
  element.owner.textContent = current.owner ?? "–";
  element.taker.textContent = current.taker ?? "–";
  element.late.textContent = pressAt === null ? "–" : current.late.toLocaleString("en");
  const end = endAt === null ? null : words.ended(finishReason ?? (state === "lost" ? "lost" : "error"));
  element.end.textContent =
    end === null ? "–" : pressAt === null ? end : `${words.took(Math.max(0, endAt - pressAt))}, ${end}`;
  element.saved.textContent = state === "stopped" ? words.saved(current) : "–";
  time(current);
}

function time({ chunks, sentAt, pressAt, endAt }) {
  const state = document.body.dataset.state;
  const fromPress = state === "stopping" || (state === "stopped" && pressAt !== null);
  const now = endAt ?? performance.now();
  const digits = endAt === null ? 1 : 2;
  const [figures, unit] = fromPress ? reading(Math.max(0, now - pressAt), "ms") : reading(now - sentAt, "s", digits);
  element.time.textContent = figures;
  element.unit.textContent = unit;
  element.chunks.textContent = chunks.toLocaleString("en");
}

function beat() {
  if (chat === null) return;
  setTimeout(beat, BEAT_MS);
  const now = performance.now();
  follow();
  dial.turn((chat.pressAt ?? now) - chat.sentAt);
  time(chat);
}

// Keep the end of the text in sight, unless its reader has scrolled away from it.
let overshot = 0;
function follow() {
  const floor = narrow.matches ? element.stop.parentElement.getBoundingClientRect().top : innerHeight;
  const over = element.answer.getBoundingClientRect().bottom - floor;
  if (over > 0 && overshot <= 0) scrollBy(0, Math.ceil(over));
  overshot = Math.floor(element.answer.getBoundingClientRect().bottom - floor);
}

function say(sentences) {
  element.trouble.replaceChildren(
    ...sentences.map((sentence) => Object.assign(document.createElement("p"), { textContent: sentence })),
  );
  if (sentences.length) element.trouble.scrollIntoView({ block: "nearest" });
}
