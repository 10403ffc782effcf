"""Texts that a language model writes while it learns."""

from collections.abc import Callable

from kzoo.training.config import SamplesConfig
from kzoo.training.periodic import Periodic
from kzoo.training.progress import Progress
from kzoo.training.watching.curves import Curves


class Samples(Periodic):
    """Continues prompts at the end of each epoch and every so many steps.

    Args:
        task: with a method ``generate(prompts, **options)``; its model is the one that learns.
        config: prompts, how often, and options of ``generate``.
        progress: the run's.
        curves: where to write the texts.
        say: also told the first text, when given.
    """

    def __init__(
        self,
        task,
        config: SamplesConfig,
        progress: Progress,
        *,
        curves: Curves | None = None,
        say: Callable | None = None,
    ):
        super().__init__(progress, every=config.every)
        self.task = task
        self.config = config
        self.curves = curves
        self.say = say
        self.texts: list[str] = []

    def act(self) -> None:
        """Writes now."""
        self.texts = self.task.generate(self.config.prompts, **self.config.options)
        if self.curves is not None:
            shown = [_markdown(prompt, text) for prompt, text in zip(self.config.prompts, self.texts, strict=True)]
            self.curves.write_texts("samples", shown, self.progress.total)
            self.curves.resume_clock()
        if self.say is not None:
            self.say(f"\nstep {self.progress.total}: {self.config.prompts[0]}{self.texts[0]}\n")


def _markdown(prompt: str, text: str) -> str:
    """Both as they are, an arrow between them; the indent keeps Markdown from reading anything into them."""
    return "\n".join(f"    {line}" for line in f"{prompt}⟶{text}".split("\n"))
