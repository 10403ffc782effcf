"""The language of a text, by py3langid: 4.6 MB with its model (numpy arrays, no pickle), without a network."""

from kzoo.data.preparing.config import LanguageFilter
from kzoo.data.preparing.extras import needed
from kzoo.errors import UserError
from kzoo.models.sources import closest

UNKNOWN, SHORT = "und", "short"

_MOST = 2000  # characters that are looked at: a page is enough


class LanguageIdentifier:
    """Calling it gives a text's language: an ISO 639 code, ``und`` or, of a text too short to tell, ``short``.

    Args:
        rules: languages to choose from, and how sure it must be.

    Raises:
        UserError: py3langid is missing, or does not know a language.
    """

    def __init__(self, rules: LanguageFilter):
        langid = needed("py3langid.langid", "Telling languages apart (language)")
        self._rules = rules
        self._model = langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE, norm_probs=True)
        known = sorted(self._model.labels)
        for name in [*rules.keep, *rules.among]:
            if name not in known:
                raise UserError(
                    f"There is no language {name!r}{closest(name, known)}; languages are written as codes of ISO 639. "
                    f"Known: {', '.join(known)}."
                )
        if rules.among:
            self._model.set_languages(list(dict.fromkeys([*rules.among, *rules.keep])))

    def __call__(self, text: str) -> str:
        text = text.strip()
        if len(text) < self._rules.least_characters:
            return SHORT
        name, probability = self._model.classify(text[:_MOST])
        return name if probability >= self._rules.least_probability else UNKNOWN
