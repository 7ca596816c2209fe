// Galleries: enrol, identify, look at uncertain answers, at look-alikes and at the audit log.

import { get, part, send, sendItems } from "./api.js";
import { element, showBars } from "./views.js";

const byId = (id) => document.getElementById(id);

const photos = (n) => `${n} ${n === 1 ? "photo" : "photos"}`;

export function startPeople({ input, guarded, note }) {
  const url = (rest = "") => `/v1/galleries/${part(byId("gallery").value)}${rest}`;

  async function refresh() {
    const [card, people, review] = await Promise.all([get(url()), get(url("/identities")), get(url("/review"))]);
    byId("says").textContent = `${card.identities} ${card.identities === 1 ? "identity" : "identities"}, ${card.templates} ${card.templates === 1 ? "template" : "templates"}. ${card.says}`;
    byId("enrolled").replaceChildren(
      ...people.map((person) =>
        element(
          "li",
          {},
          element("b", {}, person.name),
          element("span", { class: "count" }, `${photos(person.templates.length)}${person.consent ? `, consent: ${person.consent}` : ""}`),
          element(
            "span",
            { class: "acts" },
            element("button", { on: { click: guarded(() => forget(person.name)) }, "aria-label": `Forget ${person.name}` }, "Forget"),
          ),
        ),
      ),
    );
    byId("review").replaceChildren(
      ...(review.length
        ? review.map((one) =>
            element(
              "li",
              {},
              element("b", {}, one.nearest ?? "nobody"),
              element("span", { class: "count" }, `${one.item}, similarity ${one.score?.toFixed(2) ?? "–"}`),
              element(
                "span",
                { class: "acts" },
                judgeButton(one, "right", "Right"),
                judgeButton(one, "wrong", "Wrong"),
              ),
            ),
          )
        : [element("li", {}, element("span", { class: "count" }, "Nothing. Uncertain answers of the last 15 minutes come here."))]),
    );
  }

  function judgeButton(one, verdict, text) {
    const label = `${text}: ${one.item} is ${one.nearest ?? "nobody"}`;
    return element("button", { "aria-label": label, on: { click: guarded(() => judge(one.id, verdict)) } }, text);
  }

  async function lookAlikes(said = "") {
    const pairs = await get(url("/look-alikes"));
    const [one, two] = [pairs.filter((pair) => pair.is_confused).length, pairs.length];
    const words = two ? `The ${two} nearest pairs; ${one} of them are taken for each other at the threshold in force.` : "Nobody to compare yet.";
    note("alike-note", [said, words].filter(Boolean).join(" "));
    byId("pairs").replaceChildren(...pairs.map(pairRow));
  }

  function pairRow(pair) {
    const [stays, goes] = pair.names;
    const words = [`similarity ${pair.similarity.toFixed(2)}`];
    if (pair.is_confused) words.push("taken for each other");
    if (pair.photo) words.push(`both on ${pair.photo}: two people`);
    const acts = pair.photo
      ? []
      : [element("button", { "aria-label": `Merge ${goes} into ${stays}`, on: { click: guarded(() => merge(goes, stays)) } }, "One person: merge")];
    return element(
      "li",
      { class: pair.is_confused ? "confused" : "" },
      element("b", {}, `${stays} and ${goes}`),
      element("span", { class: "count" }, words.join(", ")),
      element("span", { class: "acts" }, ...acts),
    );
  }

  async function merge(identity, into) {
    if (!confirm(`Give the photos of ${identity} to ${into}, and forget the name ${identity}?`)) return;
    const merged = await send("POST", url("/merge"), { identity, into });
    await lookAlikes([`${identity} is ${into} now.`, ...merged.warnings].join(" "));
  }

  async function audit() {
    const [entries, check] = await Promise.all([get(url("/audit?last=100")), get(url("/audit/check"))]);
    const whole = check.problems.length ? check.problems.join(" ") : "The log is whole.";
    note("audit-note", `${check.entries} entries, the newest first. ${whole}`, check.problems.length ? "bad" : "");
    byId("entries").replaceChildren(
      ...entries.reverse().map((entry) =>
        element(
          "tr",
          {},
          element("td", {}, new Date(entry.time).toLocaleString()),
          element("td", {}, entry.action, element("small", {}, entry.action === "policy" ? "" : entry.detail)),
          element("td", {}, entry.identity ?? "–"),
          element("td", {}, entry.similarity === null ? "–" : entry.similarity.toFixed(2)),
          element("td", {}, entry.photo ?? "–"),
          element("td", {}, entry.operator),
        ),
      ),
    );
  }

  async function forget(name) {
    if (!confirm(`Forget ${name} and all templates?`)) return;
    const gone = await send("DELETE", url(`/identities/${part(name)}`));
    note("people-note", [`Forgotten: ${name}.`, ...gone.remains].join(" "));
    await refresh();
  }

  async function judge(answer, verdict) {
    const result = await send("POST", url("/feedback"), { answer, verdict });
    const words = [result.templates.length ? `A further template of ${result.identity}.` : "Noted.", ...result.warnings];
    note("people-note", words.join(" "), result.warnings.length ? "warn" : "");
    await refresh();
  }

  byId("enrol-form").addEventListener(
    "submit",
    guarded(async (event) => {
      event.preventDefault();
      await input.settled();
      if (!input.items.length) return note("people-note", "Draw something or choose photos first.", "warn");
      const fields = { name: byId("person").value };
      if (byId("consent").value) fields.consent = byId("consent").value;
      const result = await sendItems(url("/identities"), input.items, fields);
      const words = [`Enrolled ${result.identity} with ${photos(result.templates.length)}.`, ...result.warnings];
      note("people-note", words.join(" "), result.warnings.length ? "warn" : "");
      byId("enrol-form").reset();
      await refresh();
    }),
  );
  byId("gallery").addEventListener("change", guarded(refresh));

  return {
    refresh,
    lookAlikes,
    audit,
    async ask(items) {
      const who = byId("who");
      if (!items.length) {
        who.textContent = "Show somebody.";
        who.className = "answer idle";
        byId("near").replaceChildren();
        return;
      }
      const body = await sendItems(url("/identify"), items);
      const one = body.answers.find((answer) => !answer.error) ?? body.answers[0];
      who.textContent = one.answer === "not calibrated" ? `not calibrated (nearest: ${one.nearest ?? "nobody"})` : one.answer;
      who.className = one.answer === "unknown" ? "answer unknown" : "answer";
      showBars(byId("near"), one.scores, { scale: 1.0001 });
      await refresh();
    },
  };
}
