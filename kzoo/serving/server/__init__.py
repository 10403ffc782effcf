"""A model server in this process, with the API of ``tensorflow_model_server``, for laptops and tests."""

from kzoo.serving.server.options import Options
from kzoo.serving.server.server import Server

__all__ = ["Options", "Server"]
