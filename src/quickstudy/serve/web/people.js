// Galleries: enrol, identify, look at uncertain answers.

import { get, part, send, sendItems } from "./api.js";
import { element, showBars } from "./views.js";

const byId = (id) => document.getElementById(id);

export function startPeople({ input, guarded, note }) {
  const url = (rest = "") => `/v1/galleries/${part(byId("gallery").value)}${rest}`;

  async function refresh() {
    const [card, people, review] = await Promise.all([get(url()), get(url("/identities")), get(url("/review"))]);
    byId("says").textContent = `${card.identities} identities, ${card.templates} templates. ${card.says}`;
    byId("enrolled").replaceChildren(
      ...people.map((person) =>
        element(
          "li",
          {},
          element("b", {}, person.name),
          element("span", { class: "count" }, `${person.templates.length} photos${person.consent ? `, consent: ${person.consent}` : ""}`),
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
                element("button", { on: { click: guarded(() => judge(one.id, "right")) } }, "Right"),
                element("button", { on: { click: guarded(() => judge(one.id, "wrong")) } }, "Wrong"),
              ),
            ),
          )
        : [element("li", {}, element("span", { class: "count" }, "Nothing. Uncertain answers of the last 15 minutes come here."))]),
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
    note("people-note", result.templates.length ? `A further template of ${result.identity}.` : "Noted.");
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
      const words = [`Enrolled ${result.identity} with ${result.templates.length} photos.`, ...result.warnings];
      note("people-note", words.join(" "), result.warnings.length ? "warn" : "");
      byId("enrol-form").reset();
      await refresh();
    }),
  );
  byId("gallery").addEventListener("change", guarded(refresh));

  return {
    refresh,
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
