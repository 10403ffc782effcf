"""Building the parts of a composed layer."""


def build_parts(shape, *parts):
    """Creates the weights of layers that do not have them yet; None is passed over.

    Keras builds a layer that it reads from a config at once, so that a part may be built before its owner.
    """
    for part in parts:
        if part is not None and not part.built:
            part.build(shape)
