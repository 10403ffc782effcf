"""Text made ready before training: normalized, without duplicates, filtered, personal data redacted, and a report.

``prepare`` reads files of any size and writes a folder that training and ``kzoo data tokenize`` read. Nothing here
imports TensorFlow, so that worker processes start at once.
"""

from kzoo.data.preparing.config import Preparation
from kzoo.data.preparing.prepare import Prepared, prepare

__all__ = ["Preparation", "Prepared", "prepare"]
