// The prompt as words to click on. The server reads it again after every change, so what is shown is what a run uses.
function groupsOf(words) {
  const groups = [];
  words.forEach((word, index) => { if (word.entity >= 0) (groups[word.entity] ??= []).push(index); });
  return groups.map(group => [...group.filter(i => !words[i].noun), ...group.filter(i => words[i].noun)]);
}

function send(groups) {
  closeMenu();
  props.value = { ...props.value, groups };
  trigger("edit");
}

function without(indices) {
  return groupsOf(props.value.words).map(group => {
    const kept = group.filter(i => !indices.includes(i));
    return kept.length && kept[kept.length - 1] === group[group.length - 1] ? kept : [];
  });
}

const leaveOut = entity => send(groupsOf(props.value.words).filter((_, number) => number !== entity));
const bring = indices => send([...without(indices), indices]);

let menu = null;
function closeMenu() { menu?.remove(); menu = null; }

function openMenu(button, index) {
  closeMenu();
  const words = props.value.words, word = words[index], groups = groupsOf(words);
  const nameOf = entity => props.value.labels[entity];
  const choice = (text, act, tint) => make("button", { type: "button", class: "choice", onclick: act,
    style: tint === undefined ? {} : { "--tint": colour(tint) } }, tint === undefined ? "" : make("i"), text);
  const choices = [];
  if (word.entity >= 0 && word.noun) choices.push(choice(`Leave out “${nameOf(word.entity)}”`, () => leaveOut(word.entity)));
  if (word.entity >= 0 && !word.noun) choices.push(choice(`Leave out “${word.text}”`, () => send(without([index]))));
  if (word.entity < 0 || !word.noun) choices.push(choice(`“${word.text}” is an entity`, () => bring([index])));
  groups.forEach((group, entity) => {
    if (entity === word.entity) return;
    const noun = words[group[group.length - 1]].text;
    choices.push(choice(`“${word.text}” describes “${noun}”`, () => {
      const target = group[group.length - 1];
      send(without([index]).map(own => own[own.length - 1] === target ? [index, ...own] : own));
    }, entity));
  });
  const why = word.entity < 0 && word.why ? make("p", { class: "why" }, `Left out: ${word.why}.`) : null;
  menu = make("div", { class: "menu", role: "menu" }, why, ...choices);
  root.append(menu);
  const left = Math.min(button.offsetLeft, root.clientWidth - menu.offsetWidth - 4);
  menu.style.left = `${Math.max(0, left)}px`;
  menu.style.top = `${button.offsetTop + button.offsetHeight + 6}px`;
  menu.querySelector("button")?.focus();
}

addEventListener("click", event => { if (menu && !menu.contains(event.target) && !event.target.closest?.(".word")) closeMenu(); });
element.addEventListener("keydown", event => { if (event.key === "Escape") closeMenu(); });

function draw() {
  closeMenu();
  const value = props.value ?? {}, words = value.words ?? [];
  const line = make("p", { class: "words" });
  words.forEach((word, index) => {
    line.append(word.before);
    if (!/[\p{L}\p{N}]/u.test(word.text)) { line.append(word.text); return; }
    const kind = word.entity >= 0 ? (word.noun ? "word noun" : "word modifier") : word.why ? "word unused" : "word";
    const says = word.entity >= 0 ? `${word.text}: part of ${value.labels[word.entity]}` : word.why ? `${word.text}: left out, ${word.why}` : word.text;
    const button = make("button", { type: "button", class: kind, "data-word": index, title: word.why || null, "aria-label": says,
      style: word.entity >= 0 ? { "--tint": colour(word.entity) } : {}, onclick: () => openMenu(button, index) }, word.text);
    line.append(button);
  });
  const chips = (value.labels ?? []).map((label, entity) => make("span", { class: "chip", style: { "--tint": colour(entity) } }, label,
    make("button", { type: "button", "data-leave": entity, "aria-label": `Leave out ${label}`, title: "Leave out", onclick: () => leaveOut(entity) }, "×")));
  const left = [];
  words.forEach((word, index) => {
    if (word.entity >= 0 || !word.why) return;
    const last = left[left.length - 1];
    if (last && last.why === word.why && last.indices[last.indices.length - 1] === index - 1) last.indices.push(index);
    else left.push({ why: word.why, indices: [index] });
  });
  const gone = left.map(({ why, indices }) => {
    const own = indices.filter(i => /[\p{L}\p{N}]/u.test(words[i].text)), text = own.map(i => words[i].text).join(" ");
    return own.length ? make("button", { type: "button", class: "chip gone", "aria-label": `Bring back ${text}`, title: "Make it an entity",
      onclick: () => bring(own) }, text, make("small", {}, why), make("b", {}, "+")) : null;
  });
  const empty = words.length && !chips.length ? make("span", { class: "none" }, "No entity found. Click a word that the picture should show.") : null;
  const reset = value.entities === null || value.entities === undefined ? null
    : make("button", { type: "button", class: "link", "data-reset": true, onclick: () => send(null) }, "back to the parser’s reading");
  root.replaceChildren(line, make("div", { class: "chips" }, empty, ...chips, ...gone, reset), value.note ? make("p", { class: "note" }, value.note) : "");
}

watch("value", draw);
draw();
