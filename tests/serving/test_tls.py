"""Certificates: read with care, written for the owner alone, joined to a bundle."""

import os
import re
import stat
import subprocess

import pytest
import yaml

from kzoo.errors import UserError
from kzoo.serving import protos, tls
from kzoo.serving.bundle import bundle
from kzoo.serving.client import connect
from kzoo.serving.secured import secure
from tests.serving.test_promotion import small  # noqa: F401


def test_the_server_is_given_the_texts_of_certificate_and_key(tmp_path, certificate):
    tls.write(tmp_path / "ssl.config", tls.read(certificate.certificate, certificate.key))
    told = protos.read(tmp_path / "ssl.config", protos.SSLConfig)
    assert told.server_cert == certificate.certificate.read_text() and told.server_key == certificate.key.read_text()
    assert not told.client_verify
    assert stat.S_IMODE(os.stat(tmp_path / "ssl.config").st_mode) == 0o600


def test_what_is_no_certificate_is_refused(tmp_path, certificate):
    (tmp_path / "text.pem").write_text("nothing")
    (tmp_path / "binary.pem").write_bytes(b"\xff\xfe")
    locked = tmp_path / "locked.pem"
    subprocess.run(
        ["openssl", "ec", "-in", certificate.key, "-aes128", "-passout", "pass:secret", "-out", locked],
        check=True,
        capture_output=True,
    )
    for paths, message in (
        ((tmp_path / "missing.pem", certificate.key), "missing.pem cannot be read: No such file"),
        ((tmp_path / "binary.pem", certificate.key), "binary.pem is not a PEM file"),
        ((tmp_path / "text.pem", certificate.key), "must be a PEM certificate and its key without a passphrase"),
        ((certificate.certificate, locked), "without a passphrase"),
        ((certificate.certificate, certificate.certificate), "must be a PEM certificate and its key"),
    ):
        with pytest.raises(UserError, match=message):
            tls.read(*paths)
    with pytest.raises(UserError, match="text.pem is not a file of PEM certificates"):
        connect("https://localhost:8501", ca=tmp_path / "text.pem")


def test_a_bundle_with_a_certificate(tmp_path, small, certificate):  # noqa: F811
    path = bundle({"small": small}, tmp_path / "bundle")
    given = tls.read(certificate.certificate, certificate.key)
    secure(path, given)
    assert stat.S_IMODE(os.stat(path / "tls").st_mode) == 0o700
    assert {file.name: stat.S_IMODE(os.stat(file).st_mode) for file in (path / "tls").glob("*.pem")} == {
        "certificate.pem": 0o600,
        "key.pem": 0o600,
    }
    (path / "tls" / "nginx.conf").write_text("mine")
    secure(path, given)
    assert (path / "tls" / "nginx.conf").read_text() == "mine"

    class Loader(yaml.SafeLoader):
        """Takes Compose's own tag."""

    Loader.add_constructor("!override", lambda loader, node: loader.construct_sequence(node))
    plain = yaml.safe_load((path / "compose.yaml").read_text())["services"]["serving"]
    secured = yaml.load((path / "compose.tls.yaml").read_text(), Loader)["services"]
    assert secured["serving"]["command"] == [*plain["command"], "--ssl_config_file=/bundle/tls/ssl.config"]
    assert not any("8501" in port for port in secured["serving"]["ports"])  # REST goes through the proxy alone
    assert secured["proxy"]["ports"] == ["127.0.0.1:8443:8443"]
    for volume in secured["proxy"]["volumes"]:
        assert (path / volume.partition(":")[0]).exists()


def test_the_proxy_names_the_server_and_the_files_that_are_there(tmp_path, small, certificate):  # noqa: F811
    path = bundle({"small": small}, tmp_path / "bundle")
    secure(path, tls.read(certificate.certificate, certificate.key))
    text = (path / "tls" / "nginx.conf").read_text()
    assert re.search(r"server serving:8501;", text) and "listen 8443 ssl;" in text
    for file in re.findall(r"ssl_certificate\w* /tls/(.*);", text):
        assert (path / "tls" / file).is_file()
    bare = re.sub(r"#.*", "", text)
    assert bare.count("{") == bare.count("}")
    for line in filter(None, map(str.strip, bare.splitlines())):
        assert line.endswith((";", "{", "}")), line
