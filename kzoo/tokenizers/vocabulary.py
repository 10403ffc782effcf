"""Tokens by id and ids by token."""

from collections.abc import Mapping

from kzoo.errors import UserError


class Vocabulary:
    """An immutable two-way map. Ids need not be contiguous; ``size`` is one more than the highest."""

    def __init__(self, ids: Mapping[str, int]):
        self._ids = dict(ids)
        self._tokens = {id: token for token, id in self._ids.items()}
        if len(self._tokens) != len(self._ids):
            twice = next(token for token, id in self._ids.items() if self._tokens[id] != token)
            raise UserError(
                f"Each id belongs to one token. Received {self._ids[twice]} for both {twice!r} "
                f"and {self._tokens[self._ids[twice]]!r}."
            )
        if not self._ids or min(self._tokens) < 0:
            raise UserError("A vocabulary holds at least one token, and ids are not negative.")
        self.size = max(self._tokens) + 1

    def extended(self, ids: Mapping[str, int]) -> "Vocabulary":
        """A vocabulary with further tokens; those that it has already must have the same id there."""
        for token, id in ids.items():
            if self._ids.get(token, id) != id:
                raise UserError(f"A token has one id. Received {self._ids[token]} and {id} for {token!r}.")
        return Vocabulary({**self._ids, **ids})

    def __contains__(self, token: str) -> bool:
        return token in self._ids

    def items(self):
        """Pairs of token and id, in the order of the ids."""
        return [(self._tokens[id], id) for id in sorted(self._tokens)]

    def id_of(self, token: str) -> int:
        """The id of a token; an error when there is no such token."""
        if token not in self._ids:
            raise UserError(f"The vocabulary of {len(self._ids)} tokens has no token {token!r}.")
        return self._ids[token]

    def token_of(self, id: int) -> str:
        """The token of an id; an error when there is no such id."""
        if id not in self._tokens:
            raise UserError(f"The vocabulary has no id {id}; its ids are below {self.size}.")
        return self._tokens[id]
