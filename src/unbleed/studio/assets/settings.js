// The settings of the method that differ from its default on this model. Others are behind the list.
function set(name, change) {
  const changes = { ...props.value.changes };
  if (change === undefined) delete changes[name]; else changes[name] = change;
  props.value = { ...props.value, changes };
}

function field(row, current) {
  if (row.kind === "switch") {
    const box = make("input", { type: "checkbox", "aria-label": row.name, onchange: () => set(row.name, box.checked) });
    box.checked = current === true;
    return box;
  }
  const input = make("input", { type: row.kind === "number" ? "number" : "text", step: "any", "aria-label": row.name, "data-setting": row.name,
    onchange: () => {
      let value = input.value;
      try { value = JSON.parse(value); } catch { /* a text */ }
      set(row.name, value === "" ? null : value);
    } });
  input.value = typeof current === "string" ? current : JSON.stringify(current);
  return input;
}

function draw() {
  const value = props.value ?? { rows: [], changes: {} };
  const changed = value.rows.filter(row => row.name in value.changes);
  const rows = changed.map(row => make("div", { class: "setting" },
    make("label", {}, make("code", {}, row.name), field(row, value.changes[row.name])),
    make("button", { type: "button", class: "link", "aria-label": `Reset ${row.name}`, onclick: () => { set(row.name); draw(); } },
      `back to ${JSON.stringify(row.default)}`),
    make("p", { class: "help" }, row.help + (row.source ? ` (default: ${row.source})` : ""))));
  const rest = value.rows.filter(row => !(row.name in value.changes));
  const list = make("select", { "aria-label": "Change a setting", onchange: () => {
    const row = value.rows.find(one => one.name === list.value);
    if (row) { set(row.name, row.default); draw(); root.querySelector(`[data-setting="${CSS.escape(row.name)}"]`)?.focus(); }
  } }, make("option", { value: "" }, changed.length ? "Change another setting …" : "Change a setting …"),
    ...rest.map(row => make("option", { value: row.name, title: row.help }, `${row.name} = ${JSON.stringify(row.default)}`)));
  root.replaceChildren(value.about ? make("p", { class: "help" }, value.about) : "", ...rows, rest.length ? list : "");
}

watch("value", draw);
draw();
