"""A suite that puts requests to any server of TensorFlow Serving's API and judges the replies.

What is expected are facts about the genuine ``tensorflow_model_server`` 2.19.1, written down as rules: what its models
answer is worked out (``expected``), how it refuses is listed beside the request (the ``*_cases``).
"""
