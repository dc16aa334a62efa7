// A benchmark run: prompts from top to bottom, methods from left to right. A click opens a picture.
let typing = 0;
function ask(change) {
  props.value = { ...props.value, ask: { ...props.value.wanted, page: 0, ...change } };
  trigger("ask");
}

function draw() {
  const value = props.value;
  if (!value?.rows) { root.replaceChildren(); return; }
  const { wanted, methods } = value;
  const pick = (name, options, current, change) => {
    const list = make("select", { "aria-label": name, onchange: () => change(list.value) }, ...options.map(([key, text]) => make("option", { value: key }, text)));
    list.value = current;
    return list;
  };
  const search = make("input", { type: "search", placeholder: "Search prompts", "aria-label": "Search prompts", maxlength: 200, oninput: () => {
    clearTimeout(typing); typing = setTimeout(() => ask({ text: search.value }), 300); } });
  search.value = wanted.text;
  const focused = document.activeElement?.type === "search" && root.contains(document.activeElement), caret = focused ? document.activeElement.selectionStart : 0;
  const bar = make("div", { class: "bar" },
    value.runs.length > 1 ? pick("Run", value.runs.map((name, i) => [String(i), name]), String(value.run), key => { props.value = { ...props.value, run: Number(key) }; ask({ group: "", text: "", kind: "all" }); }) : null,
    search,
    value.groups.length > 1 ? pick("Group", [["", "all groups"], ...value.groups.map(one => [one, one])], wanted.group, group => ask({ group })) : null,
    value.score ? pick("Which", [["all", "all prompts"], ["won", "where a method wins"], ["lost", "where a method loses"], ["differ", "where methods differ"]], wanted.kind, kind => ask({ kind })) : null,
    make("span", { class: "count" }, value.count === value.total ? `${value.total} prompts and seeds` : `${value.count} of ${value.total}`));
  const head = make("tr", {}, ...methods.map((name, i) => make("th", { scope: "col" }, name, make("small", {}, value.means[i]))));
  const body = value.rows.flatMap(row => [
    make("tr", { class: "prompt" }, make("td", { colspan: methods.length }, row.prompt, make("small", {}, ` seed ${row.seed}`))),
    make("tr", {}, ...row.cells.map((cell, method) => make("td", {}, make("button", { type: "button", class: cell.right === true ? "cell right" : cell.right === false ? "cell wrong" : "cell",
      "aria-label": `${methods[method]}: ${cell.words || (cell.right ? "right" : "picture")}. Open it in the studio`,
      onclick: () => { props.value = { ...props.value, open: [row.index, method] }; trigger("open"); } },
      cell.picture ? make("img", { src: cell.picture, alt: "", loading: "lazy" }) : "", make("small", {}, cell.words || (cell.right === true ? "right" : cell.right === false ? "wrong" : ""))))))]);
  const pages = make("div", { class: "bar pages" },
    make("button", { type: "button", class: "pick", disabled: wanted.page === 0, onclick: () => ask({ page: wanted.page - 1 }) }, "← Before"),
    make("span", { class: "count" }, `page ${wanted.page + 1} of ${value.pages}`),
    make("button", { type: "button", class: "pick", disabled: wanted.page + 1 >= value.pages, onclick: () => ask({ page: wanted.page + 1 }) }, "Next →"));
  const title = make("p", { class: "help" }, `${value.title}. ${value.score ? `Numbers: ${value.score}, mean over all of its prompts. ` : ""}Click a picture to open its recipe in the studio.`);
  root.replaceChildren(bar, title, make("div", { class: "scroll" }, make("table", {}, make("thead", {}, head), make("tbody", {}, ...body))), pages);
  if (focused) { search.focus(); search.setSelectionRange(caret, caret); }
}

watch("value", draw);
draw();
