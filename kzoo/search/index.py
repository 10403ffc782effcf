"""``kzoo.Index``: passages with their vectors in a folder, found again by meaning."""

import contextlib
import hashlib
import itertools
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kzoo.errors import UserError
from kzoo.exit_codes import INTERRUPTED
from kzoo.search.neighbours import Graph, load_hnswlib
from kzoo.search.passages import Passage, Unit, cut, read_passages
from kzoo.search.store import Store, is_index
from kzoo.serving.placing import placed, space_needed
from kzoo.tasks.embed import Embed
from kzoo.tasks.load import load, load_task
from kzoo.training.folder_lock import FolderLock
from kzoo.training.interrupt import Interrupted

# N passages, Q queries, K hits, D width

PROBE = "A text whose vector tells which model made an index."
ALIKE = 0.99
"""The cosine between two vectors of the probe that come from one model, if need be in another precision."""
BLOCK = 2048
"""Passages that are embedded and written at once: what a kill costs at most."""
_ROWS = 1 << 16


@dataclass(frozen=True)
class Hit:
    """A passage that was found.

    Attributes:
        text: its text.
        score: the cosine between its vector and the query's.
        number: its place in the index, from 0.
        line: the line of its file where it begins, from 1; 0 where it came from no file.
    """

    text: str
    score: float
    number: int
    line: int


class Index:
    """Passages that can be searched by meaning: ``Index.build`` makes one, ``Index(folder)`` opens it.

    Vectors and texts stay on the disk and are read through memory maps. The search is exact, unless the index has a
    graph of neighbours (``hnswlib``). The vectors have length 1: scores are cosines.

    Args:
        folder: of the index.
        task: the ``Embed`` that it was made with; by default loaded, when it is first needed, from where it was then.

    Raises:
        UserError: no index, a damaged one, or one that another model made.
    """

    def __init__(self, folder: str | Path, *, task: Any = None):
        self._store = Store(folder)
        self._graph: Graph | None = None
        self._task = None if task is None else self._checked(task)

    @classmethod
    def build(
        cls,
        task: Any,
        source: str | Path | Iterable[str],
        folder: str | Path,
        *,
        column: str | None = None,
        unit: Unit = "line",
        least_words: int = 1,
        window: int | None = None,
        stride: int | None = None,
        neighbours: bool = False,
        batch_size: int = 32,
        overwrite: bool = False,
        model: str | Path | None = None,
        say: Callable[[str], None] = lambda line: None,
    ) -> "Index":
        """Embeds the passages of a file, or a list of texts, into a new index.

        The index appears whole or not at all. A build of a file that was stopped goes on where it was when the same
        call is made again; what was done stands in a hidden folder beside the index until then.

        Args:
            task: gives the vectors.
            source: a file (see ``read_passages``), or texts.
            folder: of the index.
            column, unit, least_words: see ``read_passages``; for a file.
            window: cut passages that have more tokens into pieces of so many, special tokens left out; by default they
                are embedded whole, and what is longer than the model reads does not count.
            stride: tokens from the beginning of a piece to that of the next; by default half of the window.
            neighbours: whether to make a graph for approximate search.
            batch_size: passages that the model reads at once.
            overwrite: whether an index that is there is replaced.
            model: what ``Index(folder)`` loads; by default where the task was loaded from.
            say: told in a few lines what happens.

        Raises:
            UserError: a file that cannot be read or holds no passage, a folder that exists, a window that the model
                cannot read.
            Interrupted: by Ctrl-C; what was embedded of a file is kept.
        """
        _check_embeds(task)
        window, stride = _windows(task, window, stride)
        if neighbours:
            load_hnswlib()  # a mistake is told before the work
        folder = Path(os.path.abspath(folder))
        if folder.exists() and not (overwrite and (is_index(folder) or not any(folder.iterdir()))):
            what = "exists" if folder.is_dir() else "is a file"
            raise UserError(
                f"{folder} {what}. Choose another folder"
                + (", or ask for the index to be overwritten." if is_index(folder) else ".")
            )
        settings = {"column": column, "unit": unit, "least_words": least_words, "window": window, "stride": stride}
        if isinstance(source, str | Path):
            passages: Iterator[Passage] = read_passages(source, column=column, unit=unit, least_words=least_words)
            origin: dict[str, Any] = {"name": Path(source).name, "sha256": _sha256(Path(source))}
        else:
            passages, origin = (Passage(_text(text), 0) for text in source), {}
        place = str(model if model is not None else task.pretrained.source)
        about: dict[str, Any] = {
            "model": str(Path(place).resolve()) if Path(place).exists() else place,
            "probe": [round(float(value), 6) for value in _vectors(task, [PROBE])[0]],
            "source": origin,
            "settings": settings,
            "taken": 0,
        }
        folder.parent.mkdir(parents=True, exist_ok=True)
        aside = folder.with_name(f".{folder.name}.building")
        with space_needed(folder), _alone(aside):
            store = _resumed(aside, about, say) if origin else None
            if store is None:
                for path in aside.iterdir():
                    path.unlink()
                store = Store.create(aside, width=len(about["probe"]), about=about)
            try:
                _embed(store, task, passages, window=window, stride=stride, batch_size=batch_size, say=say)
            except KeyboardInterrupt:
                if not origin:
                    raise
                message = f"Interrupted; {len(store):,} passages are kept. The same command goes on from there."
                raise Interrupted(message, INTERRUPTED) from None
            if not len(store):
                shutil.rmtree(aside)
                name = origin.get("name", "The list of texts")
                raise UserError(f"{name} holds no passage to be found: it is empty, or all of it was left out.")
            if neighbours:
                say("Making the graph of neighbours ...")
                _add_graph(store, None)
            with placed(folder, overwrite=overwrite) as target:
                target.rmdir()
                aside.rename(target)
        return cls(folder, task=task)

    def __len__(self) -> int:
        return len(self._store)

    def __getitem__(self, number: int) -> Passage:
        if not -len(self) <= number < len(self):
            raise IndexError(f"The index has {len(self)} passages. Received {number}.")
        return self._store.passage(number % len(self))

    def __repr__(self) -> str:
        return f"Index({str(self.folder)!r}: {len(self)} passages)"

    @property
    def folder(self) -> Path:
        """Where it is."""
        return self._store.folder

    @property
    def model(self) -> str:
        """What it was made with."""
        return self._store.about["model"]

    @property
    def vectors(self) -> np.ndarray:
        """float32 ``[N, D]``, of length 1; a memory map."""
        return self._store.vectors

    @property
    def text_bytes(self) -> int:
        """How long all texts are in UTF-8."""
        return self._store.text_bytes

    @property
    def has_neighbours(self) -> bool:
        """Whether there is a graph for approximate search."""
        return "graph" in self._store.about

    @property
    def task(self) -> Embed:
        """What makes the vectors; loaded when it is first needed."""
        if self._task is None:
            place = Path(self.model)
            self._task = self._checked(load_task(place) if (place / "kzoo.json").is_file() else Embed(load(self.model)))
        return self._task

    def search(self, queries: str | Sequence[str], *, top: int = 10, exact: bool | None = None) -> list[Any]:
        """The passages nearest to a text, or to each of several.

        Args:
            queries: a text, or a list of texts.
            top: most hits of each.
            exact: whether all vectors are compared; by default unless there is a graph of neighbours.

        Returns:
            Hits, the best first: a list for a text, a list of lists for a list.
        """
        texts = [queries] if isinstance(queries, str) else list(queries)
        scores, numbers = self.nearest(_vectors(self.task, texts), top=top, exact=exact)
        found = [
            [
                Hit(text=passage.text, score=score, number=number, line=passage.line)
                for score, number in zip(some.tolist(), these.tolist(), strict=True)
                for passage in [self[number]]
            ]
            for some, these in zip(scores, numbers, strict=True)
        ]
        return found[0] if isinstance(queries, str) else found

    def nearest(
        self, vectors: np.ndarray, *, top: int = 10, exact: bool | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Cosines float32 and numbers int64 ``[Q, K]`` of the passages nearest to vectors ``[Q, D]``, the best first.

        Raises:
            UserError: vectors of another width, ``top`` below 1, or no graph where the search is not to be exact.
        """
        vectors = np.asarray(vectors, np.float32)
        if vectors.ndim != 2 or vectors.shape[1] != self._store.width:
            raise UserError(
                f"Vectors must be as wide as those of the index, [Q, {self._store.width}]. Received "
                f"{list(vectors.shape)}."
            )
        if top < 1:
            raise UserError(f"top must be at least 1. Received {top}.")
        queries = _unit(vectors)
        if exact is False and not self.has_neighbours:
            raise UserError(f"{self.folder} has no graph of neighbours. Build it with neighbours, or search exactly.")
        if exact or not self.has_neighbours:
            return _exact(queries, self.vectors, min(top, len(self)))
        if self._graph is None:
            self._graph = Graph(self._store.width, self.folder / self._store.about["graph"])
        scores, numbers = self._graph.nearest(queries, top)
        return scores.astype(np.float32), numbers

    def add(self, texts: Iterable[str], *, batch_size: int = 32) -> None:
        """Appends texts; they stand on the disk when this returns, all or none."""
        passages = [Passage(_text(text), 0) for text in texts]
        settings = self._store.about["settings"]
        with _alone(self.folder):
            self._store = Store(self.folder)  # another process may have added meanwhile
            if settings["window"]:
                passages = cut(self.task.tokenizer, passages, window=settings["window"], stride=settings["stride"])
            vectors = _vectors(self.task, [passage.text for passage in passages], batch_size=batch_size)
            if not self.has_neighbours:
                self._store.append(passages, vectors)
                return
            graph = Graph(self._store.width, self.folder / self._store.about["graph"])
            graph.add(vectors)
            _save_graph(self._store, graph, lambda name: self._store.append(passages, vectors, graph=name))
            self._graph = graph

    def _checked(self, task: Any) -> Embed:
        """The task, if it is the one that made the index."""
        _check_embeds(task)
        probe = np.array(self._store.about["probe"], np.float32)
        mine = _vectors(task, [PROBE])[0]
        source = task.pretrained.source
        if len(mine) != len(probe):
            raise UserError(
                f"{self.folder} was made with {self.model}, whose vectors have {len(probe)} numbers. Those of {source} "
                f"have {len(mine)}. Take that model, or build the index with this one."
            )
        if float(mine @ probe) < ALIKE:
            raise UserError(
                f"{self.folder} was made with {self.model}; {source} gives other vectors (to one text with a cosine of "
                f"{float(mine @ probe):.3f}). Take that model, or build the index with this one."
            )
        return task


def _embed(store: Store, task: Embed, passages: Iterator[Passage], *, window, stride, batch_size, say) -> None:
    """Adds the passages that are not there yet, a block at a time."""
    passages = itertools.islice(passages, store.about["taken"], None)
    while block := list(itertools.islice(passages, BLOCK)):
        pieces = cut(task.tokenizer, block, window=window, stride=stride) if window else block
        vectors = _vectors(task, [piece.text for piece in pieces], batch_size=batch_size)
        store.append(pieces, vectors, taken=store.about["taken"] + len(block))
        say(f"{len(store):,} passages embedded, up to line {block[-1].line:,}.")


def _resumed(aside: Path, about: dict[str, Any], say: Callable[[str], None]) -> Store | None:
    """What an earlier build left of the same source, settings and model; None where there is nothing to go on with."""
    if not is_index(aside):
        return None
    try:
        store = Store(aside)
    except UserError:
        return None
    if not len(store):
        return None
    same = all(store.about[name] == about[name] for name in ("source", "settings"))
    probes = [np.array(one["probe"]) for one in (store.about, about)]
    if not same or len(probes[0]) != len(probes[1]) or float(probes[0] @ probes[1]) < ALIKE:
        say("What a stopped build left is of another file, model or setting; beginning anew.")
        return None
    say(f"Going on after {len(store):,} passages.")
    return store


def _add_graph(store: Store, graph: Graph | None) -> None:
    graph = graph or Graph(store.width)
    graph.add(store.vectors[len(graph) :])
    _save_graph(store, graph, lambda name: store.describe(graph=name))


def _save_graph(store: Store, graph: Graph, note: Callable[[str], None]) -> None:
    """Writes the graph under a name of its own, lets the description name it, and takes away the one before."""
    before, name = store.about.get("graph"), f"neighbours-{len(graph)}.hnsw"
    graph.save(store.folder / name)
    note(name)
    if before and before != name:
        (store.folder / before).unlink(missing_ok=True)


def _exact(queries: np.ndarray, vectors: np.ndarray, top: int) -> tuple[np.ndarray, np.ndarray]:
    """Compares with all vectors, a part at a time; of equal scores the earlier passage comes first."""
    scores: Any = np.zeros([len(queries), 0], np.float32)
    numbers: Any = np.zeros([len(queries), 0], np.int64)
    for start in range(0, len(vectors), _ROWS):
        part = queries @ np.asarray(vectors[start : start + _ROWS]).T
        these = np.broadcast_to(np.arange(start, start + part.shape[1]), part.shape)
        scores, numbers = np.concatenate([scores, part], 1), np.concatenate([numbers, these], 1)
        if scores.shape[1] > top:
            best = np.sort(np.argpartition(-scores, top - 1, axis=1)[:, :top], axis=1)
            scores, numbers = (np.take_along_axis(one, best, 1) for one in (scores, numbers))
    order = np.argsort(-scores, axis=1, kind="stable")
    return np.take_along_axis(scores, order, 1), np.take_along_axis(numbers, order, 1)


def _vectors(task: Embed, texts: Sequence[str], *, batch_size: int = 32) -> np.ndarray:
    return _unit(task.vectors(texts, batch_size=batch_size))


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


def _windows(task: Embed, window: int | None, stride: int | None) -> tuple[int | None, int | None]:
    if window is None:
        if stride is not None:
            raise UserError("stride says how far apart windows begin: it belongs to window.")
        return None, None
    template = task.tokenizer.template
    room = task.max_length - len(template.before) - len(template.after)
    if not 1 <= window <= room:
        raise UserError(
            f"window must lie between 1 and the {room} tokens of a text that the model reads. Received {window}."
        )
    stride = max(window // 2, 1) if stride is None else stride
    if not 1 <= stride <= window:
        raise UserError(f"stride must lie between 1 and the window's {window} tokens. Received {stride}.")
    return window, stride


def _check_embeds(task: Any) -> None:
    if not isinstance(task, Embed):
        raise UserError(f"An index needs a model that gives vectors, of the task embed. This task is {task.name}.")


def _text(text: Any) -> str:
    if not isinstance(text, str):
        raise UserError(f"An index holds texts. Received {text!r}.")
    return text.encode("utf-8", "replace").decode("utf-8")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Inside, no other process writes into the folder, which is made where it is not there."""
    folder.mkdir(exist_ok=True)
    lock = FolderLock(folder, patience=0)
    try:
        lock.take(say=lambda line: None)
    except UserError:
        raise UserError(f"Another process is writing the index in {folder}. Wait for it, or stop it.") from None
    try:
        yield
    finally:
        lock.release()
