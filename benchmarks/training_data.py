"""The texts of the training benchmark, as token ids: the same rows for every peer.

A round trains once over the same rows. They are drawn from a corpus so that each bucket of lengths holds whole batches
in the corpus's own proportions, as the batches of a long epoch do; so few rows would else end with a partial
batch a bucket, in whichever peer has buckets.
"""

from pathlib import Path

import numpy as np

LENGTH = 128
BATCH = 8
SHORTEST = 12  # speeches of fewer tokens are "Exeunt." and the like
BUCKETS = (16, 24, 32, 40, 48, 64, 80, 96, 128)  # kzoo's own up to 128, and KerasHub's


def paragraphs(file: str | None) -> list[str]:
    """The paragraphs of a text file, or the speeches of Shakespeare's plays."""
    from kzoo.data import pull

    files = [Path(file)] if file else sorted(Path(pull("shakespeare")).rglob("*.txt"))
    texts = (part.strip() for one in files for part in one.read_text(encoding="utf-8").split("\n\n"))
    return [text for text in texts if text]


def tokenizer(kind: str):
    """Hugging Face's Rust tokenizer: BERT's, which frames a text, or GPT-2's."""
    import tokenizers

    from kzoo.data import pull

    if kind == "bert":
        made = tokenizers.Tokenizer.from_file(str(Path(pull("minilm-l6-v2")) / "tokenizer.json"))
        made.no_padding()
        made.no_truncation()
        return made
    folder = Path(pull("gpt2-tokenizer"))
    model = tokenizers.models.BPE.from_file(str(folder / "encoder.json"), str(folder / "vocab.bpe"))
    made = tokenizers.Tokenizer(model)
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    return made


def masked_rows(file: str | None, steps: int, *, equal: bool) -> tuple[list[str], list[list[int]]]:
    """Texts for BERT and their ids, framed; longer ones are cut to 128 tokens.

    Args:
        file: see ``paragraphs``.
        steps: batches of 8.
        equal: whether all have 128 tokens, else lengths are mixed as the corpus has them.

    Returns:
        The texts, and each one's ids.
    """
    bert = tokenizer("bert")
    kept: dict[int, list[tuple[str, list[int]]]] = {bucket: [] for bucket in BUCKETS}
    for text, encoding in zip(texts := paragraphs(file), bert.encode_batch(texts), strict=True):
        ids = encoding.ids
        if len(ids) > LENGTH:
            text = text[: encoding.offsets[LENGTH - 2][1]]
            ids = bert.encode(text).ids
        if SHORTEST <= len(ids) <= LENGTH:
            kept[BUCKETS[np.searchsorted(BUCKETS, len(ids))]].append((text, ids))
    if equal:
        rows = [one for one in kept[LENGTH] if len(one[1]) == LENGTH][: steps * BATCH]
    else:
        rows = []
        for bucket, count in shares({bucket: len(of) for bucket, of in kept.items()}, steps).items():
            stride = max(1, len(kept[bucket]) // max(1, count * BATCH))
            rows += kept[bucket][::stride][: count * BATCH]
    if len(rows) < steps * BATCH:
        raise SystemExit(f"The text has too few paragraphs: {len(rows)} of the {steps * BATCH} rows needed.")
    return [text for text, _ in rows], [ids for _, ids in rows]


def shares(sizes: dict[int, int], steps: int) -> dict[int, int]:
    """Steps in proportion to sizes, by largest remainder."""
    exact = {key: size * steps / sum(sizes.values()) for key, size in sizes.items()}
    given = {key: int(value) for key, value in exact.items()}
    for key in sorted(exact, key=lambda key: given[key] - exact[key])[: steps - sum(given.values())]:
        given[key] += 1
    return given


def documents(file: str | None, steps: int, *, equal: bool) -> list[str]:
    """Texts for GPT-2: paragraphs of about so many batches of 8 blocks; ``equal``: of a block's length each."""
    gpt2 = tokenizer("gpt2")
    made, tokens = [], 0
    for text in paragraphs(file):
        encoding = gpt2.encode(text)
        size = len(encoding.ids)
        if equal:
            if size < LENGTH - 1:
                continue
            text = text[: encoding.offsets[LENGTH - 2][1]]
            if (size := len(gpt2.encode(text).ids)) != LENGTH - 1:
                continue
        elif size < SHORTEST:
            continue
        if tokens + size + 1 > steps * BATCH * LENGTH:
            break
        made.append(text)
        tokens += size + 1
    return made


def joined_blocks(texts: list[str], end_id: int) -> list[list[int]]:
    """Documents with an end token behind each, joined and cut to blocks of 128; the rest is left out."""
    ids = [one for encoding in tokenizer("gpt2").encode_batch(texts) for one in (*encoding.ids, end_id)]
    count = round(len(ids) / LENGTH / BATCH) * BATCH
    ids += ids[: max(0, count * LENGTH - len(ids))]
    return [ids[start : start + LENGTH] for start in range(0, count * LENGTH, LENGTH)]
