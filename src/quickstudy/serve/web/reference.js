// The description of the interface, as a page of its own.

import { get } from "./api.js";
import { element } from "./views.js";

const described = await get("/v1/openapi.json");
const groups = {};
for (const [path, methods] of Object.entries(described.paths)) {
  for (const [method, about] of Object.entries(methods)) (groups[about.tags?.[0] ?? "other"] ??= []).push([method, path, about]);
}
document.getElementById("routes").append(
  element("p", {}, described.info.description),
  ...Object.entries(groups).flatMap(([name, routes]) => [
    element("h2", {}, name),
    element(
      "ul",
      { class: "classes" },
      ...routes.map(([method, path, about]) =>
        element(
          "li",
          {},
          element("b", {}, method.toUpperCase()),
          element("code", {}, path),
          element("span", { class: "count" }, about.description ?? ""),
        ),
      ),
    ),
  ]),
);
