// The page's events and state. `chat` is the chat with a running answer, or null.

import { ServiceError, about, newRequestId } from "./chat.js";
import { Dial, reading } from "./dial.js";
import * as texts from "./texts.js";
import { abort, closeConnections, stream } from "./worker_client.js";

const REFRESH_MS = 100; // painting at every frame would slow down what is being measured
const REMEMBERED_MS = 1500; // an abort that came before its chat has had its effect by then
const ROWS = 5;
const LABELS = { stopping: "Stopping", stopped: "Stopped", finished: "Finished", error: "Failed", lost: "Lost" };

const element = Object.fromEntries([...document.querySelectorAll("[id]")].map((one) => [one.id, one]));
const touch = matchMedia("(pointer: coarse)");
const narrow = matchMedia("(max-width: 55.99rem)"); // as in page.css: one column, the dial at the bottom
const dial = new Dial();
const stops = storedStops(); // {closed, end} of each stop in this visit, ms
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
// A page kept for the Back button would keep its stream open.
addEventListener("pagehide", () => chat && closeConnections());
addEventListener("pageshow", ({ persisted }) => persisted && chat && location.reload());

if (stops.length) showStops();
about().then((service) => service && (element.about.textContent = texts.about(service)));

async function send() {
  const current = {
    id: newRequestId(), key: element.key.value, sentAt: performance.now(), lastAt: null,
    maxTokens: element["max-tokens"].value ? element["max-tokens"].valueAsNumber : null,
    chunks: 0, late: 0, finishReason: null, endAt: null, owner: null, connection: new AbortController(), closedByPage: false,
    pressAt: null, ackAt: null, ackStatus: null, receiver: null, closedMs: null, aborting: null,
  }; // prettier-ignore
  chat = current;
  const body = { model: element.model.value, messages: [{ role: "user", content: element.question.value }] };
  if (current.maxTokens !== null) body.max_tokens = current.maxTokens;
  begin();
  try {
    for await (const event of stream({ ...body, request_id: current.id }, current.key, current.connection.signal)) {
      current.lastAt = event.at;
      current.owner ??= event.worker ?? null;
      if (event.mock && !element["any-model"].textContent) mentionMock();
      current.finishReason = event.finishReason ?? current.finishReason;
      if (event.text) addText(event.text);
    }
    current.endAt = current.lastAt;
    finish(current.finishReason === "abort" ? "stopped" : "finished", current);
  } catch (error) {
    current.endAt = performance.now();
    if (current.closedByPage) {
      current.finishReason = "closed_by_page";
      finish("stopped", current);
      return;
    }
    finish(error instanceof ServiceError ? "error" : "lost", current);
    showMessages(texts.chatError(error, current));
  }
}

function mentionMock() {
  element["any-model"].textContent = texts.ANY_MODEL;
  if (!element.about.textContent.includes("mock")) element.about.textContent += ` ${texts.MOCK}`;
}

function begin() {
  element.answer.replaceChildren(document.createTextNode(""));
  element.answer.setAttribute("aria-busy", "true");
  dial.reset();
  showMessages([]);
  show("waiting");
  element.stop.focus({ preventScroll: true });
  element.answer.parentElement.scrollIntoView({ block: narrow.matches ? "start" : "nearest" });
  hiddenPx = 0;
  refresh();
}

function addText(text) {
  chat.chunks += 1;
  if (chat.pressAt !== null && chat.lastAt > chat.pressAt) chat.late += 1;
  element.answer.firstChild.appendData(text);
  dial.chunk(chat.lastAt - chat.sentAt);
  if (document.body.dataset.state === "waiting") show("streaming");
}

// The press is timed by the browser's event, not by this code; the abort is sent before anything is painted.
function press({ timeStamp }) {
  if (chat === null || chat.aborting !== null) return;
  chat.pressAt ??= timeStamp;
  chat.aborting = stop(chat);
  dial.press(chat.pressAt - chat.sentAt);
  showMessages([]);
  show("stopping");
}

async function stop(current) {
  // Closing the connection stops the answer, too, and frees one of the browser's connections for the Stop.
  const closeLater = setTimeout(() => {
    if (chat !== current) return;
    current.closedByPage = true;
    current.connection.abort();
  }, texts.STOP_TIMEOUT_MS);
  try {
    const ack = await abort(current.id, current.key).finally(() => clearTimeout(closeLater));
    [current.ackAt, current.ackStatus, current.receiver] = [ack.at, ack.status, ack.worker ?? null];
    current.closedMs = ack.closedMs ?? null;
    if (current.ackStatus === "remembered" && chat === current) {
      setTimeout(() => stopFailed(current, new ServiceError("Request ID not found", 404)), REMEMBERED_MS);
      return; // a second press meanwhile would only be remembered, too
    }
  } catch (error) {
    stopFailed(current, error);
  }
  current.aborting = null;
  if (chat === current) show();
}

function stopFailed(current, error) {
  if (chat !== current) return;
  current.aborting = current.ackAt = current.ackStatus = null;
  show(current.chunks ? "streaming" : "waiting");
  showMessages(texts.stopError(error));
}

async function finish(state, current) {
  dial.turn((current.pressAt ?? current.endAt) - current.sentAt);
  const hadFocus = document.activeElement === element.stop;
  chat = null;
  element.answer.setAttribute("aria-busy", "false");
  show(state, current);
  follow(); // the last text may have come since the last refresh
  if (hadFocus && !touch.matches) element.question.focus({ preventScroll: true }); // on a phone this would open the keyboard
  await current.aborting;
  if (chat !== null) return; // a new question was sent meanwhile
  if (state === "stopped" && current.pressAt !== null) addStop(current);
  show(state, current);
  // On a phone the results lie below the dial, which covers the end of the window.
  if (narrow.matches && state === "stopped") element.late.parentElement.scrollIntoView({ block: "nearest" });
}

function addStop({ closedMs, endAt, pressAt }) {
  stops.push({ closed: closedMs, end: endAt - pressAt });
  try {
    sessionStorage.setItem("stops", JSON.stringify(stops));
  } catch {
    // Storage is denied: a reload forgets the stops.
  }
  showStops();
}

// Of this tab, from before a reload.
function storedStops() {
  try {
    return JSON.parse(sessionStorage.getItem("stops")) ?? [];
  } catch {
    return [];
  }
}

function showStops() {
  const rows = stops.map(({ closed, end }, index) => row(index + 1, closed, end)).slice(-ROWS);
  element.history.tBodies[0].replaceChildren(...rows.reverse());
  element.history.hidden = element["save-note"].hidden = false;
  element.save.href = `data:text/csv;charset=utf-8,${encodeURIComponent(texts.csv(stops))}`;
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
  for (const ms of [closed, end]) line.insertCell().textContent = ms === null ? "–" : texts.duration(ms);
  return line;
}

function median(values) {
  const sorted = values.filter((value) => value !== null).sort((a, b) => a - b);
  if (sorted.length < 3) return null;
  const half = sorted.length >> 1;
  return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

// Render the whole state of a chat.
function show(state = document.body.dataset.state, current = chat) {
  const { endAt, pressAt, finishReason } = current;
  document.body.dataset.state = state;
  element.send.disabled = chat !== null;
  element.stop.setAttribute("aria-disabled", String(chat === null));
  element.word.textContent = LABELS[state] ?? "Stop";
  const sentence = texts.status(state, current);
  if (element.status.textContent !== sentence) element.status.textContent = sentence;
  element.ack.textContent = texts.answered(current);
  element.closed.textContent = current.closedMs === null ? "–" : `within ${texts.duration(current.closedMs)}`;
  element.owner.textContent = current.owner ?? "–";
  element.taker.textContent = current.receiver ?? "–";
  element.request.textContent = current.id;
  element.late.textContent = pressAt === null ? "–" : current.late.toLocaleString("en");
  const end = endAt === null ? null : texts.ended(finishReason ?? (state === "lost" ? "lost" : "error"));
  element.end.textContent =
    end === null ? "–" : pressAt === null ? end : `${texts.duration(Math.max(0, endAt - pressAt))}, ${end}`;
  element.saved.textContent = state === "stopped" ? texts.saved(current) : "–";
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

function refresh() {
  if (chat === null) return;
  setTimeout(refresh, REFRESH_MS);
  const now = performance.now();
  follow();
  dial.turn((chat.pressAt ?? now) - chat.sentAt);
  time(chat);
}

// Keep the end of the text visible, unless the user has scrolled away from it.
let hiddenPx = 0;
function follow() {
  const floor = narrow.matches ? element.stop.parentElement.getBoundingClientRect().top : innerHeight;
  const over = element.answer.getBoundingClientRect().bottom - floor;
  if (over > 0 && hiddenPx <= 0) scrollBy(0, Math.ceil(over));
  hiddenPx = Math.floor(element.answer.getBoundingClientRect().bottom - floor);
}

function showMessages(sentences) {
  element.trouble.replaceChildren(
    ...sentences.map((sentence) => Object.assign(document.createElement("p"), { textContent: sentence })),
  );
  if (sentences.length) element.trouble.scrollIntoView({ block: "nearest" });
}
