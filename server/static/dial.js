// Draws the dial: one lap is ten seconds; the ring is drawn while text arrives, and has a gap during a silence.

const LAP_MS = 10_000;
const JOIN_MS = 250; // chunks closer than this are drawn as one arc
const DOT_MS = 40; // minimum length of an arc
const RADIUS = 84;

/** The ring, the hand and the mark of the press. All times are ms since the question was sent. */
export class Dial {
  #lap = document.getElementById("lap");
  #past = document.getElementById("past");
  #hand = document.getElementById("hand");
  #mark = document.getElementById("mark");
  #arcs = []; // [start, end] of each arc in the current lap
  #lapIndex = 0;

  /** Reset to zero. */
  reset() {
    this.#arcs = [];
    this.#lapIndex = 0;
    this.#lap.setAttribute("d", "");
    this.#past.setAttribute("d", "");
    this.#mark.removeAttribute("transform");
    this.turn(0);
  }

  /** Turn the hand, and draw the chunks since the last turn. */
  turn(ms) {
    this.#hand.setAttribute("transform", `rotate(${degrees(ms)})`);
    this.#enter(ms);
    this.#lap.setAttribute("d", this.#path());
  }

  /** Add a chunk. */
  chunk(ms) {
    this.#enter(ms);
    const last = this.#arcs.at(-1);
    if (last && ms - last[1] <= JOIN_MS) last[1] = ms;
    else this.#arcs.push([ms, ms]);
  }

  /** Mark the press of Stop. */
  press(ms) {
    this.#mark.setAttribute("transform", `rotate(${degrees(ms)})`);
  }

  #path() {
    return this.#arcs.map(([from, to]) => arc(from, Math.max(to, from + DOT_MS))).join(" ");
  }

  #enter(ms) {
    const index = Math.floor(ms / LAP_MS);
    if (index <= this.#lapIndex) return; // a chunk may be added after the turn into the next lap
    this.#past.setAttribute("d", index === this.#lapIndex + 1 ? this.#path() : "");
    this.#arcs = [];
    this.#lapIndex = index;
  }
}

/** Format a duration to about three digits: `["7.42", "s"]`, `["1:07.4", "min"]`, `["3.4", "ms"]`. */
export function reading(ms, unit = "s", digits = 2) {
  if (unit === "ms" && ms < 1000) return [ms.toFixed(ms < 100 ? 1 : 0), "ms"];
  if (ms < 60_000) return [(ms / 1000).toFixed(digits), "s"];
  const tenths = Math.floor(ms / 100);
  const seconds = ((tenths % 600) / 10).toFixed(1).padStart(4, "0");
  return [`${Math.floor(tenths / 600)}:${seconds}`, "min"];
}

const degrees = (ms) => ((ms % LAP_MS) / LAP_MS) * 360;

function arc(fromMs, toMs) {
  const long = toMs - fromMs > LAP_MS / 2 ? 1 : 0;
  return `M${point(fromMs)}A${RADIUS} ${RADIUS} 0 ${long} 1 ${point(toMs)}`;
}

function point(ms) {
  const angle = (degrees(ms) * Math.PI) / 180;
  return `${(RADIUS * Math.cos(angle)).toFixed(2)} ${(RADIUS * Math.sin(angle)).toFixed(2)}`;
}
