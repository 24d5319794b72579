// Every stop of the run over time; the moments of the chat that is chosen.
function showTime(box) {
  const MOMENTS = [["received", "abort received by a worker"], ["recorded", "abort recorded in the store"],
    ["signal", "owner of the chat notified"], ["closed", "upstream closed by the owner"],
    ["lost", "connection lost at the upstream"], ["end", "client saw the end"]];
  const NEAR_PX = 24, MISSED_PX = 18;
  const chats = data.chats.flatMap((series) => {
    let ticks = 0;
    return series.id.map((id, row) => ({ series, row, who: series.who, run: series.run, id: series.prefix + id,
      minutes: (ticks += series.at[row]) / 6000, stop: series.lost?.[row] == null ? null : series.lost[row] / 1000 }));
  }).sort((one, other) => one.minutes - other.minutes);
  const aborts = data.chats.reduce((sum, each) => sum + each.of, 0);
  const used = placesOf(data.chats);
  const blocks = [...new Set(data.chats.map((each) => each.block))].sort((one, other) => one - other);
  const state = { place: "all", block: "all", at: null, chosen: null };
  const chart = layout(box, "Every stop over time. Arrow keys: left and right in time, up and down to a slower or faster stop;"
    + " Enter opens the chat.", draw);
  let dots = [], mark = null, ring = null;

  const slowest = html("button", { type: "button" }, "Open the slowest stop");
  const select = (key) => (value) => { state[key] = value; chart.redraw(); };
  chart.controls.append(choice("Scenario", [["all", "all"], ...used], select("place")),
    choice("Block", [["all", "all"], ...blocks.map((block) => [block, block + 1])], select("block")), slowest);
  const look = (kind, run) => `${kind} hue run${run} of${data.runs.length}`;
  const shown = legend(chart.below, (run, who) => svg("path", { class: look("dots", run), d: "M13 5h0",
    style: `${hue(who)};stroke-width:9;opacity:1` }), () => chart.redraw());
  for (const what of new Set(data.bands.map((each) => each.what)))
    chart.below.lastChild.append(html("span", {}, svg("svg", { width: 26, height: 10, "aria-hidden": "true" },
      svg("rect", { class: "shade", width: 26, height: 10, fill: data.bands.find((each) => each.what === what).colour })), what));

  function draw(root, size) {
    const inPlace = chats.filter(({ series }) => (state.place === "all" || series.place === Number(state.place))
      && (state.block === "all" || series.block === Number(state.block)));
    const visible = inPlace.filter(shown);
    const missed = visible.some((each) => each.stop === null);
    const stops = inPlace.map((each) => each.stop).filter((each) => each > 0).sort((one, other) => one - other);
    const low = 0.8 * (stops[0] ?? 1), high = Math.max(1.2 * (stops.at(-1) ?? 1), 10 * low);
    const right = size.width - MARGIN.right, bottom = size.height - MARGIN.bottom;
    // The time of what is shown: few contenders of one block fill the width.
    const [from, to] = [visible[0]?.minutes ?? 0, visible.at(-1)?.minutes ?? 1], rim = Math.max(0.002, 0.02 * (to - from));
    const x = scale(Math.max(0, from - rim), to + rim, MARGIN.left, right, false);
    const y = scale(low, high, bottom, MARGIN.top + (missed ? 2 * MISSED_PX : 0), true), over = MARGIN.top + MISSED_PX / 2;
    for (const band of data.bands.filter(({ run }) => shown({ run, who: null })))
      if (band.from < x.high && band.to > x.low) {
        const [start, end] = [x.at(Math.max(band.from, x.low)), x.at(Math.min(band.to, x.high))];
        root.append(svg("rect", { class: "shade", fill: band.colour, x: start, y: MARGIN.top, width: Math.max(1.5, end - start),
          height: bottom - MARGIN.top }));
      }
    axes(root, x, y, { ...size, xLabel: "minutes since the run began", yLabel: "ms to stop  [log]" });
    if (missed) root.append(svg("text", { x: MARGIN.left - 6, y: over + 4, "text-anchor": "end" }, "missed"));
    const level = (stop) => (stop === null ? over : y.at(Math.max(stop, low)));
    dots = visible.map((chat) => ({ chat, x: x.at(chat.minutes), y: level(chat.stop) }));
    const paths = new Map();
    for (const { chat, x: left, y: top } of dots) {
      const key = `${chat.run} ${chat.who} ${chat.stop === null ? "missed" : "dots"}`;
      const way = chat.stop === null ? `M${left.toFixed(1)} ${top - 3}l5 6m0-6l-5 6` : `M${left.toFixed(1)} ${top.toFixed(1)}h0`;
      paths.set(key, (paths.get(key) ?? "") + way);
    }
    for (const [key, d] of paths) {
      const [run, who, kind] = key.split(" ");
      root.append(svg("path", { class: look(kind, run), d, style: hue(who), "data-who": who, "data-run": run }));
    }
    [mark, ring] = ["mark", "mark ring"].map((kind) => svg("circle", { class: kind, r: 6, visibility: "hidden" }));
    root.append(mark, ring);
    state.at = null;
    circle();
  }

  function circle() {
    const dot = dots.find(({ chat }) => chat === state.chosen);
    fill(ring, dot ? { cx: dot.x, cy: dot.y, visibility: "visible" } : { visibility: "hidden" }, []);
  }

  const words = ({ stop }) => (stop === null ? "missed: the upstream went on" : `stopped after ${number(stop)} ms`);
  function read(dot) {
    state.at = dot;
    fill(mark, { cx: dot.x, cy: dot.y, visibility: "visible" }, []);
    const { chat } = dot;
    chart.hint(dot.x, dot.y, name(chat), words(chat), data.places[chat.series.place], `at ${chat.minutes.toFixed(2)} min`);
  }

  // The four digits that the data has: the last moments are close together.
  const exact = (ms) => (ms < 100 ? number(ms) : ms < 1000 ? ms.toFixed(1) : ms.toLocaleString("en"));
  function open(chat) {
    const { series, row } = state.chosen = chat;
    const moments = [["abort sent", 0], ...MOMENTS.filter(([key]) => series[key]?.[row] != null)
      .map(([key, text]) => [text, series[key][row] / 1000]).sort((one, other) => one[1] - other[1])];
    const first = Math.min(0, ...moments.map(([, ms]) => ms)), whole = Math.max(...moments.map(([, ms]) => ms)) - first || 1;
    const bar = (from, to) => html("span", { class: "bar hue",
      style: `${hue(series.who)};left:${100 * (from - first) / whole}%;width:${100 * (to - from) / whole}%` });
    chart.panel.replaceChildren(
      html("p", {}, html("strong", {}, name(chat)), `, ${data.places[series.place]}, block ${series.block + 1}: ${words(chat)}.`),
      html("table", { class: "waterfall" },
        heads("moment", "ms after the abort", "since the moment before"),
        html("tbody", {}, ...moments.map(([text, ms], at) => html("tr", {}, html("th", { scope: "row" }, text),
          html("td", {}, exact(ms)), html("td", { class: "way" }, html("span", {}, bar(moments[Math.max(0, at - 1)][1], ms))))))),
      html("p", { class: "dim" }, "Request id ", html("code", {}, chat.id), " in chats.jsonl.gz."));
    circle();
  }

  chart.panel.append(html("p", { class: "dim" }, `${[chats.length, aborts].map((each) => each.toLocaleString("en")).join(" of ")}`
    + " aborts are drawn. Click a dot to see the moments of its chat; by keyboard: arrow keys and Enter in the chart."));
  const near = (event) => {
    const [x, y] = chart.place(event), far = (dot) => Math.hypot(dot.x - x, dot.y - y);
    const best = dots.reduce((one, other) => (one && far(one) <= far(other) ? one : other), null);
    return best && far(best) < NEAR_PX ? best : null;
  };
  const hide = () => { chart.tip.hidden = true; mark.setAttribute("visibility", "hidden"); };
  chart.root.addEventListener("pointermove", (event) => { const dot = near(event); if (dot) read(dot); else hide(); });
  chart.root.addEventListener("click", (event) => { const dot = near(event); if (dot) { read(dot); open(dot.chat); } });
  slowest.addEventListener("click", () => {
    const most = dots.reduce((one, other) => ((one?.chat.stop ?? -1) >= (other.chat.stop ?? -1) ? one : other), null);
    if (most) { read(most); open(most.chat); }
  });
  chart.root.addEventListener("keydown", (event) => {
    const [bySlow, step] = { ArrowRight: [false, 1], ArrowLeft: [false, -1], PageUp: [false, 50], PageDown: [false, -50],
      ArrowUp: [true, 1], ArrowDown: [true, -1] }[event.key] ?? [];
    if (event.key === "Enter" && state.at) open(state.at.chat);
    if (step === undefined || !dots.length) return;
    event.preventDefault();
    const slow = ({ chat }) => chat.stop ?? Number.MAX_VALUE;
    const order = bySlow ? [...dots].sort((one, other) => slow(one) - slow(other)) : dots;
    const at = state.at ? order.indexOf(state.at) + step : 0;
    read(order[Math.max(0, Math.min(order.length - 1, at))]);
  });
  chart.redraw();
}
