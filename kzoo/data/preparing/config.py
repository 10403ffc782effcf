"""What a preparation does, each step off or on: the options of ``kzoo data prepare``, which a YAML file can state."""

from typing import Literal

from pydantic import Field, model_validator

from kzoo.data.formats import Reading
from kzoo.models.sources import Strict, closest

Redactable = Literal["login", "email", "iban", "credit_card", "ip_address", "phone"]

Share = float | None


class Normalization(Strict):
    """Texts written in one way. What is on by default changes no visible character."""

    unicode: Literal["nfc", "nfkc", "keep"] = Field(
        "nfc", description="NFKC also joins what only looks different: ﬁ becomes fi, ² becomes 2."
    )
    control_characters: bool = Field(True, description="Remove control characters but tab and newline, and U+FEFF.")
    whitespace: Literal["lines", "collapse", "keep"] = Field(
        "lines",
        description="lines: \\r\\n becomes \\n, nothing stands at the end of a line, no two empty lines follow each "
        "other. collapse: also, a run of white space in a line becomes one space, and none begins a line.",
    )
    mojibake: bool = Field(False, description="Mend text that was decoded wrongly (Ã¼ for ü), by ftfy.")
    html: Literal["keep", "entities", "strip"] = Field(
        "keep", description="entities: &amp; becomes &. strip: also, tags go, and the content of scripts and styles."
    )
    urls: Literal["keep", "placeholder", "remove"] = Field("keep", description="placeholder: <URL>.")


class Redaction(Strict):
    """Personal data replaced by placeholders such as <EMAIL>. Names and addresses are not found."""

    kinds: list[Redactable] = Field([], description="Of login, email, iban, credit_card, ip_address and phone.")
    phone_region: str | None = Field(
        None,
        pattern="^[A-Z]{2}$",
        description="Country (US, DE, ...) whose national phone numbers are found too, not only international ones.",
    )


class Filters(Strict):
    """Documents outside any of these bounds are dropped. Absent bounds do not count; shares are from 0 to 1."""

    least_characters: int | None = Field(None, ge=0)
    most_characters: int | None = Field(None, ge=1)
    least_words: int | None = Field(None, ge=0)
    most_words: int | None = Field(None, ge=1)
    least_lines: int | None = Field(None, ge=0)
    most_lines: int | None = Field(None, ge=1)
    least_letters: Share = Field(None, ge=0, le=1, description="Letters among the characters that are no white space.")
    least_words_with_letters: Share = Field(None, ge=0, le=1, description="Words that have a letter.")
    least_word_length: float | None = Field(None, ge=0, description="Mean length of words.")
    most_word_length: float | None = Field(None, gt=0)
    most_symbols: Share = Field(None, ge=0, description="Hash signs and ellipses for each word.")
    most_bullet_lines: Share = Field(None, ge=0, le=1, description="Lines that begin with a bullet.")
    most_ellipsis_lines: Share = Field(None, ge=0, le=1, description="Lines that end with an ellipsis.")
    most_repeated_lines: Share = Field(None, ge=0, le=1, description="Lines that stood before.")
    most_repeated_line_characters: Share = Field(None, ge=0, le=1, description="Characters in such lines.")
    most_top_ngram: dict[int, float] = Field(
        {}, description="{words: share}: characters in the most frequent run of so many words."
    )
    most_repeated_ngrams: dict[int, float] = Field(
        {}, description="{words: share}: characters in runs of so many words that occur more than once."
    )
    gopher: bool = Field(False, description="Gopher's bounds for whatever is not given here.")

    @model_validator(mode="after")
    def _in_order(self):
        for what in ("characters", "words", "lines", "word_length"):
            least, most = getattr(self, f"least_{what}"), getattr(self, f"most_{what}")
            if least is not None and most is not None and least > most:
                raise ValueError(f"least_{what} may not exceed most_{what}, received {least} and {most}")
        for name in ("most_top_ngram", "most_repeated_ngrams"):
            for words, share in getattr(self, name).items():
                if words < 1 or not 0 <= share <= 1:
                    raise ValueError(f"{name} has numbers of words with shares from 0 to 1, received {words}: {share}")
        return self

    def resolved(self) -> "Filters":
        """With Gopher's bounds written out."""
        if not self.gopher:
            return self
        given = {name: value for name, value in self.model_dump().items() if value not in (None, {}, True)}
        return Filters.model_validate(GOPHER | given | {"gopher": False})


# Rae et al. 2021 (arXiv:2112.11446), appendix A.1.1 and table A1; the stop-word rule, which is of English, left out
GOPHER = {
    "least_words": 50,
    "most_words": 100_000,
    "least_word_length": 3,
    "most_word_length": 10,
    "most_symbols": 0.1,
    "most_bullet_lines": 0.9,
    "most_ellipsis_lines": 0.3,
    "least_words_with_letters": 0.8,
    "most_repeated_lines": 0.3,
    "most_repeated_line_characters": 0.2,
    "most_top_ngram": {2: 0.20, 3: 0.18, 4: 0.16},
    "most_repeated_ngrams": {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10},
}


class LanguageFilter(Strict):
    """Documents that are in other languages are dropped, by py3langid."""

    identify: bool = Field(False, description="Count languages in the report even when none is asked for.")
    keep: list[str] = Field([], description="ISO 639 codes: en, de, ... Empty: all.")
    among: list[str] = Field([], description="Languages to choose from. Empty: the 130 and more that the model knows.")
    least_probability: float = Field(0.3, ge=0, le=1, description="Below it, the language counts as unknown (und).")
    unknown: Literal["keep", "drop"] = Field("keep", description="Documents whose language is unknown.")
    least_characters: int = Field(40, ge=1, description="Shorter texts are not judged, and kept.")

    @property
    def wanted(self) -> bool:
        """Whether languages are identified."""
        return self.identify or bool(self.keep)


class Duplicates(Strict):
    """What stands in the data already is dropped; the first stays."""

    exact: Literal["text", "words", "keep"] = Field(
        "text", description="text: equal texts. words: equal but for case, punctuation and white space."
    )
    near: float | None = Field(
        None, gt=0, le=1, description="Least Jaccard similarity of the shingles of two texts that are near duplicates."
    )
    shingle: Literal["words", "characters"] = Field("words", description="characters: for Chinese, Japanese, Thai.")
    shingle_size: int = Field(5, ge=1, le=100)
    permutations: int = Field(128, ge=16, le=2048)
    seed: int = Field(1, ge=0, lt=2**32)
    conflicts: Literal["report", "drop"] = Field(
        "report", description="Of duplicates whose labels differ: drop none but the duplicates, or all of them."
    )


class Preparation(Strict):
    """A whole preparation, which the same file repeats."""

    inputs: list[str] = Field([], description="Files, folders of files, or data sets.")
    against: list[str] = Field(
        [], description="Held-out files: what stands in them, or nearly, is dropped from the output."
    )
    format: Literal["csv", "tsv", "jsonl", "text"] | None = Field(None, description="Absent: by the file's suffix.")
    encoding: str = "utf-8"
    document: Literal["line", "paragraph", "file"] = Field("line", description="What is a document of plain text.")
    column: str = Field("text", description="The column of rows that holds the text.")
    columns: list[str] | None = Field(None, description="The names of all columns of a table without a header line.")
    quoting: bool | None = Field(None, description='"..." protects separators. Absent: in CSV, not in TSV.')
    beside: list[str] = Field(
        ["text_pair"],
        description="Columns that belong to the text, where there are such: cleaned, too, and equal in duplicates.",
    )
    label: str | None = Field(None, description="The column of the labels. Absent: label, where there is one.")
    normalize: Normalization = Normalization()
    redact: Redaction = Redaction()
    filters: Filters = Filters()
    language: LanguageFilter = LanguageFilter()
    duplicates: Duplicates = Duplicates()
    shard_megabytes: int = Field(256, ge=1, description="Size after which a new file is begun.")

    @model_validator(mode="after")
    def _possible(self):
        if self.columns is not None and self.column not in self.columns:
            raise ValueError(f"column {self.column!r} is not among columns{closest(self.column, self.columns)}")
        return self

    def reading(self) -> Reading:
        """How files are read."""
        return Reading(
            format=self.format,
            columns=self.columns,
            quoting=self.quoting,
            encoding=self.encoding,
            document=self.document,
        )
