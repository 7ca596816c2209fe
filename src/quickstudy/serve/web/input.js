// The three kinds of input: a drawing, files, the camera. Whatever is shown is in `items`.

import { whileBusy } from "./views.js";

const byId = (id) => document.getElementById(id);

// No two have one name: galleries take photos of one name for one photo.
const named = (kind) => `${kind}-${Date.now().toString(36)}.png`;

export function startInput(onChange) {
  const pad = byId("pad");
  const pen = pad.getContext("2d", { willReadFrequently: true });
  const state = { mode: "draw", items: [], hasInk: false, pending: Promise.resolve() };
  let last = null;

  function paper() {
    pen.fillStyle = "#ffffff";
    pen.fillRect(0, 0, pad.width, pad.height);
    state.hasInk = false;
  }

  function at(event) {
    const box = pad.getBoundingClientRect();
    return [((event.clientX - box.left) * pad.width) / box.width, ((event.clientY - box.top) * pad.height) / box.height];
  }

  function stroke(event) {
    const [x, y] = at(event);
    pen.strokeStyle = "#14171d";
    pen.lineWidth = 13;
    pen.lineCap = pen.lineJoin = "round";
    pen.beginPath();
    pen.moveTo(...(last ?? [x, y]));
    pen.lineTo(x, y);
    pen.stroke();
    last = [x, y];
    state.hasInk = true;
  }

  const blobOf = (canvas) => new Promise((resolve) => canvas.toBlob(resolve, "image/png"));

  async function read() {
    state.items = state.hasInk ? [{ blob: await blobOf(pad), name: named("drawing") }] : [];
  }

  // A picture of the pad takes a moment; `settled` waits for it.
  const drawn = () =>
    whileBusy(byId("input"), async () => {
      state.pending = read();
      await state.pending;
      await onChange(state.items);
    });

  pad.addEventListener("pointerdown", (event) => {
    pad.setPointerCapture(event.pointerId);
    last = null;
    stroke(event);
  });
  pad.addEventListener("pointermove", (event) => event.buttons && last && stroke(event));
  for (const name of ["pointerup", "pointercancel"]) {
    pad.addEventListener(name, () => {
      if (last) drawn();
      last = null;
    });
  }
  byId("clear").addEventListener("click", () => {
    paper();
    drawn();
  });

  function take(files) {
    state.items = [...files].slice(0, 64).map((file) => ({ blob: file, name: file.name }));
    byId("chosen").replaceChildren(
      ...state.items.map((item) => {
        const image = document.createElement("img");
        image.alt = item.name;
        image.src = URL.createObjectURL(item.blob);
        const entry = document.createElement("li");
        entry.append(image);
        return entry;
      }),
    );
    onChange(state.items);
  }

  const drop = byId("drop");
  byId("files").addEventListener("change", (event) => take(event.target.files));
  drop.addEventListener("dragover", (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
  drop.addEventListener("dragleave", () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    take(event.dataTransfer.files);
  });

  const video = byId("video");
  async function camera(on, onProblem) {
    if (!on) {
      for (const track of video.srcObject?.getTracks() ?? []) track.stop();
      video.srcObject = null;
      return;
    }
    try {
      video.srcObject = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
      await video.play();
    } catch {
      onProblem("The camera cannot be used: it is not there, or the browser was not allowed to.");
    }
  }
  byId("shoot").addEventListener("click", async () => {
    if (!video.videoWidth) return;
    const side = Math.min(video.videoWidth, video.videoHeight);
    const shot = new OffscreenCanvas(Math.min(side, 640), Math.min(side, 640));
    const left = (video.videoWidth - side) / 2;
    const top = (video.videoHeight - side) / 2;
    shot.getContext("2d").drawImage(video, left, top, side, side, 0, 0, shot.width, shot.height);
    state.items = [{ blob: await shot.convertToBlob({ type: "image/png" }), name: named("photo") }];
    onChange(state.items);
  });

  function choose(mode, onProblem) {
    state.mode = mode;
    state.items = [];
    for (const name of ["draw", "file", "camera"]) {
      byId(name).hidden = name !== mode;
      byId(`mode-${name}`).setAttribute("aria-pressed", String(name === mode));
    }
    camera(mode === "camera", onProblem);
    if (mode === "draw") drawn();
    else onChange([]);
  }

  paper();
  return {
    get items() {
      return state.items;
    },
    choose,
    settled: () => state.pending,
    clear() {
      if (state.mode === "draw") paper();
      if (state.mode === "file") {
        byId("files").value = "";
        byId("chosen").replaceChildren();
      }
      state.items = [];
      onChange([]);
    },
  };
}

export async function thumbnail(blob) {
  const bitmap = await createImageBitmap(blob);
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 64;
  const side = Math.min(bitmap.width, bitmap.height);
  const pen = canvas.getContext("2d");
  pen.drawImage(bitmap, (bitmap.width - side) / 2, (bitmap.height - side) / 2, side, side, 0, 0, 64, 64);
  return canvas.toDataURL("image/jpeg", 0.8);
}
