// The dashboard: asks for the state every other second and shows it. All text reaches the page as text nodes; nothing is ever parsed as HTML.
"use strict";

const NEVER = "–";
const main = document.getElementById("main");
const banner = document.getElementById("banner");
const SVG = new Set(["svg", "path", "line", "title"]);
let filter = "";

// ---------------------------------------------------------------------------------------------------------------- building the page

// An element with attributes and children; texts become text nodes, null and false are left out.
function h(name, attributes, ...children) {
  const element = SVG.has(name) ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (value !== null && value !== undefined && value !== false) element.setAttribute(key, value === true ? "" : value);
  }
  for (const child of children.flat(Infinity)) {
    if (child !== null && child !== undefined && child !== false) element.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return element;
}

// Makes one tree like another, touching only what differs, so that a selection, the focus and the scroll positions stay.
function morph(from, to) {
  if (from.nodeType !== to.nodeType || from.nodeName !== to.nodeName || (from.dataset && from.dataset.key !== to.dataset.key)) {
    from.replaceWith(to);
    return;
  }
  if (from.nodeType === Node.TEXT_NODE) {
    if (from.data !== to.data) from.data = to.data;
    return;
  }
  for (const { name } of [...from.attributes]) if (!to.hasAttribute(name) && !(name === "open" && from.nodeName === "DETAILS")) from.removeAttribute(name);
  for (const { name, value } of to.attributes) if (from.getAttribute(name) !== value) from.setAttribute(name, value);
  const [old, fresh] = [[...from.childNodes], [...to.childNodes]];
  fresh.forEach((child, i) => (old[i] ? morph(old[i], child) : from.append(child)));
  old.slice(fresh.length).forEach((child) => child.remove());
}

function show(...children) {
  const next = main.cloneNode(false);
  next.append(...children.flat(Infinity).filter(Boolean));
  morph(main, next);
}

// ---------------------------------------------------------------------------------------------------------------- numbers and times

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const known = (n) => n !== null && n !== undefined;

function count(n) {
  return known(n) ? whole.format(n) : NEVER;
}
function compact(n) {
  return !known(n) ? NEVER : Math.abs(n) < 10000 ? whole.format(n) : short.format(n);
}
function bytes(n) {
  if (!known(n)) return NEVER;
  const units = ["B", "kB", "MB", "GB", "TB"];
  let i = 0;
  for (; n >= 1000 && i < units.length - 1; i++) n /= 1000;
  return `${i && n < 100 ? n.toFixed(1) : Math.round(n)} ${units[i]}`;
}
function seconds(s) {
  if (!known(s)) return NEVER;
  if (s < 0.0005) return "0 s";
  if (s < 1) return `${Math.round(s * 1000)} ms`;
  if (s < 10) return `${s.toFixed(1)} s`;
  if (s < 120) return `${Math.round(s)} s`;
  if (s < 7200) return `${Math.round(s / 60)} min`;
  return s < 172800 ? `${Math.round(s / 3600)} h` : `${Math.round(s / 86400)} d`;
}
function percent(p) {
  return known(p) ? `${p < 99.95 && p % 1 ? p.toFixed(1) : Math.round(p)} %` : NEVER;
}
// A time as text, with the exact one to be seen when pointed at.
function time(text, now) {
  if (!text) return NEVER;
  const at = new Date(text);
  const ago = (now - at) / 1000;
  const label = Math.abs(ago) < 1 ? "now" : ago > 0 ? `${seconds(ago)} ago` : `in ${seconds(-ago)}`;
  return h("time", { datetime: text, title: at.toLocaleString() }, label);
}

// ---------------------------------------------------------------------------------------------------------------- parts

const MOODS = {
  RUNNING: "good", JOINED: "good", COMPLETED: "good",
  PROVISIONING: "busy", SETUP: "busy", SNAPSHOT: "busy", CATCHUP: "busy", RESYNC: "busy", MODIFYING: "busy", PAUSING: "busy",
  RETRYING: "wait", WAITING: "off", CREATED: "off", PAUSED: "off",
  FAILED: "bad", INCONSISTENT: "bad",
};
const mood = (phase) => MOODS[phase] || "off";
const badge = (phase, kind) => h("span", { class: `phase ${kind || mood(phase)}` }, phase);

// `MESSAGE DETAIL: ... HINT: ...`, as exception_message has it, in its parts.
function parts(text) {
  const hint = text.lastIndexOf(" HINT: ");
  const [rest, mend] = hint < 0 ? [text, null] : [text.slice(0, hint), text.slice(hint + 7)];
  const detail = rest.indexOf(" DETAIL: ");
  return detail < 0 ? { message: rest, hint: mend } : { message: rest.slice(0, detail), detail: rest.slice(detail + 9), hint: mend };
}
function trouble({ message, detail, hint }, mild) {
  return h("span", { class: `trouble${mild ? " mild" : ""}` },
    h("b", null, message), detail && h("span", { class: "detail" }, detail), hint && h("span", { class: "hint" }, hint));
}

// The line of a chart, newest at the right; with fewer points than slots the left stays empty.
function curve(values, slots, width, height) {
  const top = Math.max(...values.map((v) => v || 0), 0) || 1;
  const x = (i) => (((slots - values.length + i) / (slots - 1)) * width).toFixed(2);
  const y = (v) => (height - 1 - ((v || 0) / top) * (height - 4)).toFixed(2);
  const line = values.map((v, i) => `${x(i)},${y(v)}`).join("L");
  return values.length < 2 ? [] : [
    h("path", { class: "area", d: `M${x(0)},${height}L${line}L${width},${height}Z` }),
    h("path", { class: "curve", d: `M${line}` }),
  ];
}
function spark(values) {
  const last = values.slice(-90);
  return h("svg", { class: "spark", viewBox: "0 0 200 40", preserveAspectRatio: "none", "aria-hidden": "true" }, curve(last, Math.max(last.length, 20), 200, 40));
}
function chart(title, values, format, step, now) {
  const slots = Math.max(values.length, 30);
  const top = Math.max(...values.map((v) => v || 0), 0);
  const lines = [1, 20, 39].map((y) => h("line", { class: "grid", x1: 0, x2: 600, y1: y * 3, y2: y * 3 }));
  return h("section", { class: "card box" },
    h("div", { class: "head" }, h("h2", null, title), h("span", { class: "soft small" }, `highest ${format(top)}`), h("span", { class: "now" }, now)),
    h("div", { class: "body" },
      h("svg", { class: "chart", viewBox: "0 0 600 120", preserveAspectRatio: "none", role: "img", "aria-label": `${title}: ${now}, highest ${format(top)}` }, lines, curve(values, slots, 600, 120)),
      h("p", { class: "axis" }, h("span", null, `${seconds(((slots - 1) * step) / 1000)} ago`), h("span", null, "now"))));
}
function box(title, aside, ...body) {
  return h("section", { class: "card box" }, h("div", { class: "head" }, h("h2", null, title), aside), h("div", { class: "body" }, body));
}
function table(columns, rows) {
  const head = h("tr", null, columns.map(([name, kind]) => h("th", { scope: "col", class: kind === "num" ? "num" : null }, name)));
  const cell = (value, i) => h("td", { class: columns[i][1] || null, "data-label": i ? columns[i][0] : null }, value);
  const body = rows.map((row) => row.note ? h("tr", { class: "note" }, h("td", { colspan: columns.length, class: "what" }, row.note)) : h("tr", null, row.map(cell)));
  return h("div", { class: "scroll" }, h("table", { class: "stacks" }, h("thead", null, head), h("tbody", null, body)));
}

const plain = (clause) => (clause || "").split(" (")[0].replace(/-(extractor|connector|processor)$/, "");
const sum = (list) => list.reduce((a, b) => a + (b || 0), 0);
// Flushes come in bursts: a rate is that of the last few points.
const rate = (points) => (points.length ? sum(points.slice(-5)) / Math.min(points.length, 5) : null);
// `shop (generator)`: the name in an end's options, where it has one, and its plugin.
function end(clause) {
  const name = /\b(?:source|target)-name = '((?:[^']|'')*)'/.exec(clause || "");
  return name ? `${name[1].replaceAll("''", "'")} (${plain(clause)})` : plain(clause);
}
const routeOf = (pipe) => `${end(pipe.pipe_extractor)} → ${end(pipe.pipe_connector)}${pipe.description ? ` · ${pipe.description}` : ""}`;
const moving = (pipe) => !["off", "bad"].includes(mood(pipe.phase));
// A pipe that was thrown back and reaches for its ends again is in trouble, whatever its phase says between two attempts.
const thrownBack = (pipe) => pipe.phase === "PROVISIONING" && pipe.metrics.restarts_total > 0;
const moodOf = (pipe) => (thrownBack(pipe) ? "wait" : mood(pipe.phase));
const copying = (pipe) => pipe.phase === "SNAPSHOT" && known(pipe.metrics.snapshot_ratio);
const pipeLink = (name) => `#/pipe/${encodeURIComponent(name)}`;

function progress(pipe) {
  const m = pipe.metrics;
  const rows = known(m.snapshot_expected_rows) ? `${compact(m.snapshot_rows)} of about ${compact(m.snapshot_expected_rows)} rows` : `${compact(m.snapshot_rows)} rows`;
  const left = pipe.estimated_remaining_seconds ? `, ${seconds(pipe.estimated_remaining_seconds)} left` : "";
  return h("div", { class: "progress wide" },
    h("span", null, `snapshot ${percent(m.snapshot_ratio * 100)}`), h("progress", { max: 1, value: m.snapshot_ratio, "aria-label": "snapshot" }), h("span", null, rows + left));
}
function tablesOf(pipe) {
  const by = pipe.metrics.tables || {};
  const all = sum(Object.values(by));
  const done = (by.JOINED || 0) + (by.COMPLETED || 0);
  return [count(all), by.FAILED ? h("small", null, ` ${by.FAILED} failed`) : done < all && moving(pipe) ? h("small", null, ` ${done} joined`) : null];
}

// ---------------------------------------------------------------------------------------------------------------- pages

function pipesPage({ server, pipes }) {
  if (!pipes.length) {
    return h("div", { class: "card empty" }, h("p", null, "There is no pipe yet. Make one in psql:"),
      h("span", { class: "mono" }, "CREATE PIPE p WITH EXTRACTOR ('source-name' = '…') WITH CONNECTOR ('connector' = 'lake-connector') WITH RUNTIME (start = true);"));
  }
  const ailing = pipes.filter((p) => moodOf(p) === "bad" || thrownBack(p) || p.exception_message);
  const lags = pipes.map((p) => p.lag_seconds).filter(known);
  const rows = sum(pipes.map((p) => rate(p.history.rows)));
  const figure = (label, value, extra, kind) => h("div", { class: `card figure ${kind || ""}` }, h("dt", null, label), h("dd", null, value, extra && h("small", null, ` ${extra}`)));
  const order = ["bad", "wait", "busy", "good", "off"];
  const sorted = [...pipes].sort((a, b) => order.indexOf(moodOf(a)) - order.indexOf(moodOf(b)) || a.id.localeCompare(b.id));
  return [
    h("dl", { class: "figures" },
      figure("Pipes running", count(pipes.filter((p) => p.phase === "RUNNING").length), `of ${pipes.length}`),
      figure("Rows written", compact(rows), "/ s"),
      figure("Longest lag", lags.length ? seconds(Math.max(...lags)) : NEVER),
      figure("Need attention", count(ailing.length), null, ailing.length ? "bad" : "good")),
    h("div", { class: "pipes" }, sorted.map((p) => pipeCard(p))),
  ];
}
function pipeCard(pipe) {
  const kind = moodOf(pipe);
  const cell = (label, ...value) => h("div", { class: "cell" }, h("span", { class: "label" }, label), h("span", { class: "value" }, value));
  return h("a", { class: `card pipe ${kind}`, href: pipeLink(pipe.id), "data-key": pipe.id },
    h("div", { class: "name" }, h("strong", null, pipe.id), badge(pipe.phase, kind), h("span", { class: "route" }, routeOf(pipe))),
    cell("tables", tablesOf(pipe)),
    h("div", { class: "flow" }, cell("rows / s", moving(pipe) ? compact(rate(pipe.history.rows)) : NEVER), spark(pipe.history.rows)),
    cell("lag", seconds(pipe.lag_seconds)),
    copying(pipe) && progress(pipe),
    pipe.exception_message && h("div", { class: "wide" }, trouble(parts(pipe.exception_message), kind !== "bad")));
}

function pipePage({ server, pipe, tables, operators, exceptions, checkpoints, events, runs }) {
  const m = pipe.metrics;
  const step = server.step_ms;
  const fact = (name, value) => value && [h("dt", null, name), h("dd", null, value)];
  const mono = (text) => text && h("span", { class: "mono" }, text);
  const written = m.rows_total || {};
  return h("div", { class: "stack" },
    h("div", null,
      h("a", { class: "back", href: "#/" }, "← All pipes"),
      h("div", { class: "title" }, h("h1", null, pipe.id), badge(pipe.phase, moodOf(pipe))),
      h("p", { class: "lead" }, routeOf(pipe)),
      pipe.exception_message && trouble(parts(pipe.exception_message), mood(pipe.phase) !== "bad"),
      copying(pipe) && progress(pipe)),
    h("div", { class: "pair" },
      chart("Rows written a second", pipe.history.rows, compact, step, moving(pipe) ? `${compact(rate(pipe.history.rows))} / s` : NEVER),
      chart("Lag", pipe.history.lag, seconds, step, seconds(pipe.lag_seconds))),
    tablesBox(tables, server.now),
    h("div", { class: "pair" },
      box("The pipe", null, h("dl", { class: "facts" },
        fact("asked for", pipe.state), fact("delivery", pipe.delivery), fact("position", mono(pipe.position)), fact("begun at", mono(pipe.start_position)),
        fact("log to read", known(m.lag_bytes) && bytes(m.lag_bytes)), fact("log held at source", known(m.source_held_bytes) && bytes(m.source_held_bytes)),
        fact("waiting to be flushed", `${count(m.pending_rows)} changes`),
        fact("since the server started", `${compact(sum(Object.values(written)))} rows, ${bytes(m.bytes_total)}, ${count(m.restarts_total)} restarts`),
        fact("extractor", mono(pipe.pipe_extractor)), fact("processors", mono(pipe.pipe_processor)), fact("connector", mono(pipe.pipe_connector)),
        fact("made", time(pipe.creation_time, server.now)), fact("next runs", mono(pipe.next_runs)), fact("uuid", mono(pipe.uuid)))),
      box("Where the time goes", null, operators.length && moving(pipe)
        ? table([["step"], ["rows", "num"], ["bytes", "num"], ["busy", "num"], ["waits for the next", "num"]], operators.map((o) =>
            [o.operator + (o.parallelism > 1 ? ` × ${o.parallelism}` : ""), compact(o.rows_out), bytes(o.bytes), percent(o.busy_percent), percent(o.backpressure_percent)]))
        : h("p", { class: "soft" }, "Nothing runs now."))),
    exceptions.length > 0 && box("Exceptions", h("span", { class: "soft small" }, "the newest first"), h("ol", { class: "log" }, exceptions.map((e) =>
      h("li", null, h("span", null, time(e.at, server.now), h("br"), h("span", { class: "mono soft" }, e.sqlstate)),
        h("div", null, trouble({ message: (e.table_name ? `${e.table_name}: ` : "") + e.message, detail: e.detail, hint: e.hint }, true),
          e.retry_at && h("span", { class: "soft small" }, `attempt ${e.attempt || 1}, tried again `, time(e.retry_at, server.now))))))),
    runs.length > 0 && box("Runs", null, table([["run"], ["kind"], ["state"], ["started"], ["rows", "num"], ["bytes", "num"], ["tables", "num"], ["verification"]], runs.map((r) =>
      [r.run_id, r.kind, r.state, time(r.started_at, server.now), count(r.rows), bytes(r.bytes), `${r.tables_ok} ok, ${r.tables_failed} failed`, r.verification || NEVER]))),
    h("div", { class: "pair" },
      box("Checkpoints", h("span", { class: "soft small" }, "the newest first"), checkpoints.length
        ? table([["number"], ["position", "what"], ["at", "num"], ["took", "num"], ["bytes", "num"]], checkpoints.map((c) => [c.id, mono(c.position), time(c.at, server.now), seconds(c.duration_ms / 1000), bytes(c.bytes)]))
        : h("p", { class: "soft" }, "None yet.")),
      box("Events", h("span", { class: "soft small" }, "the newest first"), events.length
        ? h("ol", { class: "log" }, events.map((e) => h("li", null, time(e.at, server.now), h("span", null, e.event, e.detail && h("span", { class: "soft" }, ` ${e.detail}`)))))
        : h("p", { class: "soft" }, "None yet."))));
}

// Tables can be many: those in trouble first, and the rest within reach of the search.
const MOST_TABLES = 200;
function tablesBox(tables, now) {
  const order = ["bad", "busy", "wait", "off", "good"];
  const wanted = tables.filter((t) => `${t.table_name} ${t.target_name} ${t.phase}`.toLowerCase().includes(filter))
    .sort((a, b) => order.indexOf(mood(a.phase)) - order.indexOf(mood(b.phase)) || a.table_name.localeCompare(b.table_name));
  const lossy = tables.some((t) => t.lossy_values > 0);
  const rows = wanted.slice(0, MOST_TABLES).flatMap((t) => [
    [[t.table_name, t.target_name !== t.table_name && h("span", { class: "soft small" }, ` → ${t.target_name}`)], badge(t.phase),
      known(t.snapshot_percent) && t.snapshot_percent < 100 ? `${compact(t.snapshot_rows)} (${percent(t.snapshot_percent)})` : compact(t.snapshot_rows),
      compact(t.inserts), compact(t.updates), compact(t.deletes), time(t.last_change_at, now), ...(lossy ? [compact(t.lossy_values)] : [])],
    ...(t.exception_message ? [{ note: trouble(parts(t.exception_message)) }] : []),
  ]);
  const search = tables.length > 10 && h("input", { type: "search", id: "filter", placeholder: "Find a table", "aria-label": "Find a table" });
  const note = wanted.length > MOST_TABLES ? `the first ${MOST_TABLES} of ${wanted.length}` : `${wanted.length === tables.length ? "" : `${wanted.length} of `}${tables.length}`;
  const columns = [["table", "what"], ["phase"], ["copied", "num"], ["inserts", "num"], ["updates", "num"], ["deletes", "num"], ["last change", "num"], ...(lossy ? [["lossy values", "num"]] : [])];
  return box("Tables", [h("span", { class: "soft small" }, note), search], rows.length ? table(columns, rows) : h("p", { class: "soft" }, "None."));
}

function sourcesPage({ server, sources, tables }) {
  const normal = sources.filter((s) => s.state === "normal").sort((a, b) => a.name.localeCompare(b.name));
  if (!normal.length) {
    return h("div", { class: "card empty" }, h("p", null, "There is no source yet. Make one in psql:"), h("span", { class: "mono" }, "CREATE SOURCE s WITH (type = '…', …);"));
  }
  return h("div", { class: "stack" }, normal.map((s) => {
    const own = tables.filter((t) => t.source_name === s.name).sort((a, b) => a.table_schema.localeCompare(b.table_schema) || a.table_name.localeCompare(b.table_name));
    const rows = own.slice(0, MOST_TABLES).map((t) => [`${t.table_schema}.${t.table_name}`, count(t.columns), t.primary_key || NEVER, compact(t.estimated_rows), time(t.synced_at, server.now)]);
    const columns = [["table", "what"], ["columns", "num"], ["key", "what"], ["rows, about", "num"], ["synced", "num"]];
    return h("section", { class: "card source", "data-key": s.name },
      h("div", { class: "title" }, h("h2", null, s.name), h("span", { class: "soft" }, s.type), h("span", { class: "soft small" }, `${own.length} synced tables`)),
      s.description && h("p", null, s.description),
      h("p", { class: "options soft mono" }, s.options),
      own.length ? table(columns, rows) : h("p", { class: "soft small" }, "No table is synced: SYNC TABLES FROM SOURCE …"),
      own.length > MOST_TABLES && h("p", { class: "soft small" }, `the first ${MOST_TABLES} of ${own.length}`));
  }));
}

// ---------------------------------------------------------------------------------------------------------------- asking

let wait = 2000;
let timer = 0;
let asked = 0;
let last = null;

function route() {
  const path = location.hash.replace(/^#/, "");
  if (path.startsWith("/pipe/")) {
    let name = path.slice(6);
    try { name = decodeURIComponent(name); } catch { /* a name typed by hand stays as it is */ }
    return { title: name, ask: `api/pipe?name=${encodeURIComponent(name)}`, page: pipePage, missing: `There is no pipe “${name}”.` };
  }
  return path === "/sources" ? { title: "Sources", ask: "api/state", page: sourcesPage, nav: "#/sources" } : { title: "Pipes", ask: "api/state", page: pipesPage, nav: "#/" };
}

function frame(server) {
  const to = route();
  document.title = `${to.title} · Standpipe`;
  for (const link of document.getElementById("nav").children) {
    if (link.getAttribute("href") === to.nav) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const line = document.getElementById("server");
  const next = line.cloneNode(false);
  if (server) {
    next.append(...[`${server.sessions} ${server.sessions === 1 ? "session" : "sessions"}`, `${bytes(server.memory_bytes)} memory`, `up ${seconds((server.now - server.started_at) / 1000)}`, `version ${server.version}`].map((text) => h("span", null, text)));
  }
  morph(line, next);
}

function say(text) {
  banner.hidden = !text;
  banner.textContent = text || "";
  document.body.classList.toggle("stale", Boolean(text));
}

function draw() {
  if (!last) return;
  frame(last.state.server);
  show(last.page(last.state));
}

async function refresh() {
  clearTimeout(timer);
  const mine = ++asked;
  const to = route();
  try {
    const response = await fetch(to.ask, { cache: "no-store", credentials: "same-origin" });
    if (mine !== asked) return;
    if (response.status === 404 && to.missing) {
      last = null;
      say("");
      frame(null);
      show(h("div", { class: "card empty" }, to.missing, " ", h("a", { href: "#/" }, "All pipes")));
    } else if (!response.ok) {
      throw new Error((await response.text()).trim() || response.statusText);
    } else {
      last = { page: to.page, state: await response.json() };
      if (mine !== asked) return;
      wait = Math.max(last.state.server.step_ms, 500);
      say("");
      draw();
    }
  } catch (e) {
    if (mine !== asked) return;
    say(e instanceof TypeError ? "The server does not answer. What is shown is old; trying again." : `${e.message}. What is shown is old; trying again.`);
  }
  if (!document.hidden) timer = setTimeout(refresh, wait);
}

addEventListener("hashchange", () => {
  filter = "";
  last = null;
  scrollTo(0, 0);
  main.focus({ preventScroll: true });
  refresh();
});
document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : refresh()));
document.addEventListener("input", (event) => {
  if (event.target.id === "filter") {
    filter = event.target.value.trim().toLowerCase();
    draw();
  }
});
refresh();
