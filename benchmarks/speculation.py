"""Speculative decoding by prompt lookup: the time of an answer with it over that without, where a text copies and not.

    python benchmarks/speculation.py --drafts 2 4 8

SmolLM2-135M-Instruct (``kzoo pull smollm2-135m-instruct``), one prompt at a time, greedy, at most 64 new tokens, the
reading of the prompt counted in. 20 prompts ask for a text that holds much of what they hold (a paragraph corrected or
summarized, a list or code continued), 20 are open questions. One process and one copy of the weights; the loops are
asked in turn for each prompt, in an order that changes. Texts that are not those of the plain loop are counted.
"""

import argparse
import os
import statistics
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import harness

NEW = 64
PARAGRAPHS = [
    "The city zoo opened its new aviary on Monday. More than two hundred birds from four continents now live "
    "under one glass roof. Visitors walk through three climates, from a dry savanna to a wet mountain forest. "
    "The director said that the building uses half of the energy of the old one.",
    "Maria Keller has worked as a train driver for eleven years. Every morning at five she checks the brakes, "
    "the doors and the lights of her train. She likes the long line along the river best. In winter the tracks "
    "are often covered with snow, and the journey takes an hour longer.",
    "The library will be closed from the third to the ninth of August. During that week the heating is "
    "replaced and the reading room gets new tables. Books that are due in the week may be returned a week "
    "later. The book drop at the side entrance stays open.",
    "A compost heap needs air, water and a mixture of green and brown material. Kitchen scraps and grass are "
    "green, dry leaves and straw are brown. Turn the heap every two weeks so that air gets in. After six "
    "months the compost is dark and smells of forest.",
]
ORDERS = [
    "Repeat this text, but write it in the past tense.\n\n{}",
    "Correct the spelling of this text and return all of it.\n\n{}",
    "Summarize this text in two sentences.\n\n{}",
]
LISTS = [
    "Continue this list up to Sunday:\nMonday: open from 9 to 17\nTuesday: open from 9 to 17\nWednesday: open "
    "from 9 to 17",
    "Continue this list:\n1 x 7 = 7\n2 x 7 = 14\n3 x 7 = 21\n4 x 7 = 28",
    "Continue the table for the planets:\n| planet | kind |\n| Mercury | rocky planet |\n| Venus | rocky planet |\n",
    "Continue this list of instructions:\nStep 1: Take the red box and put it on the table.\nStep 2: Take the "
    "blue box and put it on the table.\nStep 3: Take the green box and put it on the table.",
]
CODE = [
    "Write this function again with the name total_price:\n\ndef total(items):\n    result = 0\n    for item "
    "in items:\n        result = result + item.price * item.count\n    return result",
    "Add a docstring to this function:\n\ndef largest(numbers):\n    best = numbers[0]\n    for number in "
    "numbers:\n        if number > best:\n            best = number\n    return best",
    'Continue the JSON with two more people:\n[{"name": "Anna", "age": 31, "city": "Bern"},\n {"name": "Bela", '
    '"age": 27, "city": "Graz"},',
    "Write setters for name, age and city like these getters:\n\ndef get_name(self):\n    return "
    "self.name\n\ndef get_age(self):\n    return self.age\n\ndef get_city(self):\n    return self.city",
]
OPEN = [
    "What is the capital of France?",
    "Why is the sky blue?",
    "How do I make a good cup of tea?",
    "Tell me a short story about a fox.",
    "What are the benefits of walking every day?",
    "Explain photosynthesis to a child.",
    "Who was Marie Curie?",
    "How does a bicycle stay upright?",
    "Give me an idea for a birthday present.",
    "What should I see in Rome?",
    "Why do cats purr?",
    "How can I sleep better?",
    "What is the difference between weather and climate?",
    "Write a poem about the sea.",
    "How does a refrigerator work?",
    "What makes a good teacher?",
    "Why did the Roman Empire fall?",
    "How do vaccines work?",
    "Describe a winter morning in the mountains.",
    "What is inflation?",
]
KINDS = {
    "copies": [order.format(text) for order in ORDERS for text in PARAGRAPHS] + LISTS + CODE,
    "does not": OPEN,
}


def count_readings(backbone):
    """Counts, in the graph, how often a decoder reads behind a prompt."""
    import tensorflow as tf

    counter, step = tf.Variable(0), backbone.step

    def counting(token_ids, *given, **named):
        if token_ids.shape[1] is not None:  # that of a prompt is not known
            counter.assign_add(1)
        return step(token_ids, *given, **named)

    backbone.step = counting
    return counter


def main() -> None:
    """Measures and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--drafts", type=int, nargs="+", default=[4], help="tokens read ahead")
    parser.add_argument("--rounds", type=int, default=3, help="times that each prompt is asked")
    parser.add_argument("--batch", type=int, default=1, help="prompts at once")
    options = parser.parse_args()

    import tensorflow as tf

    import kzoo

    pretrained = kzoo.load("smollm2-135m-instruct")
    counter = count_readings(pretrained.backbone)
    print(
        harness.machine(["tensorflow", "keras"]), "load", *(f"{one:.1f}" for one in os.getloadavg()), "\n", flush=True
    )
    tasks = {
        number: kzoo.Generate(pretrained, chat=True, max_length=512, max_new_tokens=NEW, speculates=number)
        for number in (0, *options.drafts)
    }

    def ask(number, prompts):
        writer = tasks[number].writer
        counter.assign(0)
        begin = time.perf_counter()
        found = writer.function("generate")(prompt=tf.constant(prompts), **writer.values())
        texts = found["text"].numpy().tolist()
        return time.perf_counter() - begin, int(found["count"].numpy().max()), int(counter), texts

    columns = {
        "text": lambda row: row["kind"],
        "draft": lambda row: str(row["number"]),
        "ms a token without": lambda row: f"{row['usual'] * 1e3:.1f}",
        "time over that without (quartiles)": lambda row: "{1:.2f} ({0:.2f} to {2:.2f})".format(*row["ratios"]),
        "slowest, fastest prompt": lambda row: f"{row['worst']:.2f}, {row['best']:.2f}",
        "tokens a reading": lambda row: f"{row['tokens'] / row['readings']:.2f}",
        "other texts": lambda row: f"{row['others']} of {row['asked']}",
    }
    for number in tasks:
        ask(number, KINDS["copies"][: options.batch])  # traced
    rows = []
    for kind, prompts in KINDS.items():
        batches = [prompts[start : start + options.batch] for start in range(0, len(prompts), options.batch)]
        found = {number: [] for number in tasks}
        for place, batch in enumerate(batches):
            rounds = []
            for turn in range(options.rounds):
                order = list(tasks) if (place + turn) % 2 == 0 else list(tasks)[::-1]
                rounds.append({number: ask(number, batch) for number in order})
            for number in tasks:
                ratio = statistics.median(one[number][0] / one[0][0] for one in rounds)
                found[number].append((ratio, *rounds[0][number][1:], statistics.median(one[0][0] for one in rounds)))
        for number in options.drafts:
            ratios = [one[0] for one in found[number]]
            rows.append(
                {
                    "kind": kind,
                    "number": number,
                    "usual": statistics.median(one[4] / max(one[1], 1) for one in found[0]),
                    "ratios": statistics.quantiles(ratios, n=4),
                    "worst": max(ratios),
                    "best": min(ratios),
                    "tokens": sum(one[1] for one in found[number]),
                    "readings": sum(one[2] for one in found[number]),
                    "others": sum(
                        text != other
                        for one, usual in zip(found[number], found[0], strict=True)
                        for text, other in zip(one[3], usual[3], strict=True)
                    ),
                    "asked": len(prompts),
                }
            )
    print(harness.table(rows, columns), "\nload", *(f"{one:.1f}" for one in os.getloadavg()))


if __name__ == "__main__":
    main()
