// A picture that is dropped anywhere on the page, or chosen: its bytes go to the server, which reads the recipe in it.
const MOST = 24 * 2 ** 20;
const input = make("input", { type: "file", accept: "image/png,image/jpeg,image/webp", hidden: true, onchange: () => { take(input.files[0]); input.value = ""; } });
const button = make("button", { type: "button", class: "link", onclick: () => input.click() }, "or choose one");
const said = make("span", { class: "note" });
root.replaceChildren(make("span", {}, "Drop a picture here to replay its recipe, "), button, input, said);

function take(file) {
  said.textContent = "";
  if (!file) return;
  if (file.size > MOST) { said.textContent = ` “${file.name}” is too large; expected at most 24 MB.`; return; }
  const reader = new FileReader();
  reader.onload = () => { props.value = { name: file.name, data: String(reader.result).split(",")[1] ?? "" }; trigger("drop"); };
  reader.onerror = () => { said.textContent = " The file cannot be read."; };
  reader.readAsDataURL(file);
}

const has = event => [...(event.dataTransfer?.types ?? [])].includes("Files");
addEventListener("dragover", event => { if (has(event)) { event.preventDefault(); root.classList.add("over"); } });
addEventListener("dragleave", event => { if (!event.relatedTarget) root.classList.remove("over"); });
addEventListener("drop", event => { if (has(event)) { event.preventDefault(); root.classList.remove("over"); take(event.dataTransfer.files[0]); } });
