"""Config files: strict reading, writing, and what the server would refuse."""

import subprocess
import sys

import pytest

from kzoo.errors import UserError
from kzoo.serving import protos

FULL = """
max_batch_size { value: 32 }
batch_timeout_micros { value: 2000 }
max_enqueued_batches { value: 100 }
num_batch_threads { value: 4 }
thread_pool_name { value: "pool" }
allowed_batch_sizes: 8
allowed_batch_sizes: 32
pad_variable_length_inputs: true
enable_large_batch_splitting { value: true }
max_execution_batch_size { value: 32 }
"""


def _refusal(function, *arguments, **options):
    with pytest.raises(UserError) as caught:
        function(*arguments, **options)
    return str(caught.value)


def test_described_messages_have_the_servers_field_numbers():
    numbers = {
        name: {field.name: field.number for field in message.DESCRIPTOR.fields}
        for name, message in (
            ("batching", protos.BatchingParameters), ("monitoring", protos.MonitoringConfig), ("ssl", protos.SSLConfig),
        )
    }  # fmt: skip
    assert numbers["batching"] == {
        "max_batch_size": 1, "batch_timeout_micros": 2, "max_enqueued_batches": 3, "num_batch_threads": 4,
        "thread_pool_name": 5, "allowed_batch_sizes": 6, "pad_variable_length_inputs": 7,
        "enable_large_batch_splitting": 8, "max_execution_batch_size": 9,
    }  # fmt: skip
    assert numbers["monitoring"] == {"prometheus_config": 1}
    assert numbers["ssl"] == {"server_key": 1, "server_cert": 2, "custom_ca": 3, "client_verify": 4}


def test_text_and_binary_come_back_the_same(tmp_path):
    message = protos.parse_text(FULL, protos.BatchingParameters)
    assert message.thread_pool_name.value == "pool" and list(message.allowed_batch_sizes) == [8, 32]
    assert protos.parse_text(protos.to_text(message), protos.BatchingParameters) == message
    assert protos.parse_binary(message.SerializeToString(), protos.BatchingParameters) == message
    protos.write(tmp_path / "batching.config", message, comment="written by a test\n\nfor a test")
    assert (tmp_path / "batching.config").read_text().startswith("# written by a test\n#\n# for a test\nmax_batch_size")
    assert protos.read(tmp_path / "batching.config", protos.BatchingParameters) == message
    assert [path.name for path in tmp_path.iterdir()] == ["batching.config"]


def test_the_wire_format_is_that_of_the_numbers():
    message = protos.parse_text("max_batch_size { value: 3 } allowed_batch_sizes: 3", protos.BatchingParameters)
    assert message.SerializeToString() == b"\x0a\x02\x08\x03\x32\x01\x03"


@pytest.mark.parametrize(
    "text, reason",
    [
        ("max_batch_size { value: 3 }\nmax_batch { value: 3 }", 'line 2 is not a valid BatchingParameters: Message '
         'type "tensorflow.serving.BatchingParameters" has no field named "max_batch"'),
        ("max_batch_size: 3", "line 1 is not a valid BatchingParameters"),
        ('max_batch_size { value: "3" }', "line 1 is not a valid BatchingParameters"),
        ("max_batch_size { value: 3 }\n\nmax_batch_size { value: 4 }", "line 3 is not a valid BatchingParameters"),
        ("max_batch_size {", "is not a valid BatchingParameters"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_line(tmp_path, text, reason):
    (tmp_path / "batching.config").write_text(text)
    message = _refusal(protos.read, tmp_path / "batching.config", protos.BatchingParameters)
    assert message.startswith(str(tmp_path / "batching.config")) and reason in message


def test_files_that_cannot_be_read(tmp_path):
    assert "cannot be read: No such file" in _refusal(protos.read, tmp_path / "no", protos.SSLConfig)
    (tmp_path / "binary").write_bytes(b"ab\xff")
    assert "byte 2 is not UTF-8" in _refusal(protos.read, tmp_path / "binary", protos.SSLConfig)


def test_binary_data_is_read_strictly():
    assert "is not a valid SSLConfig" in _refusal(protos.parse_binary, b"\x0a\xff", protos.SSLConfig, where="x.pb")
    unknown = b"\x0a\x04\x08\x01\x18\x05"  # a field 3 within prometheus_config
    assert "field number 3 in PrometheusConfig" in _refusal(protos.parse_binary, unknown, protos.MonitoringConfig)
    config = protos.ModelServerConfig()
    config.model_config_list.config.add(name="m").version_labels["a"] = 1
    assert protos.parse_binary(config.SerializeToString(), protos.ModelServerConfig) == config


@pytest.mark.parametrize(
    "models, reason",
    [
        ("", "must list at least one model"),
        ('config { base_path: "/m" model_platform: "tensorflow" }', "every model needs a name"),
        (
            'config { name: "m" base_path: "m" model_platform: "tensorflow" }',
            "must be absolute. Received 'm' for model 'm'",
        ),
        ('config { name: "m" model_platform: "tensorflow" }', "must be absolute. Received ''"),
        ('config { name: "m" base_path: "/m" }', "needs model_platform"),
        ('config { name: "m" base_path: "/m" model_platform: "tensorflow" }' * 2, "Received 'm' twice"),
    ],
)
def test_model_configs_the_server_would_refuse(models, reason):
    config = protos.parse_text(f"model_config_list {{ {models} }}", protos.ModelServerConfig)
    assert reason in _refusal(protos.check_model_config, config)


def test_model_configs_the_server_takes():
    for path in ("/models/m", "gs://bucket/m"):
        text = f'model_config_list {{ config {{ name: "m" base_path: "{path}" model_platform: "tensorflow" }} }}'
        protos.check_model_config(protos.parse_text(text, protos.ModelServerConfig))


@pytest.mark.parametrize(
    "text, reason",
    [
        ("max_batch_size { value: 0 }", "max_batch_size must be at least 1. Received 0"),
        ("num_batch_threads { value: -1 }", "num_batch_threads must be at least 1"),
        ("batch_timeout_micros { value: -1 }", "must not be negative"),
        ("max_batch_size { value: 8 } allowed_batch_sizes: 8 allowed_batch_sizes: 4", "must increase"),
        ("max_batch_size { value: 8 } allowed_batch_sizes: 4", "must equal max_batch_size. Received 4 and 8"),
        ("allowed_batch_sizes: 4", "must equal max_batch_size. Received 4 and 1000"),
        ("max_batch_size { value: 8 } max_execution_batch_size { value: 9 }", "Received 9 and 8"),
    ],
)
def test_batching_the_server_would_refuse(text, reason):
    assert reason in _refusal(protos.check_batching, protos.parse_text(text, protos.BatchingParameters))
    protos.check_batching(protos.parse_text(FULL, protos.BatchingParameters))
    protos.check_batching(protos.BatchingParameters())


def test_no_tensorflow_is_loaded():
    code = "import sys; import kzoo.serving.protos; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == 0
