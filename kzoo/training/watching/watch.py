"""All that one sees of a run, made from its ``LoggingConfig``."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras

from kzoo.data.batching import Batches
from kzoo.models.operations import of_training
from kzoo.tasks.masking import places_for
from kzoo.training.config import LoggingConfig
from kzoo.training.progress import Progress
from kzoo.training.step import TrainingModel
from kzoo.training.team import Team
from kzoo.training.watching import event_files
from kzoo.training.watching.curves import Curves
from kzoo.training.watching.guesses import Guesses
from kzoo.training.watching.histograms import Histograms
from kzoo.training.watching.hyperparameters import Hyperparameters
from kzoo.training.watching.input_wait import InputWait
from kzoo.training.watching.memory import memory
from kzoo.training.watching.peaks import peak_of_devices
from kzoo.training.watching.pictures import pictures_of
from kzoo.training.watching.profile import Profile, steps_of
from kzoo.training.watching.projector import Projector
from kzoo.training.watching.samples import Samples
from kzoo.training.watching.work import Work


class Watch:
    """The watchers of a run. Only the chief writes; what takes all workers to read, all of them read.

    Args:
        logging: what is to be seen.
        folder: the run's ``tensorboard`` folder, or None for a run without a folder.
        team: the workers.
        learner: the task that learns.
        model: that ``fit`` trains.
        batches: of training.
        progress: the run's.
        measured: batches of the validation, or None.
        examples: those of training and of the validation.
        own_rows: whether each worker brings examples of its own.
        precision: of the run.
        config: what ``config.yaml`` says.
        note: what the checkpoint remembers of the curves.
        say: told the first sample.

    Attributes:
        curves: the writer of all, or None.
        pictures: of a classifier's validation, or None.
        wait: measures the wait for batches.
        first: callbacks that stand before the validation.
        later: callbacks behind it.
    """

    def __init__(
        self,
        logging: LoggingConfig,
        *,
        folder: Path | None,
        team: Team,
        learner,
        model: TrainingModel,
        batches: Batches,
        progress: Progress,
        measured: Batches | None,
        examples: tuple[Any, Any],
        own_rows: bool,
        precision: str,
        config: Mapping[str, Any],
        note: Mapping[str, Any] | None,
        say: Callable[[str], None],
    ):
        self.curves = self.pictures = self.session = self.projector = self.profile = None
        self.later: list[keras.callbacks.Callback] = []
        writes = team.is_chief and folder is not None and logging.tensorboard
        if folder is not None and team.is_chief:
            event_files.rewind(folder, progress.total, epoch_ends=progress.step == batches.steps)
        if folder is not None and logging.tensorboard:
            self.curves = Curves(folder if team.is_chief else None, progress, every=logging.every, note=note)
            self.curves.rates = [_work(logging, learner, batches, progress, team, precision, own_rows), _memory]
            if measured is not None and logging.pictures:
                self.pictures = pictures_of(learner, self.curves, team.strategy)
            if self.pictures is not None:
                model.count_in(self.pictures.tally)
        self.wait = InputWait(progress, curves=self.curves, every=logging.every)
        if logging.samples is not None and team.is_chief:
            self.later.append(Samples(learner, logging.samples, progress, curves=self.curves, say=say))
        if writes and self.curves is not None and folder is not None:
            if logging.graph and not progress.total:
                self.curves.write_graph(learner.model, batches.dataset().element_spec[0])
            results = folder / ("train" if measured is None else "validation")
            self.session = Hyperparameters(results, config, name=folder.parent.name)
            if measured is not None and hasattr(learner, "mask_id") and logging.guesses.texts:
                self.later.append(Guesses(learner, measured, logging.guesses, progress, self.curves))
            if logging.histograms:
                every = None if logging.histograms is True else logging.histograms
                self.later.append(Histograms(progress, self.curves, every=every))
            if logging.projector is not None:
                shown, of_them = (batches, examples[0]) if measured is None else (measured, examples[1])
                place = folder / "train"
                self.projector = Projector(learner, shown, of_them, place, logging.projector, progress)
                self.later.append(self.projector)
            if logging.profile is not None:
                self.profile = Profile(folder / "train", progress, steps_of(logging.profile), say=say)
                self.later.append(self.profile)
        self.first = [self.wait, *([self.curves] if self.curves is not None else [])]

    @property
    def note(self) -> dict[str, Any] | None:
        """For a checkpoint."""
        return None if self.curves is None else self.curves.note

    def end(self) -> None:
        """The run is complete, the final weights are in place."""
        if self.projector is not None:
            self.projector.write()
        if self.session is not None:
            self.session.end()

    def close(self) -> None:
        """Closes all files, whatever came of the run."""
        for one in (self.profile, self.session, self.curves):
            if one is not None:
                one.close()


def _memory(steps: int, seconds: float) -> dict[str, float]:
    return memory()


def _work(logging, learner, batches, progress, team: Team, precision: str, own_rows: bool):
    share = getattr(learner, "mask_share", None)
    return Work(
        of_training(learner.model),
        batches,
        progress,
        replicas=team.strategy.num_replicas_in_sync,
        peak_teraflops=logging.peak_teraflops or peak_of_devices(precision),
        places=None if share is None else lambda length: int(places_for(length, share)),
        workers=team.size if own_rows else 1,
    ).rates
