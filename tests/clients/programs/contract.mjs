// What the programs for Node share: the same command line and the same JSON line as contract.py, which explains both.
import { once } from "node:events";
import { createInterface } from "node:readline";

export const MODEL = "mock-gpt";
const PIECES = 5;
const [baseURL, mode, stop, header, chatId, question, variant = ""] = process.argv.slice(2);

export const seen = { pieces: 0, finish: null, usage: null, aborted: null, error: null, stopped_ns: null };
export const task = { baseURL, streamed: mode === "stream", headers: { [header]: chatId }, question, variant };

const lines = createInterface({ input: process.stdin });
const ended = once(lines, "close");
const controller = new AbortController();
task.signal = controller.signal;

function stopNow() {
  seen.stopped_ns = Number(process.hrtime.bigint()); // CLOCK_MONOTONIC; below 2^53 for the first hundred days
  controller.abort();
}

if (stop === "client" && !task.streamed) lines.once("line", stopNow);

/** Count a piece of text; stops the stream when it is time for that. */
export function piece(text) {
  if (!text) return;
  seen.pieces += 1;
  if (stop === "client" && seen.pieces === PIECES) stopNow();
}

/** Do the task, print what was seen, and stay with all connections open until standard input ends. */
export async function run(use) {
  try {
    await use();
  } catch (error) {
    // What the program itself asked for is no error.
    if (!controller.signal.aborted) {
      seen.error = {
        type: error.constructor.name === "Object" ? "Object" : (error.name === "Error" ? error.constructor.name : error.name),
        status: error.status ?? error.statusCode ?? null,
        code: error.code ?? error.data?.error?.code ?? null,
        message: String(error.message ?? error).slice(0, 300),
      };
    }
  }
  process.stdout.write(JSON.stringify(seen) + "\n");
  await ended;
  process.exit(0);
}
