"""Prompts read once into the cache, then one token at a time behind them: what every kind of decoding does."""

import tensorflow as tf

from kzoo.layers.cache import Cache

# B prompts, N rows of each prompt, P prompt length, L most new tokens, S slots = P + L, T tokens read at once,
# D width, V vocabulary


class Reading:
    """A decoder that has read prompts.

    Args:
        decoder: a ``kzoo.models.gpt.Decoder``; positions up to P + L must exist in it.
        prompt_ids: int32 ``[B, P]``, padded on the right; every prompt has a token, and there is a prompt.
        prompt_lengths: int32 ``[B]``.
        limit: scalar int32, L.
        copies: N, rows that go on from each prompt; they stand in succession.
        sees_whole_prompt: whether the tokens of a prompt look at one another both ways, not back only.

    Attributes:
        logits: float32 ``[B * N, V]``, of the first new token.
        cache: of ``B * N`` rows.
    """

    def __init__(self, decoder, prompt_ids, prompt_lengths, limit, *, copies: int = 1, sees_whole_prompt: bool = False):
        self.decoder = decoder
        batch_size, prompt_length = tf.shape(prompt_ids)[0], tf.shape(prompt_ids)[1]
        num_slots = prompt_length + limit
        slots = tf.range(num_slots)[None, None, :]  # [1, 1, S]
        in_prompt = slots < prompt_lengths[:, None, None]  # [B, 1, S]
        answer_positions = prompt_lengths[:, None] + tf.range(limit)[None, :]  # [B, L]
        prompt_positions = tf.broadcast_to(tf.range(prompt_length)[None, :], [batch_size, prompt_length])
        key_positions = tf.concat([prompt_positions, answer_positions], axis=1)  # [B, S]
        query = tf.range(prompt_length)[None, :, None]
        hidden, cache = decoder.step(
            prompt_ids,
            decoder.empty_cache(batch_size, num_slots),
            attention_mask=in_prompt if sees_whole_prompt else in_prompt & (slots <= query),  # [B, P or 1, S]
            positions=tf.range(prompt_length)[None, :],
            key_positions=key_positions,
            slot=tf.constant(0),
        )
        last = tf.gather(hidden, prompt_lengths - 1, batch_dims=1)  # [B, D]

        def repeated(value, axis=0):
            return value if copies == 1 else tf.repeat(value, copies, axis=axis)

        self.logits = repeated(decoder.logits(last))
        self.cache = [Cache(repeated(one.key, 1), repeated(one.value, 1)) for one in cache]
        self._slots, self._prompt_length = slots, prompt_length
        self._lengths, self._in_prompt = repeated(prompt_lengths), repeated(in_prompt)
        self._key_positions = repeated(key_positions)

    def step(self, tokens, step, cache):
        """Reads a token ``[B * N]`` behind each row.

        Args:
            tokens: int32 ``[B * N]``, the tokens of number ``step - 1``.
            step: scalar int32, 1 or more: the number of the token whose scores are wanted.
            cache: as the last call left it.

        Returns:
            Logits float32 ``[B * N, V]`` and the cache.
        """
        hidden, cache = self._read(tokens[:, None], step, cache)
        return self.decoder.logits(hidden[:, 0]), cache

    def steps(self, tokens, step, cache):
        """Reads T tokens ``[B * N, T]`` behind each row, the first of which has the number ``step - 1``.

        Where the next ones are others than those read here, the next call writes over them.

        Returns:
            Logits float32 ``[B * N, T, V]`` of the tokens of number ``step`` to ``step + T - 1``, and the cache.
        """
        hidden, cache = self._read(tokens, step, cache)
        return self.decoder.logits(hidden), cache

    def _read(self, tokens, step, cache):
        """Hidden states ``[B * N, T, D]`` of tokens ``[B * N, T]``, and the cache."""
        number = step - 1 + tf.range(tokens.shape[1])  # [T]
        written = (self._slots >= self._prompt_length) & (self._slots <= self._prompt_length + number[None, :, None])
        return self.decoder.step(
            tokens,
            cache,
            attention_mask=self._in_prompt | written,  # [B * N, T, S]
            positions=self._lengths[:, None] + number[None, :],
            key_positions=self._key_positions,
            slot=self._prompt_length + step - 1,
        )
