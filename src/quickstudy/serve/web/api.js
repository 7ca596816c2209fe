// Requests to the server. Problems become errors with the server's own words.

let key = sessionStorage.getItem("quickstudy-key") ?? "";

export class Problem extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

function askForKey() {
  const dialog = document.getElementById("key-dialog");
  if (!dialog) return Promise.resolve(prompt("Key") ?? "");
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(document.getElementById("key").value.trim()), { once: true });
    dialog.showModal();
  });
}

export async function request(path, options = {}) {
  for (;;) {
    const headers = { ...options.headers };
    if (key) headers.Authorization = `Bearer ${key}`;
    let answer;
    try {
      answer = await fetch(path, { ...options, headers });
    } catch {
      throw new Problem(0, "The server does not answer. Is it still running?");
    }
    if (answer.status === 401) {
      key = await askForKey();
      sessionStorage.setItem("quickstudy-key", key);
      if (!key) throw new Problem(401, "Without a key nothing can be asked.");
      continue;
    }
    if (!answer.ok) {
      const problem = await answer.json().catch(() => ({}));
      throw new Problem(answer.status, problem.detail ?? `The server answered ${answer.status}.`);
    }
    return answer;
  }
}

export const get = async (path) => (await request(path)).json();

export const send = async (method, path, body) =>
  (
    await request(path, {
      method,
      headers: { "Content-Type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
    })
  ).json();

export async function sendItems(path, items, fields = {}) {
  const form = new FormData();
  for (const [name, value] of Object.entries(fields)) form.append(name, value);
  for (const item of items) form.append("file", item.blob, item.name);
  return (await request(path, { method: "POST", body: form })).json();
}

export const part = encodeURIComponent;
