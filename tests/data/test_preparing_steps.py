"""Each step of a preparation by itself: what it changes, what it leaves, and bounds as their sources define them."""

import random
import subprocess
import sys

import numpy as np
import pytest

from kzoo.data.preparing.config import Duplicates, Filters, LanguageFilter, Normalization, Redaction
from kzoo.data.preparing.filters import MEASURES, Filter, Text
from kzoo.data.preparing.hash_table import ABSENT, HashTable
from kzoo.data.preparing.markup import without_tags
from kzoo.data.preparing.near_duplicates import FOUND, Signatures, bands_for, jaccard, shingles
from kzoo.data.preparing.normalizing import changes
from kzoo.data.preparing.repetition import repeated_lines, repeated_ngrams, top_ngram
from kzoo.data.preparing.seen import Seen
from kzoo.data.preparing.spool import Spool
from kzoo.errors import UserError


def normalized(text, *, document=None, **rules):
    for _, change in changes(Normalization(**rules), document=document):
        text = change(text)
    return text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cafe\u0301", "café"),
        ("ﬁne ²", "ﬁne ²"),
        ("a\x00b\x07\ufeffc\x9fd", "abcd"),
        ("one \t\r\ntwo\rthree", "one\ntwo\nthree"),
        ("\n\na\n\n\n\nb\n", "a\n\nb"),
        ("  def f():\n      return  1", "  def f():\n      return  1"),
        ("tab\there", "tab\there"),
        ("\ud83d half", "\ufffd half"),
        ("\u0646\u200c\u06cc 👩\u200d🚀", "\u0646\u200c\u06cc 👩\u200d🚀"),  # joiners mean something
        ("&amp; <b>x</b> http://a.b/c Ã¼", "&amp; <b>x</b> http://a.b/c Ã¼"),
    ],
)
def test_by_default_no_visible_character_changes(text, expected):
    assert normalized(text) == expected
    assert normalized(expected) == expected


@pytest.mark.parametrize(
    ("rules", "text", "expected"),
    [
        ({"unicode": "nfkc"}, "ﬁne ²", "fine 2"),
        ({"unicode": "keep"}, "cafe\u0301", "cafe\u0301"),
        ({"whitespace": "collapse"}, "  a \u00a0 b\t\tc \n  d ", "a b c\nd"),
        ({"whitespace": "keep"}, " a \r\n", " a \r\n"),
        ({"control_characters": False}, "a\x07", "a\x07"),
        ({"html": "entities"}, "&lt;b&gt; &amp; &eacute; R&D", "<b> & é R&D"),
        ({"html": "strip"}, "<p>One &amp; <b>two</b></p><script>x=1</script><p>1 < 2 <3", "One & two\n1 < 2 <3"),
        ({"urls": "placeholder"}, "see https://a.example/x?y=1. And www.b.example!", "see <URL>. And <URL>!"),
        ({"urls": "remove", "whitespace": "collapse"}, "see (http://a.example/x) now", "see () now"),
    ],
)
def test_choices(rules, text, expected):
    assert normalized(text, **rules) == expected


def test_mojibake():
    pytest.importorskip("ftfy")
    assert normalized("Ã¼ber, L&amp;M, sÃ­", mojibake=True) == "über, L&amp;M, sí"


def test_plain_documents_stay_one_line_or_one_paragraph():
    assert normalized("a&#10;b\r\nc", html="entities", document="line") == "a b c"
    assert normalized("a\n&#10;\nb", html="entities", document="paragraph") == "a\nb"


def test_tags():
    assert without_tags("<!-- c --><h1>T</h1><ul><li>a<li>b</ul>x<br/>y") == "T\na\nb\nx\ny"
    assert without_tags("if a < b and c > d: <3 <URL>") == "if a < b and c > d: <3"
    assert without_tags("no tags &copy;") == "no tags ©"


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("email", "ask jo.doe+x@mail.example.org.", "ask <EMAIL>."),
        ("email", "jürgen@müller.example, a@b, @name, x@y.1", "<EMAIL>, a@b, @name, x@y.1"),
        ("phone", "call +49 30 901820 or (650) 253-0000", "call <PHONE> or (650) 253-0000"),
        ("phone", "in 1994 1,234,567 people", "in 1994 1,234,567 people"),
        ("ip_address", "from 192.168.0.1, 2001:db8::ff00:42:8329.", "from <IP_ADDRESS>, <IP_ADDRESS>."),
        (
            "ip_address",
            "v 1.2.3.4.5, 999.1.1.1, 12:30:45, std::vector",
            "v 1.2.3.4.5, 999.1.1.1, 12:30:45, std::vector",
        ),
        ("credit_card", "4111 1111 1111 1111 and 4111111111111112", "<CREDIT_CARD> and 4111111111111112"),
        ("credit_card", "0.4111111111111111 9999999999999995", "0.4111111111111111 9999999999999995"),
        ("iban", "GB82 WEST 1234 5698 7654 32 BIC", "<IBAN> BIC"),
        ("iban", "GB83WEST12345698765432", "GB83WEST12345698765432"),
        ("login", "ftp://me:secret@host/x", "ftp://<LOGIN>@host/x"),
    ],
)
def test_redaction_takes_what_is_one_and_leaves_what_is_not(kind, text, expected):
    pytest.importorskip("stdnum")
    from kzoo.data.preparing.redaction import Redactor

    found, counts = Redactor(Redaction(kinds=[kind]))(text)
    assert found == expected
    assert sum(counts.values()) == expected.count(f"<{kind.upper()}>")


def test_all_kinds_together_and_national_phone_numbers():
    pytest.importorskip("phonenumbers")
    from kzoo.data.preparing.redaction import Redactor

    kinds = ["login", "email", "iban", "credit_card", "ip_address", "phone"]
    text = "https://u:p@h.example me@h.example (650) 253-0000 5555555555554444 10.0.0.1 DE89370400440532013000"
    found, counts = Redactor(Redaction(kinds=kinds, phone_region="US"))(text)
    assert found == "https://<LOGIN>@h.example <EMAIL> <PHONE> <CREDIT_CARD> <IP_ADDRESS> <IBAN>"
    assert counts == dict.fromkeys(kinds, 1)
    with pytest.raises(UserError, match="phone_region is a country's code"):
        Redactor(Redaction(kinds=["phone"], phone_region="XX"))


def test_languages():
    pytest.importorskip("py3langid")
    from kzoo.data.preparing.language import LanguageIdentifier

    identify = LanguageIdentifier(LanguageFilter(keep=["en"]))
    assert identify("The owl looked at the moon, and the fox went home through the wood.") == "en"
    assert identify("Die Eule sah den Mond an, und der Fuchs ging durch den Wald nach Hause.") == "de"
    assert identify("Le hibou regardait la lune, et le renard rentrait par la forêt.") == "fr"
    assert identify("zu kurz") == "short"
    assert identify("1234 5678 90 1234 5678 90 1234 5678 90 -- 1234 5678 90") == "und"
    among = LanguageIdentifier(LanguageFilter(keep=["en"], among=["fr"], least_probability=0))
    assert among("Die Eule sah den Mond an, und der Fuchs ging durch den Wald nach Hause.") in ("en", "fr")
    with pytest.raises(UserError, match="There is no language 'english'"):
        LanguageIdentifier(LanguageFilter(keep=["english"]))


def test_repetition_by_hand():
    assert repeated_lines(["aa", "b", "aa", "aa"]) == (0.5, 4 / 7)
    assert repeated_lines([]) == (0, 0)
    words = "ab c ab c ab d".split()  # characters: 9; "ab c" twice: 6 of them
    assert top_ngram(words, 2) == pytest.approx(6 / 9)
    assert top_ngram("a b c d".split(), 2) == 0.0
    # "ab c", "c ab" and "ab c" occur more than once: words 0 to 4 are covered, each counted once
    assert repeated_ngrams(words, 2) == pytest.approx(8 / 9)
    assert repeated_ngrams(words, 5) == 0.0


def test_measures_by_hand():
    text = Text("- One two 3...\n\n# Four #5\n- One two 3...")
    values = {name: measure(text) for name, measure in MEASURES.items()}
    assert values["characters"] == len(text.text) and values["words"] == 11 and values["lines"] == 3
    assert values["letters"] == pytest.approx(16 / 29)
    assert values["words_with_letters"] == pytest.approx(5 / 11)
    assert values["word_length"] == pytest.approx(29 / 11)
    assert values["symbols"] == pytest.approx(4 / 11)
    assert values["bullet_lines"] == values["ellipsis_lines"] == pytest.approx(2 / 3)
    assert values["repeated_lines"] == pytest.approx(1 / 3)


def test_bounds_say_what_was_broken():
    check = Filter(Filters(least_characters=3, most_words=4, least_letters=0.5, most_top_ngram={2: 0.5}))
    assert check("ab") == ("least_characters", 2)
    assert check("a b c d e") == ("most_words", 5)
    assert check("1234 a") == ("least_letters", pytest.approx(0.2))
    assert check("no no no") == ("most_top_2_gram", pytest.approx(1.0))
    assert check("fine text") is None
    assert Filter(Filters())("") is None


def test_gopher_takes_prose_and_leaves_lists_and_repetition():
    check = Filter(Filters(gopher=True, least_words=20))
    random.seed(3)
    words = [f"{a}{b}{c}" for a in "bdkl" for b in "aeiou" for c in ("ster", "mone", "ring", "pal")]
    prose = ". ".join(" ".join(random.sample(words, 12)) for _ in range(4))
    assert check(prose) is None
    assert check(" ".join(words[:19]))[0] == "least_words"
    assert check("buy now today " * 20)[0] == "most_top_2_gram"
    bullets = [f"- {' '.join(random.sample(words, 6))}" for _ in range(10)]
    assert check("\n".join(bullets))[0] == "most_bullet_lines"
    half = " ".join(words[:30])
    assert check(f"{half} {' '.join(words[30:60])} {half}")[0] == "most_repeated_5_grams"
    assert check(" ".join(str(number) for number in range(1000, 1100)))[0] == "least_words_with_letters"


def test_bounds_that_cannot_be():
    for wrong in ({"least_words": 5, "most_words": 4}, {"least_letters": 1.5}, {"most_top_ngram": {2: 3}}):
        with pytest.raises(ValueError, match=r"exceed|less than or equal|shares from 0 to 1"):
            Filters(**wrong)


def test_shingles():
    rules = Duplicates(near=0.8, shingle_size=2)
    assert shingles("The cat, the CAT sat!", rules) == {"the cat", "cat the", "cat sat"}
    assert shingles("Cat!", rules) == {"cat"} and shingles("!?", rules) == {"!?"}
    letters = Duplicates(near=0.8, shingle="characters", shingle_size=3)
    assert shingles("Ab cd", letters) == {"ab ", "b c", " cd"} and shingles("東京", letters) == {"東京"}
    assert jaccard({1, 2, 3}, {2, 3, 4}) == 0.5


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.8, 0.95, 1.0])
def test_bands_find_what_is_just_similar_enough(threshold):
    bands, rows = bands_for(threshold, 128)
    assert bands * rows <= 128 and 1 - (1 - threshold**rows) ** bands >= FOUND
    if rows < 128:
        fewer = 128 // (rows + 1)
        assert 1 - (1 - threshold ** (rows + 1)) ** fewer < FOUND


def test_bands_agree_as_often_as_the_similarity_says():
    pytest.importorskip("datasketch")
    rules = Duplicates(near=0.8, shingle_size=1)
    signatures = Signatures(rules)
    agreed, rows = 0, bands_for(0.8, 128)[1]
    for trial in range(60):
        both = [f"w{trial}x{number}" for number in range(40)]
        ours, theirs = ([f"{side}{trial}x{number}" for number in range(5)] for side in "ab")  # Jaccard 40 / 50
        agreed += np.sum(signatures(" ".join(both + ours)) == signatures(" ".join(theirs + both)))
    assert agreed / (60 * signatures.bands) == pytest.approx(0.8**rows, abs=0.07)
    np.testing.assert_array_equal(signatures("a b"), Signatures(rules)("b a"))


def test_the_hash_table_is_a_dict():
    generator = random.Random(5)
    table, expected = HashTable(8), {}
    for number in range(5000):
        key = generator.choice([generator.getrandbits(64), generator.randrange(1, 50), generator.randrange(8) << 60])
        assert table.get(key) == expected.get(key or 1, ABSENT)
        assert table.exchange(key, number) == expected.get(key or 1, ABSENT)
        expected[key or 1] = number
    assert len(table) == len(expected)
    assert all(table.get(key) == number for key, number in expected.items())


def test_the_spool_reads_what_it_was_given(tmp_path):
    spool = Spool(tmp_path / "spool")
    for number in range(3000):
        assert spool.append(f"f:{number}", {"text": "é" * (number % 700)}) == number
        assert spool.read(number // 2) == (f"f:{number // 2}", {"text": "é" * (number // 2 % 700)})
    assert [where for where, _ in spool] == [f"f:{number}" for number in range(3000)]
    spool.close()


def test_half_a_digest_is_not_enough(tmp_path):
    seen = Seen(tmp_path / "spool", Duplicates(), "text", 0)
    seen.add("a", {"text": "x"}, bytes(range(16)), None)
    assert seen.exact(bytes(range(16))).number == 0
    assert seen.exact(bytes(range(8)) + bytes(8)) is None
    seen.spool.close()


def test_planted_near_duplicates_are_found_and_nothing_else(tmp_path):
    """Of 300 texts, 150 have a copy with some words changed: those as similar as the threshold are found."""
    pytest.importorskip("datasketch")
    rules = Duplicates(near=0.7, shingle_size=3)
    signatures = Signatures(rules)
    generator = random.Random(7)
    words = [f"word{number}" for number in range(2000)]
    seen = Seen(tmp_path / "spool", rules, "text", signatures.bands)
    texts = [generator.choices(words, k=120) for _ in range(300)]
    for number, text in enumerate(texts):
        joined = " ".join(text)
        assert seen.near(joined, signatures(joined)) is None
        seen.add(str(number), {"text": joined}, number.to_bytes(16, "little"), signatures(joined))
    similar = found = wrong = 0
    for number in range(150):
        copy = list(texts[number])
        for place in generator.sample(range(120), number % 12):
            copy[place] = generator.choice(words)
        joined = " ".join(copy)
        is_near = jaccard(shingles(joined, rules), shingles(" ".join(texts[number]), rules)) >= 0.7
        match = seen.near(joined, signatures(joined))
        similar += is_near
        found += is_near and match is not None and match.number == number
        wrong += not is_near and match is not None
    assert 60 < similar < 150 and wrong == 0
    assert found / similar >= FOUND
    seen.spool.close()


def test_long_runs_of_white_space_take_no_time():
    text = "a" + " " * 300_000 + "b" + "\t" * 300_000
    assert normalized(text) == text.rstrip()
    assert normalized(f"<p>{text}", html="strip", whitespace="collapse") == "a b"


def test_worker_processes_need_no_tensorflow():
    code = "import sys, kzoo.data.preparing.workers; print('tensorflow' in sys.modules, 'keras' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["False", "False"]
