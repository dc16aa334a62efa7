// Where entities go: a box or a painted mask for each, over the picture with the regions that the run used.
const LONG = 256;  // pixels of a mask's longer side
const WORDS = { left: [0, 0, .5, 1], right: [.5, 0, 1, 1], top: [0, 0, 1, .5], bottom: [0, .5, 1, 1], center: [.25, .25, .75, .75],
  "top left": [0, 0, .5, .5], "top right": [.5, 0, 1, .5], "bottom left": [0, .5, .5, 1], "bottom right": [.5, .5, 1, 1] };
let last = props.value ?? {};
let all = { ...last.regions };  // of entities that the prompt does not have now, too: they come back with their words
let current = 0, tool = "box", from = null, to = null, painting = null, masks = {}, base = null, found = [], shownPicture = "", shownFound = "";
const canvas = make("canvas", { class: "board", tabindex: 0, "aria-label": "Draw a region" });
const bar = make("div", { class: "bar" }), hint = make("p", { class: "help" });
root.replaceChildren(bar, canvas, hint);
const context = canvas.getContext("2d");

const labels = () => props.value?.labels ?? [];
const texts = () => props.value?.regions ?? {};
const sides = () => { const [w, h] = props.value?.aspect ?? [1, 1]; return w >= h ? [LONG, Math.max(1, Math.round(LONG * h / w))] : [Math.max(1, Math.round(LONG * w / h)), LONG]; };
const boxOf = text => WORDS[text] ?? (/^[\d.,e-]+$/.test(text) ? text.split(",").map(Number) : null);

function give(label, text) {
  if (text === null) { delete all[label]; delete masks[label]; } else all[label] = text;
  publish();
  draw();
}

function publish() {
  const regions = Object.fromEntries(Object.entries(all).filter(([label]) => labels().includes(label)));
  last = props.value = { ...last, regions };
}

async function maskOf(label) {
  const text = texts()[label] ?? "", [w, h] = sides();
  if (masks[label]?.text === text && masks[label].w === w && masks[label].h === h) return masks[label];
  const sheet = make("canvas", { width: w, height: h }), pen = sheet.getContext("2d", { willReadFrequently: true });
  const box = boxOf(text);
  pen.fillStyle = "#fff";
  if (box) pen.fillRect(box[0] * w, box[1] * h, (box[2] - box[0]) * w, (box[3] - box[1]) * h);
  else if (text.startsWith("data:")) {
    const image = await picture(text);
    if (image) {
      pen.drawImage(image, 0, 0, w, h);
      const data = pen.getImageData(0, 0, w, h);  // white inside, transparent outside
      for (let i = 0; i < data.data.length; i += 4) { data.data[i + 3] = data.data[i] > 127 ? 255 : 0; data.data[i] = data.data[i + 1] = data.data[i + 2] = 255; }
      pen.putImageData(data, 0, 0);
    }
  }
  return (masks[label] = { sheet, pen, text, w, h });
}

function keepMask(label) {
  const { sheet, w, h } = masks[label];
  if (!sheet.getContext("2d").getImageData(0, 0, w, h).data.some((value, i) => i % 4 === 3 && value > 127)) { give(label, null); return; }
  const flat = make("canvas", { width: w, height: h }), pen = flat.getContext("2d");
  pen.fillStyle = "#000"; pen.fillRect(0, 0, w, h); pen.drawImage(sheet, 0, 0);
  const text = flat.toDataURL("image/png");
  masks[label].text = text;
  give(label, text);
}

function at(event) {
  const place = canvas.getBoundingClientRect();
  return [(event.clientX - place.left) / place.width, (event.clientY - place.top) / place.height].map(x => Math.min(1, Math.max(0, x)));
}

canvas.addEventListener("pointerdown", async event => {
  const label = labels()[current];
  if (label === undefined) return;
  event.preventDefault();
  canvas.setPointerCapture(event.pointerId);
  from = to = at(event);
  if (tool !== "box") { painting = await maskOf(label); stroke(from, to); }
});
canvas.addEventListener("pointermove", event => {
  if (!from) return;
  const next = at(event);
  if (tool !== "box") { if (painting) stroke(to, next); }
  to = next;
  show();
});
canvas.addEventListener("pointerup", event => {
  if (!from) return;
  const label = labels()[current], a = from, b = at(event);
  from = to = null;
  if (tool === "box") {
    const box = [Math.min(a[0], b[0]), Math.min(a[1], b[1]), Math.max(a[0], b[0]), Math.max(a[1], b[1])].map(x => +x.toFixed(3));
    if (box[2] - box[0] > .02 && box[3] - box[1] > .02) { delete masks[label]; give(label, box.join(",")); } else show();
  } else if (painting) { painting = null; keepMask(label); }
});
canvas.addEventListener("pointercancel", () => { from = to = painting = null; show(); });

function stroke(a, b) {
  const { pen, w, h } = painting;
  pen.globalCompositeOperation = tool === "erase" ? "destination-out" : "source-over";
  pen.strokeStyle = "#fff"; pen.lineCap = "round"; pen.lineWidth = LONG / 9;
  pen.beginPath(); pen.moveTo(a[0] * w, a[1] * h); pen.lineTo(b[0] * w + .01, b[1] * h); pen.stroke();
  pen.globalCompositeOperation = "source-over";
  show();
}

function tinted(sheet, tint, alpha) {
  const copy = make("canvas", { width: sheet.width, height: sheet.height }), pen = copy.getContext("2d");
  pen.drawImage(sheet, 0, 0);
  pen.globalCompositeOperation = "source-in"; pen.fillStyle = tint; pen.fillRect(0, 0, copy.width, copy.height);
  context.imageSmoothingEnabled = sheet.width >= 128;  // a region of the model is a few large pixels
  context.globalAlpha = alpha; context.drawImage(copy, 0, 0, canvas.width, canvas.height); context.globalAlpha = 1;
  context.imageSmoothingEnabled = true;
}

function show() {
  const { width, height } = canvas;
  context.clearRect(0, 0, width, height);
  if (base) { context.globalAlpha = .8; context.drawImage(base, 0, 0, width, height); context.globalAlpha = 1; }
  if (last.showFound !== false) for (const one of found) {
    const index = labels().indexOf(one.label);
    if (index < 0 || texts()[one.label] !== undefined) continue;
    tinted(one.sheet, colour(index), .38);
    name(one.label, colour(index), one.x * width, one.y * height);
  }
  labels().forEach((label, index) => {
    const text = texts()[label], tint = colour(index);
    if (painting && index === current) tinted(painting.sheet, tint, .6);
    else if (text !== undefined) {
      const box = boxOf(text);
      if (box) {
        const [x, y, w, h] = [box[0] * width, box[1] * height, (box[2] - box[0]) * width, (box[3] - box[1]) * height];
        context.globalAlpha = .28; context.fillStyle = tint; context.fillRect(x, y, w, h); context.globalAlpha = 1;
        context.strokeStyle = tint; context.lineWidth = 3; context.strokeRect(x + 1.5, y + 1.5, Math.max(1, w - 3), Math.max(1, h - 3));
        name(label, tint, x, y);
      } else if (masks[label]?.text === text) tinted(masks[label].sheet, tint, .42);
    }
  });
  if (from && to && tool === "box") {
    context.strokeStyle = colour(current); context.lineWidth = 3; context.setLineDash([8, 5]);
    context.strokeRect(Math.min(from[0], to[0]) * width, Math.min(from[1], to[1]) * height, Math.abs(from[0] - to[0]) * width, Math.abs(from[1] - to[1]) * height);
    context.setLineDash([]);
  }
}

function name(text, tint, x, y) {
  context.font = "600 15px system-ui, sans-serif";
  const wide = context.measureText(text).width + 12;
  x = Math.min(x, canvas.width - wide);
  context.fillStyle = tint; context.fillRect(x, y, wide, 23);
  context.fillStyle = "#fff"; context.fillText(text, x + 6, y + 16);
}

async function draw() {
  const value = props.value ?? {}, [w, h] = sides();
  if (canvas.width !== 2 * w || canvas.height !== 2 * h) { canvas.width = 2 * w; canvas.height = 2 * h; }
  if (current >= labels().length) current = 0;
  const button = (text, pressed, act, tint) => make("button", { type: "button", class: "pick", "aria-pressed": String(pressed), onclick: act,
    style: tint === undefined ? {} : { "--tint": colour(tint) } }, tint === undefined ? "" : make("i"), text);
  const own = labels()[current], given = own !== undefined && texts()[own] !== undefined;
  const wanted = [
    make("span", { class: "group" }, ...labels().map((label, index) => button(label, index === current, () => { current = index; draw(); }, index))),
    make("span", { class: "group" }, ...[["box", "Box"], ["brush", "Brush"], ["erase", "Erase"]].map(([key, text]) => button(text, tool === key, () => { tool = key; draw(); })),
      make("button", { type: "button", class: "pick", disabled: !given, "data-clear": true, onclick: () => give(own, null) }, "Clear")),
  ];
  if (value.found && Object.keys(value.found).length) {
    const box = make("input", { type: "checkbox", onchange: () => { last = props.value = { ...last, showFound: box.checked }; show(); } });
    box.checked = last.showFound !== false;
    wanted.push(make("label", { class: "group" }, box, " regions of this run"));
  }
  bar.replaceChildren(...wanted);
  hint.textContent = labels().length
    ? "Drag a box or paint where an entity should go. An entity without a region goes where the model finds room for it. Draw to see the result."
    : "No entity to place: write a prompt first.";
  if (value.picture !== shownPicture) { shownPicture = value.picture; base = value.picture ? await picture(value.picture) : null; }
  const key = JSON.stringify(value.found ?? {});
  if (key !== shownFound) {
    shownFound = key;
    found = (await Promise.all(Object.entries(value.found ?? {}).map(async ([label, data]) => {
      const image = await picture(data);
      if (!image) return null;
      const sheet = make("canvas", { width: image.width, height: image.height }), pen = sheet.getContext("2d");
      pen.imageSmoothingEnabled = false; pen.drawImage(image, 0, 0);
      const data_ = pen.getImageData(0, 0, image.width, image.height);
      for (let i = 0; i < data_.data.length; i += 4) data_.data[i + 3] = data_.data[i] > 127 ? 255 : 0;
      pen.putImageData(data_, 0, 0);
      const first = data_.data.findIndex((value, i) => i % 4 === 3 && value > 0) >> 2;
      const row = Math.floor(first / image.width);
      return { sheet, label, x: (first % image.width) / image.width, y: row / image.height };
    }))).filter(Boolean);
  }
  for (const label of labels()) if (texts()[label]?.startsWith("data:")) await maskOf(label);
  show();
}

// the server sends what has changed; what the user has drawn meanwhile stays
watch("value", () => {
  const news = Object.fromEntries((props.value.news ?? []).map(name => [name, props.value[name]]));
  if (news.regions) all = { ...news.regions };
  last = { ...last, ...news };
  publish();
  draw();
});
draw();
