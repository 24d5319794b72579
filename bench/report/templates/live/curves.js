// Share of the aborts that had stopped the upstream by a time, of one scenario.
function showCurves(box) {
  // Most curves first, as the picture: contenders of one scenario may differ in their workers.
  const curvesIn = ([place]) => data.curves.filter((each) => each.place === place).length;
  const places = placesOf(data.curves).sort((one, other) => curvesIn(other) - curvesIn(one));
  const state = { place: places[0][0], log: true, percentile: "p50", at: null };
  const chart = layout(box, "Curves of stops. Arrow keys: left and right along a curve, up and down to another one.", draw);
  const percent = (share) => `${(share / 100).toFixed(1)} %`;
  const own = () => data.curves.filter((each) => each.place === state.place);
  let points = [], mark = null;

  const scenario = choice("Scenario", places, (value) => { state.place = Number(value); chart.redraw(); });
  const table = choice("Percentile", ["p50", "p95", "p99"].map((each) => [each, each]), (value) => {
    state.percentile = value;
    list();
  });
  const log = html("input", { type: "checkbox", checked: true });
  log.addEventListener("change", () => { state.log = log.checked; chart.redraw(); });
  chart.controls.append(scenario, table, html("label", {}, log, " logarithmic axis"));
  const shown = legend(chart.below, (run, who) => svg("path", { class: "curve hue", d: "M0 5H26",
    style: hue(who), "stroke-dasharray": dash(run, who ?? 0) }), () => chart.redraw());

  function draw(root, size) {
    const ends = own().flatMap((each) => each.x).filter((each) => each > 0).map((each) => each / 1000);
    const most = 1.15 * Math.max(...ends, 0.01), least = state.log ? 0.85 * Math.min(...ends, most / 10) : 0;
    const right = size.width - MARGIN.right, bottom = size.height - MARGIN.bottom;
    const x = scale(least, most, MARGIN.left, right, state.log), y = scale(0, 10000, bottom, MARGIN.top + 6, false);
    axes(root, x, y, { ...size, xLabel: `ms from abort to lost upstream connection${state.log ? "  [log]" : ""}`,
      yLabel: "share of aborts stopped", yText: (each) => `${each / 100} %` });
    points = [];
    const left = x.at(least);
    for (const curve of own().filter(shown)) {
      const corners = curve.x.map((each, at) => ({ curve, at, x: x.at(Math.max(each / 1000, least)), y: y.at(curve.share[at]) }));
      const steps = (column) => corners.map((each) => `H${each.x.toFixed(1)}V${y.at(column[each.at]).toFixed(1)}`).join("");
      const back = corners.map((each, at) =>
        `V${y.at(curve.low[each.at]).toFixed(1)}H${(at ? each.x : left).toFixed(1)}`).reverse().join("");
      const look = { style: hue(curve.who), "data-who": curve.who, "data-run": curve.run };
      if (corners.length)
        root.append(svg("path", { ...look, class: "band hue", d: `M${left} ${bottom}${steps(curve.high)}H${right}${back}Z` }));
      root.append(svg("path", { ...look, class: "curve hue", "stroke-dasharray": dash(curve.run, curve.who),
        d: `M${left} ${bottom}${steps(curve.share)}H${right}` }));
      points.push(...corners);
    }
    const floor = data.floors.length === 1 ? data.floors[0] : null;
    if (floor > least && floor < most)
      root.append(svg("path", { class: "floor", d: `M${x.at(floor)} ${bottom}V${MARGIN.top}` }),
        svg("text", { class: "floor", "text-anchor": "end", transform: `translate(${x.at(floor) - 5} ${MARGIN.top + 8}) rotate(-90)` },
          `floor ${number(floor)} ms`));
    mark = svg("circle", { class: "mark", r: 5, visibility: "hidden" });
    root.append(mark);
    state.at = null;
    list();
  }

  function read(point) {
    const { curve, at } = state.at = point;
    fill(mark, { cx: point.x, cy: point.y, visibility: "visible" }, []);
    chart.hint(point.x, point.y, name(curve), `${percent(curve.share[at])} stopped within ${number(curve.x[at] / 1000)} ms`,
      `95 % interval: ${percent(curve.low[at])} to ${percent(curve.high[at])}`);
  }

  function list() {
    const text = (curve) => (curve[state.percentile] ? number(curve[state.percentile][0]) : "–");
    const interval = (curve) => {
      const [, low, high] = curve[state.percentile] ?? [];
      return high === undefined ? "too few stops" : `${number(low)} to ${number(high)}`;
    };
    const value = (curve) => curve[state.percentile]?.[0] ?? Number.MAX_VALUE;
    const rows = own().filter(shown).sort((one, other) => value(one) - value(other));
    chart.panel.replaceChildren(html("table", {},
      html("caption", {}, `${state.percentile} of the aborts that stopped, ${data.places[state.place]}`),
      heads("strategy", `${state.percentile}, ms`, "95 % interval", "missed"),
      html("tbody", {}, ...rows.map((curve) => html("tr", {}, html("th", { scope: "row" }, name(curve)),
        html("td", {}, text(curve)), html("td", {}, interval(curve)),
        html("td", {}, `${curve.missed.toLocaleString("en")} of ${curve.aborts.toLocaleString("en")}`))))),
      html("p", { class: "dim" }, "Move over a curve to read its values; by keyboard: arrow keys in the chart."));
  }

  function readNear(event) {
    const [x, y] = chart.place(event);
    let near = null, least = Infinity;
    for (const point of points) {
      // A corner holds up to the next one: those to the left count as nearer.
      const far = Math.hypot(point.x <= x ? (x - point.x) / 4 : point.x - x, point.y - y);
      if (far < least) [near, least] = [point, far];
    }
    if (near) read(near);
  }
  chart.root.addEventListener("pointermove", readNear);
  chart.root.addEventListener("pointerdown", readNear);
  chart.root.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1, PageUp: 20, PageDown: -20, Home: -Infinity, End: Infinity }[event.key];
    const turn = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (!points.length || (step === undefined && turn === undefined)) return;
    event.preventDefault();
    const { curve, at } = state.at ?? { curve: points[0].curve, at: Math.floor(points[0].curve.x.length / 2) };
    const curves = own().filter((each) => shown(each) && each.x.length);
    const next = curves[(curves.indexOf(curve) + (turn ?? 0) + curves.length) % curves.length];
    const wanted = turn ? next.share.findIndex((each) => each >= curve.share[at]) : at + (state.at ? step : 0);
    const last = next.x.length - 1;
    const there = turn && wanted < 0 ? last : Math.max(0, Math.min(wanted, last));
    read(points.find((each) => each.curve === next && each.at === there));
  });
  chart.redraw();
}
