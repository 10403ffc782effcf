"""From a task to a served answer: export, audit, warm-up, bundle, launch; a server and a client for laptops and tests.

``kzoo.export`` writes a SavedModel, ``kzoo.bundle`` a folder that TensorFlow Serving runs as it is, ``kzoo.serve``
starts a server over it.
"""
