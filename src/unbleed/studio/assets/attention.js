// Which pixels attend to a word, at any step, in the guided and the unguided picture. Everything is here already: no request.
const SCALE = [[12, 8, 38], [91, 16, 105], [187, 55, 84], [249, 142, 9], [252, 255, 164]];
const TABLE = Array.from({ length: 256 }, (_, level) => {
  const x = level / 255 * (SCALE.length - 1), low = Math.min(Math.floor(x), SCALE.length - 2);
  return SCALE[low].map((from, channel) => Math.round(from + (SCALE[low + 1][channel] - from) * (x - low)));
});
let word = 0, step = -1, loaded = [], known = null;
const bar = make("div", { class: "bar" }), slider = make("input", { type: "range", min: -1, max: 0, value: -1, "aria-label": "Denoising step" });
const told = make("output", {}), row = make("div", { class: "steps" }, slider, told), boards = make("div", { class: "boards" }), foot = make("p", { class: "help" });
slider.addEventListener("input", () => { step = Number(slider.value); show(); });

function levels(one) {
  const [h, w] = one.maps.grid, sums = new Float32Array(w * h), chosen = step < 0 ? one.maps.steps.map((_, i) => i) : [step];
  for (const at of chosen) for (let y = 0; y < h; y++) for (let x = 0; x < w; x++) sums[y * w + x] += one.pixels[((at * h + y) * one.wide + word * w + x) * 4];
  return { values: sums.map(x => x / chosen.length), w, h };
}

function show() {
  const first = loaded[0];
  if (!first) return;
  const both = loaded.map(levels), scaled = loaded.map((one, i) => ({ ...both[i], values: both[i].values.map(x => x / 255 * one.maps.peaks[word]) }));
  const peak = Math.max(...scaled.map(one => one.values.reduce((a, b) => Math.max(a, b), 0))) || 1;
  loaded.forEach((one, i) => {
    const { values, w, h } = scaled[i], small = make("canvas", { width: w, height: h }), pen = small.getContext("2d"), data = pen.createImageData(w, h);
    values.forEach((value, at) => { const [r, g, b] = TABLE[Math.round(255 * value / peak)]; data.data.set([r, g, b, 255], at * 4); });
    pen.putImageData(data, 0, 0);
    const context = one.board.getContext("2d");
    context.globalAlpha = 1; context.filter = "grayscale(1)"; context.drawImage(one.image, 0, 0, one.board.width, one.board.height);
    context.filter = "none"; context.globalAlpha = .72; context.imageSmoothingEnabled = true; context.imageSmoothingQuality = "high";
    context.drawImage(small, 0, 0, one.board.width, one.board.height); context.globalAlpha = 1;
    one.caption.textContent = `${one.title} · at most ${(100 * values.reduce((a, b) => Math.max(a, b), 0)).toFixed(0)} % of a pixel’s attention`;
  });
  told.textContent = step < 0 ? "all steps" : `step ${first.maps.steps[step]}`;
  for (const button of bar.querySelectorAll("button")) button.setAttribute("aria-pressed", String(Number(button.dataset.at) === word));
}

async function draw() {
  const shown = (props.value?.pictures ?? []).filter(one => one.maps), key = JSON.stringify(shown.map(one => one.key));
  if (!shown.length) { root.replaceChildren(make("p", { class: "quiet" }, props.value?.empty ?? "Draw a picture with “attention maps” on, and its maps are here.")); loaded = []; known = null; return; }
  if (key === known) return;
  known = key;
  const made = await Promise.all(shown.map(async one => {
    const [sheet, image] = await Promise.all([picture(one.maps.sheet), picture(one.picture)]);
    const copy = make("canvas", { width: sheet.width, height: sheet.height }), pen = copy.getContext("2d", { willReadFrequently: true });
    pen.drawImage(sheet, 0, 0);
    const factor = 384 / Math.max(image.width, image.height);
    const board = make("canvas", { width: Math.round(image.width * factor), height: Math.round(image.height * factor) });
    return { ...one, image, board, caption: make("figcaption"), wide: sheet.width, pixels: pen.getImageData(0, 0, sheet.width, sheet.height).data };
  }));
  if (key !== known) return;
  loaded = made;
  const { words, entities, steps, layers } = loaded[0].maps;
  word = words.length > word && entities[word] >= 0 ? word : Math.max(0, entities.findIndex(one => one >= 0));
  slider.max = steps.length - 1;
  if (step >= steps.length) step = -1;
  slider.value = step;
  bar.replaceChildren(...words.map((text, at) => make("button", { type: "button", class: "pick", "data-at": at, style: entities[at] < 0 ? {} : { "--tint": colour(entities[at]) },
    onclick: () => { word = at; show(); } }, entities[at] < 0 ? "" : make("i"), text)));
  boards.replaceChildren(...loaded.map(one => make("figure", {}, one.board, one.caption)));
  foot.textContent = `${layers}. Both pictures have one scale.`;
  root.replaceChildren(bar, row, boards, foot);
  show();
}

watch("value", draw);
draw();
