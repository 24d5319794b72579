// Draws the watch: a lap is ten seconds, the ring is there where text came, and a silence leaves a gap.

const LAP_MS = 10_000;
const JOIN_MS = 250; // chunks closer than this are one flow
const DOT_MS = 40; // the least that a single chunk paints
const RADIUS = 84;

/** The ring, the hand and the mark of the press. All times are ms since the question was sent. */
export class Dial {
  #lap = document.getElementById("lap");
  #past = document.getElementById("past");
  #hand = document.getElementById("hand");
  #mark = document.getElementById("mark");
  #flows = []; // [start, end] of each flow in the lap that is running
  #lapIndex = 0;

  /** Back to zero. */
  reset() {
    this.#flows = [];
    this.#lapIndex = 0;
    this.#lap.setAttribute("d", "");
    this.#past.setAttribute("d", "");
    this.#mark.removeAttribute("transform");
    this.turn(0);
  }

  /** Turn the hand, and paint what came since it was last turned. */
  turn(ms) {
    this.#hand.setAttribute("transform", `rotate(${degrees(ms)})`);
    this.#enter(ms);
    this.#lap.setAttribute("d", this.#path());
  }

  /** A chunk came. */
  chunk(ms) {
    this.#enter(ms);
    const last = this.#flows.at(-1);
    if (last && ms - last[1] <= JOIN_MS) last[1] = ms;
    else this.#flows.push([ms, ms]);
  }

  /** Stop was pressed. */
  press(ms) {
    this.#mark.setAttribute("transform", `rotate(${degrees(ms)})`);
  }

  #path() {
    return this.#flows.map(([from, to]) => arc(from, Math.max(to, from + DOT_MS))).join(" ");
  }

  #enter(ms) {
    const index = Math.floor(ms / LAP_MS);
    if (index <= this.#lapIndex) return; // a chunk may be told a beat late
    this.#past.setAttribute("d", index === this.#lapIndex + 1 ? this.#path() : "");
    this.#flows = [];
    this.#lapIndex = index;
  }
}

/** Three figures or so: `["7.42", "s"]`, `["1:07.4", "min"]`, `["3.4", "ms"]`. */
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
