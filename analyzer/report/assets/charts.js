/* Charts: uPlot draws lines and axes. This file adds points with bars, marks, legends and tooltips. */

const HEIGHT = 290;
const NEAR = 12; // pixels within which a point counts as hovered

const pointsOf = (data) => data.lines.filter((line) => line.style === "points");

/** The number of a series' colour: 0 if all series are points, 1 if one series of points goes with lines, else n. */
function indexOf(data, line, n) {
  const points = pointsOf(data).length;
  if (points === data.lines.length) return 0;
  return line.style === "points" && points === 1 ? 1 : n;
}

/** Columns for uPlot: x, then y of each line, then the ends of its interval. */
function columnsOf(data) {
  const usable = (values) => (data.log ? values.map((v) => (v !== null && v > 0 ? v : null)) : values);
  const columns = [data.x];
  const series = [{}];
  const bands = [];
  data.lines.forEach((line, n) => {
    const points = line.style === "points";
    line.index = indexOf(data, line, n);
    line.column = columns.length;
    columns.push(usable(line.y));
    series.push({
      label: line.label,
      stroke: () => colourOf(line.index),
      width: 1.6,
      pxAlign: 0,
      dash: dashOf(line.index),
      points: { show: false },
      ...(points ? { paths: () => null } : {}),
      ...(!points && line.y.filter((v) => v !== null).length < 2 ? { points: { show: true, size: 6 } } : {}),
    });
    if (!line.low) return;
    line.ends = [columns.length, columns.length + 1];
    columns.push(usable(line.low), usable(line.high));
    const hidden = { stroke: "transparent", width: 0, pxAlign: 0, points: { show: false } };
    series.push(...[0, 1].map(() => (points ? { ...hidden, paths: () => null } : { ...hidden })));
    if (!points) {
      bands.push({ series: [line.ends[1], line.ends[0]], fill: () => `${colourOf(line.index)}2e` });
    }
  });
  return { columns, series, bands };
}

function verticalRange(data) {
  return (u, low, high) => {
    if (low === null || high === null) return [data.log ? 0.1 : 0, 1];
    if (data.log) return [low / 1.25, high * 1.25];
    if (low >= 0 && data.fromZero) return [0, high > 0 ? high * 1.08 : 1];
    const pad = 0.08 * (high - low || Math.abs(high) || 1);
    return [low - pad, high + pad];
  };
}

function horizontalRange(data) {
  const first = data.x[0];
  const last = data.x[data.x.length - 1];
  const loose = data.lines.some((line) => line.style === "points") || first === last;
  if (data.logX) return (u, low, high) => [low, high];
  const pad = loose ? 0.02 * (last - first) || 0.5 : 0;
  return (u, low, high) => (low === first && high === last ? [low - pad, high + pad] : [low, high]);
}

function verticalAxis(data, power) {
  const many = (u) => Math.max(2, Math.floor(u.bbox.height / devicePixelRatio / 34));
  const text = (value, unit) => {
    if (data.log && !power && (value < 1e-2 || value >= 1e4)) return numberText(value, 2).replace(/^1×/, "");
    const scaled = value / 10 ** power;
    const step = unit / 10 ** power; // 0.25 needs two decimals: a rounded tick would be wrong
    const decimals = [0, 1, 2, 3, 4, 5, 6].find((n) => Math.abs(step * 10 ** n - Math.round(step * 10 ** n)) < 1e-6) ?? 6;
    return unit ? scaled.toFixed(decimals) : numberText(scaled, 3);
  };
  return {
    scale: "y",
    label: withUnits(data.yTitle, data.units, power),
    labelSize: 22,
    labelGap: 2,
    size: 58,
    gap: 4,
    stroke: () => css("--soft"),
    font: "12px system-ui, sans-serif",
    labelFont: "12px system-ui, sans-serif",
    grid: { stroke: () => css("--grid"), width: 1 },
    ticks: { show: false },
    values: (u, splits, axis, space, unit) => splits.map((v) => (v === null ? "" : text(v, data.log ? 0 : unit))),
    ...(data.log
      ? { splits: (u, axis, low, high) => logarithmicTicks(low, high, many(u)), filter: (u, splits) => splits }
      : {}),
  };
}

function horizontalAxis(data) {
  const power = powerOf(Math.max(...data.x.map(Math.abs)));
  const small = power < 0 ? power : 0;
  const many = (u) => Math.max(2, Math.floor(u.bbox.width / devicePixelRatio / 64));
  return {
    ...(data.logX
      ? { splits: (u, axis, low, high) => logarithmicTicks(low, high, many(u)), filter: (u, splits) => splits }
      : {}),
    label: withUnits(data.xTitle, "", small),
    labelSize: 20,
    labelGap: 0,
    size: 30,
    gap: 4,
    space: 64,
    stroke: () => css("--soft"),
    font: "12px system-ui, sans-serif",
    labelFont: "12px system-ui, sans-serif",
    grid: { stroke: () => css("--grid"), width: 1 },
    ticks: { show: false },
    values: (u, splits) =>
      splits.map((v) =>
        data.integerX && !Number.isInteger(v) ? "" : small ? integerText(Number((v / 10 ** small).toPrecision(6))) : integerText(v),
      ),
  };
}

/** Points, their bars and the marks, drawn over the lines. */
function drawOver(u, data) {
  const { ctx, bbox } = u;
  const dpr = devicePixelRatio;
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  data.lines.forEach((line) => {
    if (line.style !== "points" || !u.series[line.column].show) return;
    const colour = colourOf(line.index);
    const ys = u.data[line.column];
    const radius = (data.x.length > 120 ? 2 : 3.2) * dpr;
    ctx.strokeStyle = colour;
    ctx.lineWidth = 1.2 * dpr;
    ys.forEach((y, n) => {
      if (y === null) return;
      const x = u.valToPos(data.x[n], "x", true);
      if (x < bbox.left - radius || x > bbox.left + bbox.width + radius) return;
      if (line.ends) {
        const [low, high] = line.ends.map((column) => u.data[column][n]);
        if (high !== null) {
          ctx.beginPath();
          ctx.moveTo(x, low === null ? bbox.top + bbox.height : u.valToPos(low, "y", true));
          ctx.lineTo(x, u.valToPos(high, "y", true));
          ctx.stroke();
        }
      }
      ctx.beginPath();
      ctx.arc(x, u.valToPos(y, "y", true), radius, 0, 2 * Math.PI);
      ctx.fillStyle = line.loose?.[n] ? css("--ground") : colour;
      ctx.fill();
      ctx.stroke();
    });
  });
  ctx.fillStyle = ctx.strokeStyle = css("--soft");
  ctx.font = `${12 * dpr}px system-ui, sans-serif`;
  ctx.lineWidth = dpr;
  ctx.setLineDash([4 * dpr, 3 * dpr]);
  data.marks.forEach(([place, label]) => {
    const x = Math.round(u.valToPos(place, "x", true)) + 0.5;
    if (x < bbox.left || x > bbox.left + bbox.width) return;
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
    const right = x + 18 * dpr > bbox.left + bbox.width;
    ctx.textAlign = right ? "right" : "left";
    ctx.textBaseline = "top";
    ctx.fillText(label, x + (right ? -4 : 4) * dpr, bbox.top + 3 * dpr);
  });
  ctx.restore();
}

/** The points at the pointer, as pairs [line, place]. */
function hovered(u, data, place) {
  const at = u.cursor.left;
  return data.lines.flatMap((line) => {
    if (!u.series[line.column].show) return [];
    const ys = u.data[line.column];
    if (line.style !== "points") return ys[place] === null ? [] : [[line, place]];
    let best = null;
    ys.forEach((y, n) => {
      const apart = Math.abs(u.valToPos(data.x[n], "x") - at);
      if (y !== null && apart <= Math.max(NEAR, n === place ? Infinity : 0) && (best === null || apart < best[1])) {
        best = [n, apart];
      }
    });
    return best === null ? [] : [[line, best[0]]];
  });
}

function fillTip(tip, u, data, place) {
  const found = hovered(u, data, place).sort((a, b) => b[0].y[b[1]] - a[0].y[a[1]]);
  tip.replaceChildren();
  if (!found.length) return false;
  const point = found.find(([line]) => line.style === "points");
  const x = data.x[point ? point[1] : place];
  make("b", tip, "", `${data.xTitle.replace(/ \(.*/, "")} ${data.integerX ? integerText(x) : numberText(x)}`);
  found.slice(0, 14).forEach(([line, n]) => {
    const row = make("div", tip);
    swatch(row, line.index);
    const name = line.tips?.[n] || line.label;
    const low = line.low?.[n];
    const high = line.high?.[n];
    const interval = low !== null && low !== undefined && high !== null ? ` [${numberText(low, 3)}, ${numberText(high, 3)}]` : "";
    row.append(`${name}: ${numberText(line.y[n])}${interval}${line.loose?.[n] ? " (unreliable)" : ""}`);
  });
  if (found.length > 14) make("div", tip, "", `and ${found.length - 14} more`);
  return true;
}

function drawLegend(figure, u, data) {
  figure.querySelector(".legend")?.remove();
  const points = pointsOf(data).length;
  const lines = data.lines.length - points;
  if (lines < 2 && (lines < 1 || points < 2)) return;
  const legend = make("div", figure, "legend");
  data.lines.forEach((line) => {
    const button = make("button", legend);
    button.type = "button";
    button.setAttribute("aria-pressed", "true");
    button.title = "Show or hide";
    swatch(button, line.index);
    button.append(line.label);
    button.addEventListener("click", () => {
      const shown = !u.series[line.column].show;
      u.setSeries(line.column, { show: shown });
      (line.ends ?? []).forEach((column) => u.setSeries(column, { show: shown }));
      button.setAttribute("aria-pressed", String(shown));
    });
  });
}

/** Draws a chart in its figure; returns functions with which the page resizes and restyles it. */
function drawChart(figure) {
  const data = JSON.parse(figure.querySelector("script").textContent);
  const box = figure.querySelector(".plot");
  const first = data.x[0];
  const last = data.x[data.x.length - 1];
  const { columns, series, bands } = columnsOf(data);
  const values = columns.slice(1).flat().filter((v) => v !== null);
  const largest = Math.max(...values.map(Math.abs));
  const smallest = Math.min(...values);
  const power = data.log && largest / smallest > 1e3 ? 0 : powerOf(largest);
  const tip = make("div", box, "tip");
  tip.hidden = true;
  let u = null;

  const build = () => {
    const before = u && { min: u.scales.x.min, max: u.scales.x.max };
    u?.destroy();
    u = new uPlot(
      {
        width: box.clientWidth,
        height: HEIGHT,
        series,
        bands,
        padding: [10, 14, 0, 0],
        legend: { show: false },
        scales: {
          x: { time: false, distr: data.logX ? 3 : 1, range: horizontalRange(data) },
          y: { distr: data.log ? 3 : 1, range: verticalRange(data) },
        },
        axes: [horizontalAxis(data), verticalAxis(data, power)],
        cursor: {
          y: false,
          drag: { x: true, y: false, dist: 5 },
          points: {
            show: (chart, n) => {
              const line = data.lines.find((one) => one.column === n);
              return line && line.style !== "points" ? undefined : false;
            },
            size: 7,
          },
        },
        hooks: {
          draw: [(chart) => drawOver(chart, data)],
          setCursor: [
            (chart) => {
              const { idx, left, top } = chart.cursor;
              if (idx === null || idx === undefined || left < 0 || !fillTip(tip, chart, data, idx)) {
                tip.hidden = true;
                return;
              }
              placeTip(tip, box, left + chart.over.offsetLeft, top + chart.over.offsetTop);
            },
          ],
        },
      },
      columns,
      box,
    );
    const touch = (event) => {
      const area = u.over.getBoundingClientRect();
      u.setCursor({ left: event.touches[0].clientX - area.left, top: event.touches[0].clientY - area.top });
    };
    u.over.addEventListener("touchstart", touch, { passive: true });
    u.over.addEventListener("touchmove", touch, { passive: true });
    drawLegend(figure, u, data);
    if (before && (before.min > first || before.max < last)) u.setScale("x", before);
  };

  const zoom = (factor) => {
    const { min, max } = u.scales.x;
    const middle = (min + max) / 2;
    const half = ((max - min) / 2) * factor;
    if (2 * half >= last - first) u.setScale("x", { min: first, max: last });
    else {
      const low = Math.max(first, Math.min(middle - half, last - 2 * half));
      u.setScale("x", { min: low, max: low + 2 * half });
    }
  };
  build();
  tool(figure, "+", "Zoom in", () => zoom(0.5));
  tool(figure, "−", "Zoom out", () => zoom(2));
  tool(figure, "⤢", "Show all", () => u.setScale("x", { min: first, max: last }));
  return { resize: () => u.setSize({ width: box.clientWidth, height: HEIGHT }), restyle: build, range: () => u.scales.x };
}
