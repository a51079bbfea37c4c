"use strict";
const THEMES = {
  light: { ink: "#1f2a36", soft: "#8593a1", good: "#1b7f79", bad: "#b8433f", warn: "#c98a1d", accent: "#2e6fbf", violet: "#7a52b3",
           badFill: "rgba(184,67,63,.22)",
           paper: "#ffffff", grid: "#e6ebf0" },
  dark: { ink: "#e6ebf0", soft: "#8b98a6", good: "#4fc1b8", bad: "#ee7f7a", warn: "#e0ad55", accent: "#7fb0f5", violet: "#c3a6f2",
          badFill: "rgba(238,127,122,.25)",
          paper: "#14191f", grid: "#28323c" } };
const isDark = window.matchMedia("(prefers-color-scheme: dark)");
const canvases = Array.from(document.querySelectorAll(".canvas"));

function themed(value, theme) {
  if (typeof value === "string") return value.startsWith("@") ? theme[value.slice(1)] : value;
  if (Array.isArray(value)) return value.map(item => themed(item, theme));
  if (value === null || typeof value !== "object" || "bdata" in value) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, themed(item, theme)]));
}

function merged(base, own) {
  const whole = { ...base };
  for (const [key, item] of Object.entries(own)) {
    const isBoth = item && typeof item === "object" && !Array.isArray(item) && base[key] && typeof base[key] === "object";
    whole[key] = isBoth ? merged(base[key], item) : item;
  }
  return whole;
}

function styled(own, theme, isNarrow) {
  const axis = { gridcolor: theme.grid, zerolinecolor: theme.grid, linecolor: theme.grid, automargin: true,
                 title: { standoff: 8, font: { size: 12 } } };
  const axes = Object.keys(own).filter(key => /^[xy]axis/.test(key));
  const base = { font: { family: "system-ui, sans-serif", size: isNarrow ? 11 : 12, color: theme.ink },
    paper_bgcolor: theme.paper, plot_bgcolor: theme.paper, margin: { l: 50, r: 12, t: 8, b: 40 }, colorway: [theme.ink],
    legend: { orientation: "h", x: 0, y: 1, yanchor: "bottom", bgcolor: "rgba(0,0,0,0)" },
    hoverlabel: { bgcolor: theme.paper, bordercolor: theme.soft, font: { color: theme.ink } },
    dragmode: isNarrow ? false : "zoom", bargap: 0.25 };
  for (const key of new Set(["xaxis", "yaxis", ...axes])) base[key] = axis;
  return merged(base, own);
}

function draw(canvas, theme, width) {
  const told = JSON.parse(document.getElementById(canvas.id + "-data").textContent);
  const narrow = canvas.clientWidth < 500;
  const layout = styled(themed(told.layout, theme), theme, narrow);
  if (width) layout.width = width;
  Plotly.newPlot(canvas, themed(told.data, theme), layout, { responsive: !width, displaylogo: false, displayModeBar: narrow ? false : "hover",
    modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"] });
  canvas.dataset.drawn = theme === THEMES.dark ? "dark" : "light";
  if (layout.meta && layout.meta.fit) canvas.on("plotly_relayout", () => fit(canvas));
}

// a candle chart that is zoomed in time follows with its prices
function fit(canvas) {
  const [bars, xaxis] = [canvas._fullData.find(trace => trace.type === "candlestick"), canvas._fullLayout.xaxis];
  const [from, to] = xaxis.range.map(value => xaxis.d2c(value));
  let [low, high] = [Infinity, -Infinity];
  for (let bar = 0; bar < bars.x.length; bar++) {
    const at = xaxis.d2c(bars.x[bar]);
    if (at >= from && at <= to) { low = Math.min(low, bars.low[bar]); high = Math.max(high, bars.high[bar]); }
  }
  const room = 0.04 * (high - low), [bottom, top] = canvas._fullLayout.yaxis.range;
  const isNear = Math.abs(bottom - (low - room)) + Math.abs(top - (high + room)) < 1e-3 * (high - low);
  if (high > low && !isNear) Plotly.relayout(canvas, { "yaxis.range": [low - room, high + room] });
}

function theme() { return isDark.matches ? THEMES.dark : THEMES.light; }

// one figure at a time, so that a phone can scroll meanwhile; all are there a moment later, for search and print
function drawNext(queue) {
  if (!queue.length) { document.body.dataset.ready = "yes"; return; }
  draw(queue[0], theme());
  setTimeout(() => drawNext(queue.slice(1)), 0);
}

document.getElementById("without-script").hidden = true;
drawNext(canvases);
isDark.addEventListener("change", () => canvases.forEach(canvas => draw(canvas, theme())));
window.addEventListener("beforeprint", () => canvases.forEach(canvas => draw(canvas, THEMES.light, Math.min(canvas.clientWidth, 680))));
window.addEventListener("afterprint", () => canvases.forEach(canvas => draw(canvas, theme())));
