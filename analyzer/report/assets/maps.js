/* Maps: a matrix as colours on a canvas, with rulers and a colour bar. Drag to zoom, double click for all.

Rows and columns are numbered, or rows have names and columns lie between edges along an axis. */

// cividis (Nuñez, Anderton, Renslow 2018), made for eyes with and without a deficiency; every 16th of its colours.
const CIVIDIS = [
  [0, 34, 78], [0, 46, 106], [26, 56, 111], [50, 67, 109], [67, 78, 108], [83, 90, 109],
  [97, 101, 111], [111, 112, 115], [125, 124, 120], [140, 136, 120], [155, 148, 118], [171, 160, 114],
  [188, 174, 108], [205, 187, 99], [222, 201, 88], [240, 216, 70], [254, 232, 56],
];
const MARGIN = { left: 56, right: 78, top: 8, bottom: 44 };
const LINE = 15; // pixels of a row with a name
const MOST_NAMED = 60;
const ZERO = 0;
const NOT_FINITE = 65535;

function colourAt(share) {
  const place = Math.max(0, Math.min(1, share)) * (CIVIDIS.length - 1);
  const n = Math.min(Math.floor(place), CIVIDIS.length - 2);
  return [0, 1, 2].map((part) => Math.round(CIVIDIS[n][part] + (place - n) * (CIVIDIS[n + 1][part] - CIVIDIS[n][part])));
}

function levelsOf(text) {
  const raw = atob(text);
  const levels = new Uint16Array(raw.length / 2);
  for (let n = 0; n < levels.length; n += 1) levels[n] = raw.charCodeAt(2 * n) | (raw.charCodeAt(2 * n + 1) << 8);
  return levels;
}

const shareOf = (level) => (level - 1) / 65533;

const valueOf = (data, share) =>
  data.log ? data.low * (data.high / data.low) ** share : data.low + (data.high - data.low) * share;

/** Draws the matrix as an image with one pixel for each cell. */
function imageOf(data, levels) {
  const image = document.createElement("canvas");
  image.width = data.columns;
  image.height = data.rows;
  const context = image.getContext("2d");
  const pixels = context.createImageData(data.columns, data.rows);
  const grey = css("--missing").match(/[0-9a-f]{2}/gi).map((part) => parseInt(part, 16));
  levels.forEach((level, n) => {
    const none = level === NOT_FINITE || (level === ZERO && data.log);
    const colour = none ? grey : colourAt(level === ZERO ? 0 : shareOf(level));
    pixels.data.set([...colour, 255], 4 * n);
  });
  context.putImageData(pixels, 0, 0);
  return image;
}

/** At most about `most` whole numbers for a ruler over [low, high). */
function wholeTicks(low, high, most) {
  const rough = Math.max(1, (high - low) / Math.max(most, 1));
  const unit = 10 ** Math.floor(Math.log10(rough));
  const step = Math.max(1, [1, 2, 5, 10].map((n) => n * unit).find((one) => one >= rough - 1e-9));
  const ticks = [];
  for (let tick = Math.ceil(low / step) * step; tick < high; tick += step) ticks.push(tick);
  return ticks;
}

/** A text that is cut in the middle until it is at most `width` wide. */
function fitting(ctx, text, width) {
  let kept = text.length;
  const cutTo = (n) => `${text.slice(0, Math.ceil(n / 2))}…${text.slice(text.length - Math.floor(n / 2))}`;
  if (ctx.measureText(text).width <= width) return text;
  while (kept > 2 && ctx.measureText(cutTo(kept)).width > width) kept -= 1;
  return cutTo(kept);
}

/** The column, with a fraction, at a place along the axis of a map with edges. */
function columnAt(edges, place) {
  let low = 0;
  let high = edges.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (edges[middle] <= place) low = middle;
    else high = middle;
  }
  return low + (place - edges[low]) / (edges[high] - edges[low]);
}

/** The place along the axis at a column. */
function placeAt(edges, column) {
  const n = Math.min(Math.floor(column), edges.length - 2);
  return edges[n] + (column - n) * (edges[n + 1] - edges[n]);
}

function drawMap(figure) {
  const data = JSON.parse(figure.querySelector("script").textContent);
  const levels = levelsOf(data.levels);
  const box = figure.querySelector(".plot");
  const canvas = make("canvas", box);
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", figure.querySelector("figcaption").textContent);
  const tip = make("div", box, "tip");
  tip.hidden = true;
  const all = { left: 0, top: 0, right: data.columns, bottom: data.rows };
  let view = { ...all };
  let image = imageOf(data, levels);
  let drag = null;

  const names = data.rowNames;
  const top = data.marks ? 20 : MARGIN.top;
  const height = names ? Math.max(HEIGHT, Math.min(names.length, MOST_NAMED) * LINE + top + MARGIN.bottom) : HEIGHT;
  box.style.minHeight = `${height}px`;
  const font = (ctx) => {
    ctx.font = "12px system-ui, sans-serif";
    return ctx;
  };
  const left = () => {
    if (!names) return MARGIN.left;
    const ctx = font(canvas.getContext("2d"));
    const widest = Math.max(...names.map((name) => ctx.measureText(name).width));
    return Math.ceil(Math.min(widest, 0.34 * box.clientWidth)) + 10;
  };
  const area = () => {
    const x = left();
    return { x, y: top, w: Math.max(box.clientWidth - x - MARGIN.right, 40), h: height - top - MARGIN.bottom };
  };

  const paint = () => {
    const dpr = devicePixelRatio;
    const { x, y, w, h } = area();
    canvas.width = box.clientWidth * dpr;
    canvas.height = height * dpr;
    canvas.style.width = `${box.clientWidth}px`;
    canvas.style.height = `${height}px`;
    const ctx = canvas.getContext("2d");
    ctx.scale(dpr, dpr);
    ctx.imageSmoothingEnabled = false;
    ctx.drawImage(image, view.left, view.top, view.right - view.left, view.bottom - view.top, x, y, w, h);
    ctx.fillStyle = ctx.strokeStyle = css("--soft");
    font(ctx);
    ctx.strokeRect(x - 0.5, y - 0.5, w + 1, h + 1);
    drawMarks(ctx, x, y, w, h);
    rulers(ctx, x, y, w, h);
    colourBar(ctx, x + w + 14, y, h);
    if (drag && drag.to) {
      ctx.strokeStyle = css("--accent");
      ctx.lineWidth = 2;
      ctx.strokeRect(drag.from[0], drag.from[1], drag.to[0] - drag.from[0], drag.to[1] - drag.from[1]);
    }
  };

  const acrossAt = (column, x, w) => x + ((column - view.left) / (view.right - view.left)) * w;

  /** Ticks below the map, as pairs [text, column]. */
  const ticksBelow = (w) => {
    const across = data.perCell[1];
    if (!data.edges) {
      return wholeTicks(view.left * across, view.right * across, w / 55).map((n) => [integerText(n), (n + 0.5) / across]);
    }
    const [low, high] = [view.left, view.right].map((column) => placeAt(data.edges, column));
    const ticks = data.logEdges ? logarithmicTicks(low, high, w / 64) : wholeTicks(low, high, w / 64);
    const text = (tick) => (tick >= 1 ? integerText(tick) : numberText(tick, 2).replace(/^1×/, ""));
    return ticks.map((tick) => [text(tick), columnAt(data.edges, tick)]);
  };

  /** Names of rows at the left of the map; where rows are lower than a name, of some of them. */
  const namesBeside = (ctx, x, y, h) => {
    const one = h / (view.bottom - view.top);
    const every = Math.ceil((LINE - 2) / one);
    for (let row = Math.ceil(view.top / every) * every; row < view.bottom; row += every) {
      ctx.fillText(fitting(ctx, names[row], x - 10), x - 6, y + (row + 0.5 - view.top) * one);
    }
  };

  /** Marks as dashed lines that show on dark and on bright cells; their labels stand above the map. */
  const drawMarks = (ctx, x, y, w, h) => {
    let free = -Infinity;
    (data.marks ?? []).forEach(([place, label]) => {
      const at = Math.round(acrossAt(columnAt(data.edges, place), x, w)) + 0.5;
      if (at < x - 1 || at > x + w + 1) return;
      ctx.save();
      [["#000", 0], ["#fff", 4]].forEach(([colour, offset]) => {
        ctx.strokeStyle = colour;
        ctx.setLineDash([4, 4]);
        ctx.lineDashOffset = offset;
        ctx.beginPath();
        ctx.moveTo(at, y);
        ctx.lineTo(at, y + h);
        ctx.stroke();
      });
      ctx.restore();
      const width = ctx.measureText(label).width;
      const begin = Math.min(at, x + w - width);
      if (begin < free) return;
      ctx.textAlign = "left";
      ctx.textBaseline = "top";
      ctx.fillText(label, begin, y - 16);
      free = begin + width + 6;
    });
  };

  const rulers = (ctx, x, y, w, h) => {
    const [down] = data.perCell;
    ctx.textAlign = "center";
    ctx.textBaseline = "top";
    let free = -Infinity;
    ticksBelow(w).forEach(([text, column]) => {
      const place = acrossAt(column, x, w);
      const half = ctx.measureText(text).width / 2;
      if (place > x + w || place - half < free) return;
      ctx.fillText(text, place, y + h + 5);
      free = place + half + 8;
    });
    const room = box.clientWidth - ctx.measureText(valueText()).width - 12;
    const begin = Math.min(x + w / 2, room - ctx.measureText(data.columnTitle).width / 2);
    ctx.fillText(data.columnTitle, begin, y + h + 24);
    ctx.textAlign = "right";
    ctx.textBaseline = "middle";
    if (names) {
      namesBeside(ctx, x, y, h);
      return;
    }
    wholeTicks(view.top * down, view.bottom * down, h / 30).forEach((tick) => {
      const place = y + ((tick / down + 0.5 / down - view.top) / (view.bottom - view.top)) * h;
      if (place <= y + h) ctx.fillText(integerText(tick), x - 6, place);
    });
    ctx.save();
    ctx.translate(12, y + h / 2);
    ctx.rotate(-Math.PI / 2);
    ctx.textAlign = "center";
    ctx.fillText(data.rowTitle, 0, 0);
    ctx.restore();
  };

  const valuePower = () =>
    data.log && data.high / data.low > 1e3 ? 0 : powerOf(Math.max(data.high, -data.low));
  const valueText = () => withUnits(data.valueTitle, data.units, valuePower());

  const colourBar = (ctx, x, y, h) => {
    for (let n = 0; n < h; n += 1) {
      ctx.fillStyle = `rgb(${colourAt(1 - n / (h - 1)).join(" ")})`;
      ctx.fillRect(x, y + n, 10, 1.5);
    }
    const power = valuePower();
    const even = () => (data.low < 0 ? evenTicks(data.low, data.high) : [0, ...evenTicks(0, data.high)]);
    const ticks = data.log ? logarithmicTicks(data.low, data.high, h / 34) : even();
    ctx.fillStyle = css("--soft");
    ctx.textAlign = "left";
    ctx.textBaseline = "middle";
    ticks.forEach((tick) => {
      const share = data.log
        ? Math.log(tick / data.low) / Math.log(data.high / data.low)
        : (tick - data.low) / (data.high - data.low);
      const text = power || !data.log ? numberText(tick / 10 ** power, 3) : numberText(tick, 2).replace(/^1×/, "");
      ctx.fillText(text, x + 14, y + h * (1 - share));
    });
    ctx.textAlign = "right";
    ctx.textBaseline = "top";
    ctx.fillText(valueText(), box.clientWidth - 2, y + h + 24);
  };

  const cellAt = (event) => {
    const edge = canvas.getBoundingClientRect();
    const { x, y, w, h } = area();
    const place = [event.clientX - edge.left, event.clientY - edge.top];
    const inside = place[0] >= x && place[0] < x + w && place[1] >= y && place[1] < y + h;
    const column = Math.floor(view.left + ((place[0] - x) / w) * (view.right - view.left));
    const row = Math.floor(view.top + ((place[1] - y) / h) * (view.bottom - view.top));
    return { place, inside, row, column };
  };

  const span = (n, width) => (width === 1 ? integerText(n) : `${integerText(n * width)} to ${integerText((n + 1) * width - 1)}`);

  const hover = (event) => {
    const { place, inside, row, column } = cellAt(event);
    if (drag && drag.from) {
      drag.to = place;
      paint();
    }
    const level = levels[row * data.columns + column];
    if (!inside || level === undefined) {
      tip.hidden = true;
      return;
    }
    tip.replaceChildren();
    const [down, across] = data.perCell;
    const of = names ? names[row] : `${data.rowTitle} ${span(row, down)}`;
    make("b", tip, "", `${of}, ${data.columnNames?.[column] ?? `${data.columnTitle} ${span(column, across)}`}`);
    const text =
      level === NOT_FINITE ? "not finite" : level === ZERO ? "never moved" : numberText(valueOf(data, shareOf(level)));
    make("div", tip, "", `${data.valueTitle}: ${text}`);
    placeTip(tip, box, ...place);
  };

  const look = (left, top, right, bottom) => {
    view = {
      left: Math.max(0, Math.floor(left)),
      top: Math.max(0, Math.floor(top)),
      right: Math.min(data.columns, Math.max(Math.ceil(right), Math.floor(left) + 1)),
      bottom: Math.min(data.rows, Math.max(Math.ceil(bottom), Math.floor(top) + 1)),
    };
    paint();
  };

  const zoom = (factor) => {
    const parts = [
      [view.left, view.right, data.columns],
      [view.top, view.bottom, data.rows],
    ].map(([low, high, most]) => {
      const width = Math.min(most, Math.max(1, Math.round((high - low) * factor)));
      const start = Math.max(0, Math.min((low + high - width) / 2, most - width));
      return [start, start + width];
    });
    look(parts[0][0], parts[1][0], parts[0][1], parts[1][1]);
  };

  canvas.addEventListener("pointermove", hover);
  canvas.addEventListener("pointerleave", () => {
    tip.hidden = true;
  });
  canvas.addEventListener("pointerdown", (event) => {
    const found = cellAt(event);
    if (event.pointerType === "mouse" && found.inside) {
      drag = { from: found.place, cell: found };
      canvas.setPointerCapture(event.pointerId);
    } else hover(event);
  });
  canvas.addEventListener("pointerup", (event) => {
    const start = drag;
    drag = null;
    if (!start || !start.to || Math.hypot(start.to[0] - start.from[0], start.to[1] - start.from[1]) < 8) return;
    const end = cellAt(event);
    const columns = [start.cell.column, end.column].sort((a, b) => a - b);
    const rows = [start.cell.row, end.row].sort((a, b) => a - b);
    look(columns[0], rows[0], columns[1] + 1, rows[1] + 1);
  });
  canvas.addEventListener("dblclick", () => look(0, 0, data.columns, data.rows));
  tool(figure, "+", "Zoom in", () => zoom(0.5));
  tool(figure, "−", "Zoom out", () => zoom(2));
  tool(figure, "⤢", "Show all", () => look(0, 0, data.columns, data.rows));
  paint();
  return {
    resize: paint,
    restyle: () => {
      image = imageOf(data, levels);
      paint();
    },
    range: () => view,
  };
}
