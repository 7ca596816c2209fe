// The page: teach, try, map, methods, keep; galleries are in people.js.

import { get, part, request, send, sendItems } from "./api.js";
import { startInput, thumbnail } from "./input.js";
import { startPeople } from "./people.js";
import { element, percent, showBars, showCurve, showMap, whileBusy } from "./views.js";

const byId = (id) => document.getElementById(id);
const state = { card: null, answer: null, curve: null, feedback: [], view: "teach", asked: 0, compared: 0 };

function note(id, text, kind = "") {
  byId(id).textContent = text;
  byId(id).className = `note ${kind}`;
}

function problem(text) {
  byId("problem").textContent = text;
  byId("problem").hidden = !text;
}

const guarded =
  (call) =>
  async (...given) => {
    problem("");
    try {
      await call(...given);
    } catch (error) {
      problem(error.message);
    }
  };

const url = (rest = "") => `/v1/models/${part(byId("model").value)}${rest}`;
const input = startInput((items) => changed(items));
const people = startPeople({ input, guarded, note });

// --- thumbnails, which stay in this browser

const store = () => `thumbs ${byId("model").value}`;
const thumbs = () => JSON.parse(sessionStorage.getItem(store()) ?? "{}");
function keepThumbs(all) {
  try {
    sessionStorage.setItem(store(), JSON.stringify(all));
  } catch {
    sessionStorage.removeItem(store());
  }
}

// --- the model

async function refresh() {
  state.card = await get(url());
  const { classes, promise, kind, can_begin: canBegin } = state.card;
  const names = Object.keys(classes);
  byId("promise").textContent = promise
    ? `Lets in at most ${percent(promise.false_accept_rate)} of unknowns, measured with ${promise.unknowns}.`
    : names.length
      ? "Not calibrated: it never says unknown."
      : "";
  byId("no-classes").hidden = names.length > 0;
  byId("names").replaceChildren(...names.map((name) => element("option", { value: name })));
  const none = element("option", { value: "" }, "none of them");
  byId("truth").replaceChildren(...(promise ? [none] : []), ...names.map((name) => element("option", { value: name }, name)));
  byId("empty").disabled = !canBegin;
  const kept = thumbs();
  byId("classes").replaceChildren(
    ...names.map((name) =>
      element(
        "li",
        {},
        element("b", {}, name),
        element("span", { class: "count" }, `${classes[name]} ${classes[name] === 1 ? "example" : "examples"}`),
        element("span", { class: "thumbs" }, ...(kept[name] ?? []).slice(-6).map((src) => element("img", { src, alt: "" }))),
        element(
          "span",
          { class: "acts" },
          element("button", { "aria-label": `Rename ${name}`, on: { click: guarded(() => rename(name)) } }, "Rename"),
          element("button", { "aria-label": `Remove ${name}`, on: { click: guarded(() => remove(name)) } }, "Remove"),
        ),
      ),
    ),
  );
  // What one draws or photographs is an image; other items are asked about over HTTP.
  const noImages = kind !== "images";
  for (const name of ["teach", "try"]) byId(`tab-${name}`).disabled = noImages;
  byId("no-images").hidden = !noImages;
  state.curve = null;
}

async function rename(name) {
  const other = prompt(`Another name for ${name}`, name)?.trim();
  if (!other || other === name) return;
  await send("PATCH", url(`/classes/${part(name)}`), { name: other });
  const all = thumbs();
  all[other] = all[name] ?? [];
  delete all[name];
  keepThumbs(all);
  await refresh();
}

async function remove(name) {
  if (!confirm(`Remove ${name} and its examples?`)) return;
  await send("DELETE", url(`/classes/${part(name)}`));
  const all = thumbs();
  delete all[name];
  keepThumbs(all);
  note("teach-note", `Removed ${name}.`);
  await refresh();
}

// --- teach

byId("teach-form").addEventListener(
  "submit",
  guarded(async (event) => {
    event.preventDefault();
    const name = byId("name").value.trim();
    await input.settled();
    if (!input.items.length) return note("teach-note", "Draw something or choose images first.", "warn");
    const items = input.items;
    const words = [];
    const others = Object.keys(state.card.classes).filter((other) => other !== name);
    if (others.length) {
      const before = await sendItems(url("/predict"), items);
      const alike = before.answers.find((one) => !one.error && one.answer === one.nearest && one.nearest !== name);
      if (alike) words.push(`It looks like ${alike.nearest}. Give both classes more examples if they get confused.`);
    }
    const result = await sendItems(url("/classes"), items, { name });
    words.push(...result.warnings, ...result.skipped.map((one) => `${one.item} was left out: ${one.error}`));
    const bad = new Set(result.skipped.map((one) => one.item));
    const all = thumbs();
    for (const item of items.filter((one) => !bad.has(one.name))) {
      (all[name] ??= []).push(await thumbnail(item.blob));
    }
    keepThumbs(all);
    input.clear();
    byId("name").select();
    await refresh();
    note("teach-note", [`Added to ${name}.`, ...words].join(" "), words.length ? "warn" : "");
  }),
);

// --- try

async function changed(items) {
  if (state.view === "people") return guarded(people.ask)(items);
  if (state.view !== "try") return undefined;
  return guarded(ask)(items);
}

async function ask(items) {
  const number = ++state.asked;
  state.answer = null;
  byId("verdict").hidden = true;
  note("try-note", "");
  if (!items.length || !Object.keys(state.card.classes).length) {
    byId("answer").textContent = items.length ? "Teach it a class first." : "Draw or choose something.";
    byId("answer").className = "answer idle";
    byId("bars").replaceChildren();
    byId("set").hidden = true;
    return;
  }
  let refused = "";
  const body = await sendItems(url(byId("sets").checked ? "/predict?sets=0.1" : "/predict"), items).catch((problem) => {
    if (!byId("sets").checked) throw problem;
    byId("sets").checked = false;
    refused = problem.message;
    return sendItems(url("/predict"), items);
  });
  if (number !== state.asked) return;
  const good = body.answers.filter((one) => !one.error);
  const bad = body.answers.filter((one) => one.error);
  state.answer = good[0] ?? null;
  if (bad.length) note("try-note", bad.map((one) => `${one.item}: ${one.error}`).join(" "), "bad");
  else if (good.length > 1) note("try-note", good.map((one) => `${one.item}: ${one.answer}`).join(", "));
  await showAnswer();
  if (refused) note("try-note", refused, "warn");
}

byId("sets").addEventListener("change", guarded(() => ask(input.items)));

async function showAnswer() {
  const one = state.answer;
  if (!one) return;
  await curveOnce();
  const shown = byId("answer");
  const limit = threshold();
  const isUnknown = limit !== null && one.score <= limit;
  shown.textContent = isUnknown ? "unknown" : one.nearest;
  shown.className = isUnknown ? "answer unknown" : "answer";
  if (limit === null) note("try-note", "Not calibrated: whatever you show, it names a class.", "warn");
  else if (isUnknown) note("try-note", `Nearest is ${one.nearest}, but not near enough. The bars compare the known classes only.`);
  showBars(byId("bars"), one.scores);
  byId("set").hidden = !one.classes;
  byId("set").textContent = one.classes ? `It may be: ${one.classes.join(", ")}.` : "";
  byId("verdict").hidden = false;
  byId("truth").value = state.card.promise ? "" : (Object.keys(state.card.classes)[0] ?? "");
}

async function curveOnce() {
  byId("line").hidden = !state.card.promise;
  if (!state.card.promise || state.curve) return;
  state.curve = await get(url("/curve"));
  const { thresholds } = state.curve;
  byId("slider").max = thresholds.length - 1;
  const line = state.card.promise.threshold;
  const at = thresholds.findIndex((value) => value >= line - 1e-9);
  byId("slider").value = at < 0 ? thresholds.length - 1 : at;
  state.start = byId("slider").value;
  showCost();
}

function threshold() {
  if (!state.card.promise) return null;
  if (!state.curve || byId("slider").value === state.start) return state.card.promise.threshold;
  return state.curve.thresholds[byId("slider").value];
}

function showCost() {
  const { false_accept: accept, false_reject: reject, unknowns, examples } = state.curve;
  const i = Number(byId("slider").value);
  showCurve(byId("curve"), state.curve, i);
  const words = [`${percent(accept[i])} of ${unknowns} unknowns would be let in`];
  if (examples) words.push(`${percent(reject[i])} of ${examples} examples refused`);
  else words.push("how many examples are refused takes two or more per class");
  note("cost", `${words.join(", ")}.`);
  byId("slider").setAttribute("aria-valuetext", words.join(", "));
  byId("use").hidden = byId("slider").value === state.start;
}

byId("slider").addEventListener("input", guarded(async () => {
  showCost();
  await showAnswer();
}));
byId("use").addEventListener("click", guarded(async () => {
  const share = state.curve.false_accept[byId("slider").value];
  const unknowns = state.curve.unknowns;
  const rate = Math.min(Math.max(share + 1 / (unknowns + 1), 1 / (unknowns + 1)), 0.99);
  await send("POST", url("/calibrate"), { false_accept_rate: rate });
  await refresh();
  await curveOnce();
  await showAnswer();
}));

async function judge(verdict, label) {
  const result = await send("POST", url("/feedback"), { answer: state.answer.id, verdict, label });
  state.feedback.push(result.feedback);
  byId("undo").hidden = false;
  await refresh();
  await ask(input.items);
  note("try-note", verdict === "right" ? `Kept as an example of ${label}.` : "Learned. This is what it says now.");
}
byId("right").addEventListener("click", guarded(() => judge("right", state.answer.nearest)));
byId("wrong").addEventListener("click", guarded(() => judge("wrong", byId("truth").value || null)));
byId("undo").addEventListener("click", guarded(async () => {
  const last = state.feedback.pop();
  byId("undo").hidden = !state.feedback.length;
  if (!last) return;
  await send("DELETE", url(`/feedback/${part(last)}`));
  await refresh();
  await ask(input.items);
  note("try-note", "Undone.");
}));

// --- map, methods, keep

async function map() {
  if (!Object.keys(state.card.classes).length) return note("map-note", "Teach it a class first.");
  const query = state.answer ? `?asked=${part(state.answer.id)}` : "";
  const shown = await get(url(`/map${query}`)).catch(() => get(url("/map")));
  showMap(byId("plane"), byId("legend"), shown);
  return note("map-note", `Two directions in which the examples differ most; they show ${percent(shown.explained)} of the differences.`);
}

const METHODS = {
  prototype: ["Prototypes", "nearest class mean"],
  cosine: ["Cosine classifier", "class directions, fine-tuned"],
  ridge: ["Ridge regression", "a linear map, solved at once"],
  logistic: ["Logistic regression", "a linear map, iterated"],
  gaussian: ["Gaussians", "one for each class, one covariance"],
  "proto-maml": ["MAML", "gradient steps from the prototypes"],
  "in-context": ["In-context", "a network reads the examples"],
};

// One request per method, so that the first answers do not wait for the slowest.
async function methods() {
  const turn = ++state.compared;
  const rows = [];
  byId("compared").replaceChildren();
  if (Object.keys(state.card.classes).length < 2) return note("methods-note", "Teach it two classes first.");
  const names = Object.keys(METHODS);
  for (const [i, name] of names.entries()) {
    note("methods-note", `Comparing: ${METHODS[name][0]}, ${i + 1} of ${names.length}.`);
    rows.push(...(await get(url(`/methods?method=${part(name)}`))));
    if (turn !== state.compared || state.view !== "methods") return undefined;
    rows.sort((a, b) => (b.accuracy ?? -1) - (a.accuracy ?? -1));
    byId("compared").replaceChildren(...rows.map(methodRow));
  }
  const counted = rows[0].examples;
  return note("methods-note", counted ? `Compared on ${counted} examples.` : "No class has two examples yet, so nothing can be left out.");
}

function methodRow(row) {
  const [name, how] = METHODS[row.method];
  return element(
    "tr",
    {},
    element("th", { scope: "row" }, name, element("small", {}, row.note || how)),
    element("td", {}, row.accuracy === null ? "–" : percent(row.accuracy)),
    element("td", {}, row.milliseconds === null ? "–" : row.milliseconds.toFixed(2)),
  );
}

function offer(button, path, ending, done) {
  byId(button).addEventListener("click", guarded(async () => {
    byId(button).disabled = true;
    note("keep-note", "Writing it …");
    try {
      const answer = await request(url(path));
      const name = `${byId("model").value}.${ending}`;
      const link = element("a", { href: URL.createObjectURL(await answer.blob()), download: name });
      link.click();
      URL.revokeObjectURL(link.href);
      note("keep-note", done);
    } catch (error) {
      note("keep-note", "");
      throw error;
    } finally {
      byId(button).disabled = false;
    }
  }));
}
offer("download", "/download", "zip", "Downloaded. Unpack it, and it is the model.");
offer("download-onnx", "/onnx", "onnx", "Downloaded. It answers as the model does now.");
offer("download-report", "/report", "html", "Downloaded. It opens in any browser, without a network.");
byId("empty").addEventListener("click", guarded(async () => {
  if (!confirm("Forget all classes?")) return;
  await send("DELETE", url("/classes"));
  keepThumbs({});
  state.feedback = [];
  byId("undo").hidden = true;
  note("keep-note", "All classes are forgotten.");
  await refresh();
}));

// --- views

const GALLERIES = ["people", "alike", "audit"];
const tabs = [...document.querySelectorAll("[role=tab]")];
async function show(wanted) {
  const view = byId(`tab-${wanted}`).disabled ? "map" : wanted;
  state.view = view;
  for (const tab of tabs) {
    const name = tab.getAttribute("aria-controls");
    tab.setAttribute("aria-selected", String(name === view));
    tab.tabIndex = name === view ? 0 : -1;
    byId(name).hidden = name !== view;
  }
  byId("input").hidden = !["teach", "try", "people"].includes(view);
  byId("promise").hidden = GALLERIES.includes(view);
  await whileBusy(byId("main"), () => fill(view));
}

async function fill(view) {
  if (view === "try") {
    await curveOnce();
    await ask(input.items);
  }
  if (view === "map") await map();
  if (view === "methods") await methods();
  if (view === "people") {
    await people.refresh();
    await people.ask(input.items);
  }
  if (view === "alike") await people.lookAlikes();
  if (view === "audit") await people.audit();
}
for (const tab of tabs) {
  tab.addEventListener("click", guarded(() => show(tab.getAttribute("aria-controls"))));
  tab.addEventListener("keydown", (event) => {
    const there = tabs.filter((one) => !one.hidden && !one.disabled);
    const at = there.indexOf(tab);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: there.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    const next = there[(to + there.length) % there.length];
    next.focus();
    next.click();
  });
}
for (const mode of ["draw", "file", "camera"]) {
  byId(`mode-${mode}`).addEventListener("click", () => {
    problem("");
    input.choose(mode, problem);
  });
}
byId("model").addEventListener("change", guarded(async () => {
  state.feedback = [];
  await refresh();
  await show(state.view);
}));

guarded(async () => {
  const [models, galleries] = await Promise.all([get("/v1/models"), get("/v1/galleries")]);
  byId("model").replaceChildren(...models.map((model) => element("option", {}, model.name)));
  byId("gallery").replaceChildren(...galleries.map((one) => element("option", {}, one.name)));
  for (const name of GALLERIES) byId(`tab-${name}`).hidden = !galleries.length;
  for (const name of ["teach", "try", "map", "methods", "keep"]) byId(`tab-${name}`).hidden = !models.length;
  document.querySelector(".pick").hidden = models.length < 2;
  if (models.length) await refresh();
  await show(models.length ? "teach" : "people");
  document.body.dataset.ready = "yes";
})();
