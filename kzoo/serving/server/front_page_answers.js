// How answers are shown: each way says of which outputs it is, and draws one row's values.

// An element: properties by name ("class", "aria-..." and "style" as attributes), then children, text or elements.
function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in element && !name.includes("-")) element[name] = value; else element.setAttribute(name, value);
  }
  element.append(...children.flat().filter(child => child !== undefined && child !== null));
  return element;
}

const hues = [220, 25, 150, 285, 55, 335, 185, 95];  // far apart, those that are often confused not side by side
const shown = value => typeof value !== "number" ? String(value)
  : Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(4)));
const share = value => typeof value === "number" ? `${(100 * value).toFixed(1)} %` : String(value);
const number = value => make("span", {className: "number"}, shown(value));
const isShare = values => values.every(value => typeof value === "number" && value >= 0 && value <= 1.0001);

function bars(entries, {best = () => false} = {}) {  // entries: [label, value, note]
  const values = entries.map(([, value]) => Number(value) || 0), shares = isShare(entries.map(([, value]) => value));
  const top = shares ? 1 : Math.max(1e-9, ...values.map(Math.abs));
  return make("ol", {className: "bars"}, entries.map(([label, value], index) =>
    make("li", {className: best(index) ? "best" : ""}, make("span", {}, label),
      make("span", {className: "number"}, shares ? share(value) : shown(value)),
      make("span", {className: "track", "aria-hidden": "true"},
        make("span", {style: `width:${Math.min(100, 100 * Math.abs(values[index]) / top)}%`})))));
}

const facts = (pairs) => make("dl", {className: "facts"}, pairs.filter(([, value]) => value !== undefined)
  .map(([name, value]) => [make("dt", {}, name), make("dd", {}, value instanceof Node ? value : number(value))]).flat());

// A text with spans {start, end, draw} put in their place; offsets count Unicode code points, not UTF-16 units.
function placed(text, spans, className = "passage") {
  const points = [...text], parts = [];
  let at = 0;
  for (const span of [...spans].sort((one, other) => one.start - other.start)) {
    if (span.start < at || span.end <= span.start || span.end > points.length) continue;  // lies in the one before
    parts.push(points.slice(at, span.start).join(""), span.draw(points.slice(span.start, span.end).join("")));
    at = span.end;
  }
  return make("p", {className}, parts, points.slice(at).join(""));
}

const marked = (kind, score, hue, note = "") => words => make("mark",
  {style: `--hue:${hue}`, title: score === undefined ? kind : `${kind} ${share(score)}`}, words,
  kind ? make("small", {}, kind) : null, note);

// The values of rows that are filled up to the longest: the first `count` of them, as objects.
function entries(values, names) {
  const count = values.count ?? values[names[0]].length;
  return Array.from({length: count}, (_, index) =>
    Object.fromEntries(names.map(name => [name, values[name][index]])));
}

function drawEntities(values, asked, kindOf) {
  const found = kindOf(values), kinds = [...new Set(found.map(one => one.kind))].sort();
  const hue = kind => hues[kinds.indexOf(kind) % hues.length];
  const spans = found.map(one => ({...one, draw: marked(one.kind, one.score, hue(one.kind))}));
  const table = make("table", {}, make("thead", {}, make("tr", {}, ["Text", "Kind", "Score"].map(title =>
    make("th", {scope: "col"}, title)))), make("tbody", {}, found.map(one => make("tr", {},
    make("td", {}, one.text), make("td", {}, one.kind), make("td", {className: "number"}, share(one.score))))));
  return [placed(asked.text ?? "", spans), found.length ? table : make("p", {className: "quiet"}, "Nothing found.")];
}

function cosine(one, other) {
  const dot = (a, b) => a.reduce((sum, value, index) => sum + value * b[index], 0);
  return dot(one, other) / Math.sqrt(dot(one, one) * dot(other, other));
}

function drawSettled(values) {  // entries that stand for themselves, whatever the signature is called
  return facts(Object.entries(values).map(([name, value]) => [name, Array.isArray(value) || typeof value === "object"
    ? make("code", {}, JSON.stringify(value)) : make("span", {}, shown(value))]));
}

const mask = /(\[MASK\]|<mask>)/;
const has = (outputs, ...names) => names.every(name => name in outputs);
const rank = (outputs, name) => (outputs[name] ?? []).length;

// In order; the first that knows a signature's outputs draws it: draw(values, asked, all) of the first row, what was
// asked, and all rows {values, asked}. A new kind of signature is one more entry.
const ways = [
  {  // explain: what each token has to do with the answer
    knows: outputs => has(outputs, "attribution", "start", "end"),
    draw(values, asked) {
      const texts = "text_pair" in asked ? [asked.text, asked.text_pair] : [asked.text ?? Object.values(asked)[0]];
      const tokens = entries({text_index: values.attribution.map(() => 0), ...values},
        ["attribution", "start", "end", "text_index"]);
      const most = Math.max(1e-9, ...tokens.map(one => Math.abs(one.attribution)));
      const weighed = one => words => make("span", {
        title: `${words}: ${shown(one.attribution)}`,
        style: `background:hsl(${one.attribution < 0 ? 25 : 220} 90% 55% / ${(.75 * Math.abs(one.attribution) / most).toFixed(3)})`,
      }, words);
      const verdict = values.label === undefined ? [] : [make("p", {className: "verdict"}, values.label)];
      const strongest = [...tokens].sort((a, b) => Math.abs(b.attribution) - Math.abs(a.attribution)).slice(0, 8);
      return [...verdict, ...texts.map((text, index) => placed(text, tokens.filter(one => one.text_index === index)
        .map(one => ({...one, draw: weighed(one)})), "passage weighed")),
      make("p", {className: "quiet"}, "Blue speaks for the answer, orange against it. The strongest:"),
      make("table", {}, make("tbody", {}, strongest.map(one => make("tr", {},
        make("td", {}, [...texts[one.text_index]].slice(one.start, one.end).join("")),
        make("td", {className: "number"}, `${one.attribution > 0 ? "+" : ""}${shown(one.attribution)}`))))),
      facts([["score", values.score], ["score of nothing", values.baseline_score], ["not explained", values.gap]])];
    },
  },
  {  // search: the passages nearest to a question
    knows: outputs => has(outputs, "text", "score", "index") && rank(outputs, "text") === 2,
    draw: values => [make("ol", {className: "results"}, entries(values, ["text", "score", "index"]).map(one =>
      make("li", {}, make("div", {}, one.text),
        make("span", {className: "quiet"}, "score ", number(one.score), `, number ${one.index}`))))],
  },
  {  // tag, every word
    knows: outputs => has(outputs, "text", "label", "start", "end", "count"),
    draw: (values, asked) => drawEntities(values, asked, values => entries(values, ["text", "label", "score", "start", "end"])
      .filter(one => one.label !== "O").map(one => ({...one, kind: one.label}))),
  },
  {  // tag
    knows: outputs => has(outputs, "text", "type", "start", "end"),
    draw: (values, asked) => drawEntities(values, asked, values =>
      entries(values, ["text", "type", "score", "start", "end"]).map(one => ({...one, kind: one.type}))),
  },
  {  // answer, the best one or several
    knows: outputs => has(outputs, "answer", "start", "end"),
    draw(values, asked) {
      const several = Array.isArray(values.answer);
      const found = several ? entries(values, ["answer", "score", "start", "end"]) : [values];
      const passage = asked.context ?? asked.text ?? "";
      const best = found[0] ?? {answer: "", start: 0, end: 0};
      return [
        make("p", {className: "verdict"}, best.answer || "No answer stands in the passage."),
        placed(passage, best.answer ? [{...best, draw: marked("answer", best.score, hues[0])}] : []),
        several ? bars(found.map(one => [one.answer || "no answer", one.score]), {best: index => index === 0}) : null,
        facts([["score", several ? undefined : best.score], ["score of no answer", values.no_answer_score],
          ["margin", values.margin]]),
      ];
    },
  },
  {  // classify
    knows: outputs => has(outputs, "scores", "classes") && rank(outputs, "classes") === 2 && rank(outputs, "scores") === 2,
    draw(values) {
      const pairs = values.classes.map((name, index) => [name, values.scores[index]]);
      const several = Array.isArray(values.labels);
      const chosen = several ? values.labels.slice(0, values.count) : [values.label ?? [...pairs].sort((a, b) => b[1] - a[1])[0][0]];
      const sorted = [...pairs].sort((a, b) => b[1] - a[1]);
      return [make("p", {className: "verdict"}, chosen.join(", ") || "none of them"),
        bars(sorted, {best: index => chosen.includes(sorted[index][0])})];
    },
  },
  {  // fill_mask
    knows: outputs => has(outputs, "words", "scores") && rank(outputs, "words") === 3,
    wants: text => mask.test(text),
    draw(values, asked) {
      const masks = values.words.slice(0, values.count), scores = values.scores.slice(0, values.count);
      const holes = (asked.text ?? "").split(mask);
      let hole = 0;
      const filled = holes.map(part => mask.test(part) && hole < masks.length
        ? make("mark", {style: `--hue:${hues[0]}`}, masks[hole++][0].trim()) : part);
      return [make("p", {className: "passage"}, filled), ...masks.map((words, index) => [
        masks.length > 1 ? make("h3", {}, `Mask ${index + 1}`) : null,
        bars(words.map((word, place) => [word, scores[index][place]]), {best: place => place === 0})]).flat(),
      masks.length ? null : make("p", {className: "quiet"}, "The text has no mask: write [MASK] where a word is missing.")];
    },
  },
  {  // embed: two texts are compared
    knows: outputs => has(outputs, "embedding") && rank(outputs, "embedding") === 2,
    compares: true,
    draw(values, asked, all) {
      const norm = vector => Math.sqrt(vector.reduce((sum, value) => sum + value * value, 0));
      const vectors = all.map(one => one.values.embedding);
      const told = vectors.map((vector, index) => make("tr", {}, make("td", {}, all[index].asked.text ?? `text ${index + 1}`),
        make("td", {className: "number"}, String(vector.length)), make("td", {}, number(norm(vector))),
        make("td", {}, make("code", {}, `${vector.slice(0, 4).map(shown).join(", ")}${vector.length > 4 ? ", …" : ""}`))));
      const table = make("div", {className: "scroll"}, make("table", {}, make("thead", {}, make("tr", {},
        ["Text", "Size", "Norm", "The first"].map(title => make("th", {scope: "col"}, title)))), make("tbody", {}, told)));
      if (vectors.length < 2) return [make("p", {className: "quiet"}, "Write a second text to compare the two."), table];
      const alike = cosine(vectors[0], vectors[1]);
      const line = make("ol", {className: "bars", "aria-hidden": "true"}, make("li", {className: "best"},
        make("span", {className: "track"}, make("span", {style: `width:${50 * (alike + 1)}%`}))));
      return [make("p", {className: "verdict"}, "Cosine ", number(alike)), line,
        make("div", {className: "scale"}, ["−1 opposite", "0 unrelated", "1 alike"].map(end => make("span", {}, end))), table];
    },
  },
  {  // regress, also with a verdict in words
    knows: outputs => Object.keys(outputs).length === 1 && (has(outputs, "score") || has(outputs, "outputs")),
    draw: values => [make("p", {className: "verdict"}, number(Object.values(values)[0]))],
  },
  {  // score of a text: how likely a model finds it
    knows: outputs => has(outputs, "perplexity", "log_probability"),
    draw: values => [make("p", {className: "verdict"}, "Perplexity ", number(values.perplexity)),
      facts([["log-probability", values.log_probability], ["tokens", values.count]])],
  },
  {  // generate, one text or several
    knows: (outputs, inputs) => has(outputs, "text") && "prompt" in inputs,
    draw(values, asked) {
      const texts = Array.isArray(values.text) ? values.text : [values.text];
      const of = (name, index) => Array.isArray(values.text) && Array.isArray(values[name]) ? values[name][index] : values[name];
      const told = name => texts.length === 1 || Array.isArray(values[name]);
      return texts.map((text, index) => [
        make("p", {className: "passage"}, asked.prompt, make("span", {className: "new"}, text)),
        facts([["ended by", "finish_reason" in values && told("finish_reason")
          ? make("span", {}, String(of("finish_reason", index))) : undefined],
        ["new tokens", of("count", index)], ["log-probability", of("log_probability", index)]]),
      ]).flat();
    },
  },
  {knows: () => true, draw: values => [drawSettled(values)]},
];
