"""A page at ``/`` for a person: the models, their versions and signatures, and a box to try one."""


def front_page(registry) -> bytes:
    """To be written."""
    return b""
