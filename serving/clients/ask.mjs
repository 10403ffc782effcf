// Asks a served model over REST; needs Node 18 or later and no package.
//
// node ask.mjs reviews "A film to remember." "Dull."
// node ask.mjs story "Once upon a time" --signature generate --set temperature=0.8 --set seed=1
// node ask.mjs reviews "A film to remember." --label stable --address https://localhost:8443
//
// Over REST every input of a signature must be set; those that have a default are filled in from the server's metadata.
// For TLS with a certificate of your own: NODE_EXTRA_CA_CERTS=certificate.pem node ask.mjs ...
import { parseArgs } from "node:util";

const options = {
  address: { type: "string", default: "http://127.0.0.1:8501" },
  signature: { type: "string", default: "serving_default" },
  set: { type: "string", multiple: true, default: [] },
  label: { type: "string" },
  timeout: { type: "string", default: "30" },
};

/** Where a model, or the version of it that a label names, is asked. */
export function place(address, model, label) {
  const chosen = label ? `/labels/${encodeURIComponent(label)}` : "";
  return `${address}/v1/models/${encodeURIComponent(model)}${chosen}`;
}

/** The server's reply, parsed; throws an Error with the server's own words when it refuses. */
export async function ask(url, body, seconds = 30) {
  const sent = body === undefined ? {} : {
    method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json" },
  };
  let reply;
  try {
    reply = await fetch(url, { ...sent, signal: AbortSignal.timeout(1000 * seconds) });
  } catch (error) {
    throw new Error(`No server answers at ${url}: ${error.cause?.message ?? error.message}.`);
  }
  const text = await reply.text();
  if (!reply.ok) throw new Error(`The server answered ${reply.status}: ${text}`);
  return JSON.parse(text);
}

/** Names of a signature's inputs, and the defaults of those that have one. */
export async function inputsOf(model, signature, seconds) {
  const reply = await ask(`${model}/metadata`, undefined, seconds);
  const signatures = reply.metadata.signature_def.signature_def;
  if (!(signature in signatures)) {
    throw new Error(`There is no signature ${signature}; there are ${Object.keys(signatures).sort().join(", ")}.`);
  }
  const defaults = {};
  for (const [name, tensor] of Object.entries(signatures[signature].defaults ?? {})) {
    const field = Object.keys(tensor).find((key) => key.endsWith("_val") && tensor[key].length);
    if (field === undefined) continue;
    const value = tensor[field][0];
    defaults[name] = field === "string_val" ? Buffer.from(value, "base64").toString() : Number(value);
  }
  return { names: Object.keys(signatures[signature].inputs), defaults };
}

async function main() {
  const { values, positionals } = parseArgs({ options, allowPositionals: true });
  const [model, ...texts] = positionals;
  if (texts.length === 0) throw new Error("Usage: node ask.mjs MODEL TEXT... [--signature NAME] [--set NAME=VALUE]");
  const target = place(values.address, model, values.label);
  const { names, defaults } = await inputsOf(target, values.signature, values.timeout);
  const knobs = { ...defaults };
  for (const pair of values.set) {
    const [name, ...value] = pair.split("=");
    knobs[name] = JSON.parse(value.join("="));
  }
  const left = names.filter((name) => !(name in knobs));
  if (left.length !== 1) throw new Error(`Set every input but the text; left are: ${left.sort().join(", ") || "none"}.`);
  const instances = texts.map((text) => ({ ...knobs, [left[0]]: text }));
  const reply = await ask(`${target}:predict`, { signature_name: values.signature, instances }, values.timeout);
  for (const answer of reply.predictions) console.log(JSON.stringify(answer));
}

if (process.argv[1] && import.meta.url.endsWith(process.argv[1].split("/").pop())) {
  main().catch((error) => {
    console.error(error.message);
    process.exitCode = 1;
  });
}
