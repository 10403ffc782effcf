"""The cached loop: reads the prompts once, then one token at a time until every row has ended."""

from collections.abc import Callable

import tensorflow as tf

# B batch, P prompt length, L most new tokens, S slots = P + L, V vocabulary


def decode(
    decoder,
    prompt_ids: tf.Tensor,
    prompt_lengths: tf.Tensor,
    choose: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
    *,
    max_new_tokens: tf.Tensor,
    end_id: int | None,
    sees_whole_prompt: bool = False,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Continues each prompt.

    Args:
        decoder: a ``kzoo.models.gpt.Decoder``; positions up to P + L must exist in it.
        prompt_ids: int32 ``[B, P]``, padded on the right; every prompt has a token, and there is a prompt.
        prompt_lengths: int32 ``[B]``.
        choose: from logits float32 ``[B, V]`` and the number of the step to token ids int32 ``[B]``.
        max_new_tokens: int32 ``[B]``, most tokens of each row; L is the largest.
        end_id: the token that ends a row, or None.
        sees_whole_prompt: whether the tokens of a prompt look at one another both ways, not back only.

    Returns:
        The new tokens int32 ``[B, L]`` and how many of them count int32 ``[B]``; the end token is not counted, what
        follows is zero.
    """
    batch_size, prompt_length = tf.shape(prompt_ids)[0], tf.shape(prompt_ids)[1]
    limit = tf.maximum(tf.reduce_max(max_new_tokens), 0)
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

    def take(logits, step, ended, tokens, counts):
        token = choose(logits, step)  # [B]
        if end_id is not None:
            ended |= token == end_id
        token = tf.where(ended, 0, token)
        counts += tf.cast(~ended, tf.int32)
        ended |= step + 1 >= max_new_tokens
        return token, ended, tf.tensor_scatter_nd_update(tokens, [[step]], token[None, :]), counts

    def alive(step, ended):
        return (step < limit) & ~tf.reduce_all(ended)

    def body(step, token, ended, tokens, counts, cache):
        hidden, cache = decoder.step(
            token[:, None],
            cache,
            attention_mask=in_prompt | ((slots >= prompt_length) & (slots < prompt_length + step)),
            positions=(prompt_lengths + step - 1)[:, None],
            key_positions=key_positions,
            slot=prompt_length + step - 1,
        )
        token, ended, tokens, counts = take(decoder.logits(hidden[:, 0]), step, ended, tokens, counts)
        return step + 1, token, ended, tokens, counts, cache

    tokens = tf.zeros([tf.maximum(limit, 1), batch_size], tf.int32)  # step-major, written in place
    counts = tf.zeros([batch_size], tf.int32)
    first, ended, tokens, counts = take(decoder.logits(last), tf.constant(0), max_new_tokens <= 0, tokens, counts)
    *_, tokens, counts, _ = tf.while_loop(
        lambda step, token, ended, tokens, counts, cache: alive(step, ended),
        body,
        (tf.constant(1), first, ended, tokens, counts, cache),
        parallel_iterations=1,
    )
    return tf.transpose(tokens)[:, :limit], counts
