// The form at /docs: sends one row to /predict and shows the answer, and the curl that does the same.
"use strict";

const facts = JSON.parse(document.getElementById("facts").textContent);
const form = document.getElementById("form");
const fields = [...form.querySelectorAll("[data-column]")];
const bodyField = document.getElementById("body");
const imageField = document.getElementById("image");
const keyField = document.getElementById("key");
const answer = document.getElementById("answer");
const status = document.getElementById("status");
const command = document.getElementById("command");

/** A field's value: an empty one is missing; what is no number is sent as text, for the server to name. */
function value(field) {
  const text = field.value.trim();
  if (text === "") return null;
  if (field.dataset.type === "boolean") return text === "true";
  return field.dataset.type === "number" && Number.isFinite(Number(text)) ? Number(text) : text;
}

function body() {
  if (imageField) return imageField.files[0];
  if (bodyField) return bodyField.value;
  return JSON.stringify({ rows: [Object.fromEntries(fields.map((field) => [field.dataset.column, value(field)]))] });
}

function contentType() {
  return imageField ? imageField.files[0]?.type || "image/png" : "application/json";
}

function curl() {
  const key = facts.key ? " \\\n  -H \"authorization: Bearer $WINNOW_API_KEY\"" : "";
  const sent = imageField ? `--data-binary '@${body()?.name || "image.png"}'` : `-d '${body().replaceAll("'", "'\\''")}'`;
  return `curl -s ${facts.url}/predict \\\n  -H 'content-type: ${contentType()}'${key} \\\n  ${sent}`;
}

function element(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

function bars(probabilities) {
  const rows = Object.entries(probabilities).sort((a, b) => b[1] - a[1]).slice(0, 12);
  return rows.map(([name, value]) => {
    const row = element("div", undefined, "bar");
    const meter = element("meter");
    meter.value = value;
    row.append(element("span", name), meter, element("output", value.toFixed(4)));
    return row;
  });
}

function values(named) {
  return Object.entries(named).map(([name, value]) => element("div", `${name}: ${Number(value.toPrecision(7))}`));
}

function showPredictions(content) {
  answer.className = "";
  content.predictions.forEach((prediction, index) => {
    if (facts.classes) answer.append(element("strong", prediction), ...bars(content.probabilities[index]));
    else answer.append(...values(content.values[index]));
  });
}

function showProblem(problem) {
  answer.className = "fault";
  answer.append(element("strong", problem.title), element("div", problem.detail));
  const faulty = new Set((problem.errors || []).map((fault) => fault.column));
  for (const field of fields) field.classList.toggle("fault", faulty.has(field.dataset.column));
}

async function predict() {
  const headers = { "content-type": contentType() };
  if (keyField && keyField.value) headers.authorization = `Bearer ${keyField.value}`;
  status.textContent = "…";
  const started = performance.now();
  const response = await fetch("/predict", { method: "POST", headers, body: body() });
  const content = await response.json();
  status.textContent = `${response.status} in ${(performance.now() - started).toFixed(1)} ms`;
  answer.replaceChildren();
  answer.hidden = false;
  for (const field of fields) field.classList.remove("fault");
  if (response.ok) showPredictions(content);
  else showProblem(content);
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  predict().catch((error) => { status.textContent = `No answer: ${error.message}`; });
});
form.addEventListener("input", () => { command.textContent = curl(); });
document.addEventListener("click", async (event) => {
  if (!event.target.classList.contains("copy")) return;
  await navigator.clipboard.writeText(event.target.parentElement.querySelector("pre").textContent);
  event.target.textContent = "Copied";
  setTimeout(() => { event.target.textContent = "Copy"; }, 1200);
});
command.textContent = curl();
