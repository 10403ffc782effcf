// The form: made from the inputs of the chosen signature, sent as the API wants it.

const $ = id => document.getElementById(id);
const long = new Set(["text", "text_pair", "prompt", "context", "passage", "document", "inputs", "compare"]);
const leading = ["question", "prompt", "text", "text_pair", "context"];  // the order of the fields, then by name
const knobs = ["max_new_tokens", "temperature", "top_k", "top_p", "min_p", "seed", "stop", "min_new_tokens",
  "repetition_penalty", "presence_penalty", "frequency_penalty", "blocked_words", "logit_bias"];
const verbs = {classify: "Classify", tag: "Find entities", answer: "Answer", embed: "Compare", fill_mask: "Fill in",
  generate: "Write", regress: "Rate", search: "Search", few_shot: "Classify"};
const second = "compare";  // the second text, where a way of showing answers compares two

const available = models.map(model => ({...model, versions: model.versions.filter(one => one.state === "AVAILABLE")}))
  .filter(model => model.versions.length);
const chosenModel = () => available[$("model").value];
const chosenVersion = () => {
  const [kind, name] = JSON.parse($("version").value), model = chosenModel();
  const wanted = kind === "label" ? model.labels[name] : kind === "version" ? name : Math.max(...model.versions.map(one => one.version));
  return model.versions.find(one => one.version === wanted);
};
const signatureName = () => $("signature").value;
const signature = () => chosenVersion().signatures[signatureName()];
const way = () => ways.find(one => one.knows(signature().outputs, signature().inputs));
const words = name => name.replaceAll("_", " ");

function path() {
  const [kind, name] = JSON.parse($("version").value);
  const place = kind === "label" ? `/labels/${encodeURIComponent(name)}` : kind === "version" ? `/versions/${name}` : "";
  return `/v1/models/${encodeURIComponent(chosenModel().name)}${place}:${signature().api}`;
}

// Choosing

function fill(select, options) {
  select.replaceChildren(...options.map(([text, value]) => new Option(text, value)));
}

function showVersions() {
  const model = chosenModel(), newest = Math.max(...model.versions.map(one => one.version));
  const served = number => model.versions.some(one => one.version === number);
  fill($("version"), [[`newest (${newest})`, '["newest"]'],
    ...Object.entries(model.labels).filter(([, number]) => served(number)).sort()
      .map(([label, number]) => [`${label} (${number})`, JSON.stringify(["label", label])]),
    ...model.versions.map(one => [`version ${one.version}`, JSON.stringify(["version", one.version])])]);
  showSignatures();
}

function showSignatures() {
  const names = Object.keys(chosenVersion().signatures);
  fill($("signature"), names.map(name => [chosenVersion().signatures[name].refusal ? `${name} (refused here)` : name, name]));
  $("signature-field").hidden = names.length < 2;
  showForm();
}

// One field per input; what has a default goes to the settings

function field(name, input, value) {
  const id = `input-${name}`, more = "default" in input ? "" : ` ${input.note ?? ""}`;
  let control;
  if (input.shape === null || input.shape.length > 1) {
    control = make("textarea", {id, className: "code", value: JSON.stringify(value ?? sample(input.dtype, (input.shape ?? [1, 1]).slice(1)))});
  } else if (input.dtype === "string") {
    control = "default" in input || !long.has(name) ? make("input", {id, type: "text", value: value ?? ""})
      : make("textarea", {id, value: value ?? ""});
  } else if (input.dtype === "bool") {
    control = make("input", {id, type: "checkbox", checked: value ?? false});
  } else {
    const isWhole = /int/.test(input.dtype);
    control = make("input", {id, type: "number", step: isWhole ? "1" : "any", value: value ?? (isWhole ? 1 : 1.0)});
  }
  control.spellcheck = false;
  return make("div", {}, make("label", {htmlFor: id}, words(name), more.trim() ? make("span", {className: "quiet"}, ` ${more}`) : null), control);
}

const sample = (dtype, shape) => shape.length ? Array.from({length: shape[0] > 0 ? Math.min(shape[0], 8) : 1},
  () => sample(dtype, shape.slice(1))) : dtype === "string" ? "some text" : dtype === "bool" ? true : 1;

function fieldsOf(one) {  // name -> {dtype, shape, default?}: the inputs, or an example's features
  if (one.api === "predict") return one.inputs;
  return Object.fromEntries(one.features.map(name => [name, {dtype: "string", shape: [-1]}]));
}

function showForm() {
  const one = signature(), inputs = fieldsOf(one), kept = written;
  const isKept = (name, input) => kept[name] !== undefined && input.dtype === "string"
    && (way().wants?.(kept[name]) ?? true);  // not a text that this signature has no use for
  const value = (name, input) => "default" in input ? input.default : isKept(name, input) ? kept[name] : one.example[name];
  const place = (order, name) => order.includes(name) ? order.indexOf(name) : order.length;
  const chosen = (isKnob, order) => Object.entries(inputs).filter(([, input]) => ("default" in input) === isKnob)
    .sort(([one], [other]) => place(order, one) - place(order, other));
  const plain = chosen(false, leading), settings = chosen(true, knobs);
  $("fields").replaceChildren(...plain.map(([name, input]) => field(name, input, value(name, input))));
  if (way().compares) $("fields").append(field(second, {dtype: "string", shape: [-1], note: "(a second text)"}, kept[second] ?? ""));
  $("fields").className = plain.length > 4 ? "numbers" : "";
  $("knobs").replaceChildren(...settings.map(([name, input]) => field(name, input, value(name, input))));
  $("settings").hidden = !settings.length;
  $("send").textContent = verbs[one.api === "predict" && signatureName() === "serving_default" ? chosenVersion().task : ""] ?? "Ask";
  $("answer").replaceChildren(make("p", {className: "quiet"}, "Nothing asked yet."));
  settle("");
  showCurl();
}

// What a person wrote stays when another model or signature is chosen; an example does not
const written = {};

function keep(control) {
  if (control.closest("#fields") && control.type !== "checkbox" && !control.classList.contains("code")) {
    written[control.id.slice("input-".length)] = control.value;
  }
}

// Reading the form

class Mistake extends Error {
  constructor(id, message) { super(message); this.id = id; }
}

function read(name, input) {
  const control = $(`input-${name}`), text = control.value;
  control.removeAttribute("aria-invalid");
  if (input.shape === null || input.shape.length > 1) {
    try { return JSON.parse(text); } catch (error) { throw new Mistake(control.id, `${words(name)} must be JSON, as in [1, 2]: ${error.message}.`); }
  }
  if (input.dtype === "string") return text;
  if (input.dtype === "bool") return control.checked;
  const number = Number(text);
  if (text.trim() === "" || Number.isNaN(number)) throw new Mistake(control.id, `${words(name)} must be a number.`);
  if (/int/.test(input.dtype) && !Number.isInteger(number)) throw new Mistake(control.id, `${words(name)} must be a whole number. It is ${text}.`);
  return number;
}

function rows() {
  const inputs = fieldsOf(signature());
  const row = Object.fromEntries(Object.entries(inputs).map(([name, input]) => [name, read(name, input)]));
  const other = $(`input-${second}`);
  if (!other || !other.value) return [row];
  const name = Object.keys(inputs).find(one => inputs[one].dtype === "string");
  return [row, {...row, [name]: other.value}];
}

function request(asked) {
  const key = signature().api === "predict" ? "instances" : "examples";
  return JSON.stringify({signature_name: signatureName(), [key]: asked});
}

const quoted = text => "'" + text.replaceAll("'", "'\\''") + "'";

function showCurl() {
  try {
    $("curl").textContent = `curl -d ${quoted(request(rows()))} ${quoted(location.origin + path())}`;
  } catch (error) {
    $("curl").textContent = error.message;
  }
}

// Sending

// The API writes NaN and Infinity as bare words, which JSON.parse refuses: they are shown as words.
const parsed = text => JSON.parse(text.replace(/("(?:[^"\\]|\\.)*")|-?\bInfinity\b|\bNaN\b/g, (all, string) => string ?? `"${all}"`));

// Rows of named outputs, whichever of its forms the API chose
function answers(reply, one) {
  const names = Object.keys(one.outputs);
  if (one.api === "classify") return reply.results.map(pairs => ({classes: pairs.map(pair => pair[0]), scores: pairs.map(pair => pair[1])}));
  if (one.api === "regress") return reply.results.map(value => ({outputs: value}));
  return reply.predictions.map(row => names.length === 1 ? {[names[0]]: row} : row);
}

function showProblem(title, text) {
  $("answer").replaceChildren(make("p", {className: "problem", role: "alert"}, make("strong", {}, title), text));
}

let waiting;  // for the reply to the request sent last; a reply to an earlier one is not shown

function settle(told) {
  waiting?.abort();
  waiting = undefined;
  $("time").textContent = told;
  $("send").disabled = false;
  $("answering").setAttribute("aria-busy", "false");
}

async function send() {
  const start = performance.now(), one = signature(), chosen = way();
  let asked;
  try {
    asked = rows();
  } catch (mistake) {
    $(mistake.id).setAttribute("aria-invalid", "true");
    $(mistake.id).closest("details")?.setAttribute("open", "");
    $(mistake.id).focus();
    return showProblem("Not sent.", mistake.message);
  }
  settle("Waiting for the answer ...");
  const mine = waiting = new AbortController();
  $("send").disabled = true;
  $("answering").setAttribute("aria-busy", "true");
  try {
    const response = await fetch(path(), {method: "POST", body: request(asked), signal: mine.signal,
      headers: {"Content-Type": "application/json"}});
    const text = await response.text();
    if (mine !== waiting) return;
    settle(`${response.status} in ${Math.round(performance.now() - start)} ms`);
    $("reply").textContent = text;
    let reply;
    try { reply = parsed(text); } catch { return showProblem("The reply is not JSON.", text.slice(0, 2000)); }
    const hint = response.status === 404 ? "\nWhat is served may have changed: load this page again." : "";
    if (!response.ok) return showProblem(`The server refused the request (${response.status}).`, (reply.error ?? text) + hint);
    const all = answers(reply, one).map((values, index) => ({values, asked: asked[index]}));
    let drawn;
    try { drawn = chosen.draw(all[0].values, all[0].asked, all); } catch { drawn = [drawSettled(all[0].values)]; }
    $("answer").replaceChildren(...drawn.filter(part => part));
    $("answering").scrollIntoView({block: "nearest"});
  } catch (error) {
    if (mine !== waiting) return;
    settle("");
    showProblem("No reply.", `The server did not answer: ${error.message}`);
  }
}

// The table of what is served

function showModels() {
  for (const model of models) {
    const labels = version => Object.keys(model.labels).filter(label => model.labels[label] === version).sort();
    for (const one of model.versions) {
      const shape = dims => dims === null ? "" : dims.length > 1 ? `[${dims.map((size, index) => index ? size < 0 ? "?" : size : "B").join(", ")}]` : "";
      const listed = Object.entries(one.signatures).map(([name, {inputs, outputs}]) => make("code", {className: "signature"},
        `${name}(${Object.entries(inputs).map(([alias, input]) => `${alias}: ${input.dtype}${shape(input.shape)}`).join(", ")}) → `
        + Object.entries(outputs).map(([alias, dims]) => `${alias}${shape(dims)}`).join(", ")));
      $("models").append(make("tr", {}, make("td", {}, model.name), make("td", {}, [one.version, ...labels(one.version)].join(", ")),
        make("td", {}, make("span", {className: `state ${one.state}`}, one.state), one.error ? make("div", {className: "quiet"}, one.error) : null),
        make("td", {}, listed.length ? make("details", {}, make("summary", {},
          listed.length > 1 ? `${listed.length} signatures` : Object.keys(one.signatures)[0]), listed) : "")));
    }
  }
  const count = available.length;
  $("served").textContent = count ? `${count} model${count > 1 ? "s" : ""} on this server` : "No model is available yet: load this page again.";
}

showModels();
if (available.length) {
  fill($("model"), available.map((model, index) => [model.name, index]));
  $("model").onchange = showVersions;
  $("version").onchange = showSignatures;
  $("signature").onchange = showForm;
  $("form").oninput = event => { keep(event.target); showCurl(); };
  $("form").onsubmit = event => { event.preventDefault(); send(); };
  $("form").onkeydown = event => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); send(); } };
  showVersions();
} else {
  $("asking").hidden = $("answering").hidden = $("underneath").hidden = true;
}
