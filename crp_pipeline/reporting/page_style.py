"""How a report page looks, and the few lines of script that draw its figures."""

STYLE = """
:root { color-scheme: light dark; --ink: #1f2a36; --paper: #ffffff; --soft: #5c6b7a; --line: #d9e0e7; --shade: #f4f6f8;
        --good: #1b7f79; --bad: #b8433f; --wait: #94600f; --link: #2457a6 }
@media (prefers-color-scheme: dark) { :root { --ink: #e6ebf0; --paper: #14191f; --soft: #9aa7b4; --line: #2c3641; --shade: #1c232b;
        --good: #4fc1b8; --bad: #ee7f7a; --wait: #e0ad55; --link: #8ab4f8 } }
* { box-sizing: border-box }
body { margin: 0; color: var(--ink); background: var(--paper); font: 16px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif }
main { max-width: 66rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; overflow-wrap: break-word }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 } h2 { font-size: 1.25rem; margin: 2.6rem 0 .6rem; padding-top: .6rem;
     border-top: 1px solid var(--line) }
p { margin: .5rem 0; max-width: 48rem } a { color: var(--link) } .note, figcaption .file { color: var(--soft); font-size: .87rem }
.PROMOTE, .holds { color: var(--good) } .REJECT, .IMPOSSIBLE, .FAILS, .NO { color: var(--bad) }
.INSUFFICIENT_EVIDENCE, .SHADOW { color: var(--wait) } .holds, .FAILS { font-weight: 600 }
p.reason { font-size: 1.15rem; font-weight: 500 }
dl.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(10.5rem, 1fr)); gap: .6rem; margin: 1.2rem 0 .6rem }
.fact { background: var(--shade); border-radius: 6px; padding: .6rem .8rem } .fact dt { color: var(--soft); font-size: .82rem }
.fact dd { margin: 0; font-size: 1.35rem; font-weight: 600; font-variant-numeric: tabular-nums }
.fact p { margin: 0; font-size: .78rem; color: var(--soft); line-height: 1.35 }
nav ol { display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; padding: 0; margin: 1rem 0; list-style: none; font-size: .9rem }
figure { margin: 1.2rem 0 } figcaption { font-weight: 600; font-size: .95rem; margin-bottom: .3rem }
figcaption .file { font-weight: 400; margin-left: .4rem; white-space: nowrap } .canvas { width: 100%; min-width: 0 }
.scroll { overflow-x: auto; max-width: 100% } table { border-collapse: collapse; font-size: .84rem }
th, td { text-align: left; vertical-align: top; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid var(--line); white-space: nowrap }
th { color: var(--soft); font-weight: 600 } td.number, th.number { text-align: right; font-variant-numeric: tabular-nums }
td.long { white-space: normal; min-width: 16rem } th:first-child, td:first-child { position: sticky; left: 0; background: var(--paper) }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(18rem, 1fr)); gap: 0 1.2rem }
@media (max-width: 40rem) { body { font-size: 15px } main { padding-top: 1rem } h1 { font-size: 1.35rem }
        dl.facts { grid-template-columns: 1fr 1fr } .fact dd { font-size: 1.1rem } td.long { min-width: 13rem } }
@media print { :root { --ink: #1f2a36; --paper: #ffffff; --soft: #4b5763; --line: #c9d1d9; --shade: #f4f6f8; --good: #1b7f79;
        --bad: #b8433f; --wait: #94600f; --link: #1f2a36 } main { max-width: none; padding: 0 } nav { display: none }
        .scroll { overflow: visible } table { font-size: .62rem } th, td { white-space: normal; padding-right: .4rem; min-width: 0 }
        td.long { min-width: 0 } figure.plot, .fact, tr { break-inside: avoid } h2, figcaption { break-after: avoid }
        .modebar-container { display: none } @page { margin: 14mm } }
"""

SCRIPT = """
"use strict";
const THEMES = {
  light: { ink: "#1f2a36", soft: "#8593a1", good: "#1b7f79", bad: "#b8433f", warn: "#c98a1d", accent: "#2e6fbf",
           goodFill: "rgba(27,127,121,.22)", badFill: "rgba(184,67,63,.22)", warnFill: "rgba(201,138,29,.18)",
           paper: "#ffffff", grid: "#e6ebf0" },
  dark: { ink: "#e6ebf0", soft: "#8b98a6", good: "#4fc1b8", bad: "#ee7f7a", warn: "#e0ad55", accent: "#7fb0f5",
          goodFill: "rgba(79,193,184,.25)", badFill: "rgba(238,127,122,.25)", warnFill: "rgba(224,173,85,.2)",
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

drawNext(canvases);
isDark.addEventListener("change", () => canvases.forEach(canvas => draw(canvas, theme())));
window.addEventListener("beforeprint", () => canvases.forEach(canvas => draw(canvas, THEMES.light, Math.min(canvas.clientWidth, 680))));
window.addEventListener("afterprint", () => canvases.forEach(canvas => draw(canvas, theme())));
"""
