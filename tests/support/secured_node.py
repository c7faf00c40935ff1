"""A second real Elasticsearch, with security and TLS: its users have the very roles of `mappings/roles`.

Its distribution lacks what the indices of security need, so roles, users and API keys cannot be made over HTTP there.
"""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from elasticsearch import Elasticsearch

from pipeline.local.distribution import find_jdk
from pipeline.local.elasticsearch import node_account
from pipeline.search import ROLES
from pipeline.search.roles import role_body

START_SECONDS = 180.0
ADMIN = "admin"
#: May run `pagesight setup`, but not install roles: this distribution cannot store them.
INSTALLER = "installer"


@dataclass(frozen=True)
class SecuredNode:
    """A running node, and what its users need."""

    address: str
    """Host and port."""
    ca: Path
    """The CA that signed its certificate."""
    other_ca: Path
    """One that did not."""
    passwords: dict[str, str]
    """By user: one for each role, called like it, and `admin`."""

    def url(self, user: str | None = None, password: str | None = None) -> str:
        """Return the URL with which a user signs in; nobody does when None."""
        sign_in = f"{user}:{password or self.passwords[user]}@" if user else ""
        return f"https://{sign_in}{self.address}"

    def client(self, user: str = ADMIN) -> Elasticsearch:
        return Elasticsearch(self.url(user), ca_certs=str(self.ca), request_timeout=60, max_retries=0)


def stored(password: str) -> str:
    """Return how the file realm keeps a password."""
    salt, cost = os.urandom(32), 1000
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, cost, 32)
    return f"{{PBKDF2}}{cost}${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}"


def write_users(config: Path, passwords: dict[str, str]) -> None:
    """Write users, and the project's roles as this realm's file has them."""
    roles: dict[str, Any] = {role: role_body(role, "") for role in ROLES}
    roles[INSTALLER] = role_body("reindexer") | {"cluster": ["manage_index_templates", "cluster:admin/analyze"]}
    (config / "roles.yml").write_text(yaml.safe_dump(roles))
    (config / "users").write_text("".join(f"{user}:{stored(word)}\n" for user, word in passwords.items()))
    given = {ADMIN: "superuser"}
    (config / "users_roles").write_text("".join(f"{given.get(user, user)}:{user}\n" for user in passwords))


def write_certificates(folder: Path) -> None:
    """Write a CA, the certificate that it signed for the node, and a CA that signed nothing."""
    ca_key, ca = _certificate("Test CA", None)
    _, other = _certificate("Other CA", None)
    key, certificate = _certificate("127.0.0.1", (ca_key, ca))
    _write_pem(folder / "ca.pem", ca)
    _write_pem(folder / "other-ca.pem", other)
    _write_pem(folder / "node.pem", certificate)
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "node.key").write_bytes(key.private_bytes(*form))


def _write_pem(path: Path, certificate: x509.Certificate) -> None:
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


def _certificate(
    name: str, issuer: tuple[ec.EllipticCurvePrivateKey, x509.Certificate] | None
) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signer = issuer[0] if issuer else key
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer[1].subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    if issuer is None:
        usage = dict.fromkeys(
            "content_commitment key_encipherment data_encipherment key_agreement encipher_only decipher_only".split(),
            False,
        )
        builder = builder.add_extension(
            x509.KeyUsage(digital_signature=True, key_cert_sign=True, crl_sign=True, **usage), critical=True
        )
    else:
        names = x509.SubjectAlternativeName([x509.IPAddress(ip_address(name)), x509.DNSName("localhost")])
        builder = builder.add_extension(names, critical=False)
    return key, builder.sign(signer, hashes.SHA256())


@pytest.fixture(scope="module")
def secured_node(elasticsearch_distribution: Path) -> Iterator[SecuredNode]:
    """A running node with security and TLS, for a module of tests."""
    (installation,) = elasticsearch_distribution.glob("elasticsearch-*")
    with tempfile.TemporaryDirectory(prefix="pagesight-secured-") as temporary:
        folder = Path(temporary)
        folder.chmod(0o755)
        config = folder / "config"
        shutil.copytree(installation / "config", config)
        for name in ("data", "logs", "tmp", "snapshots"):
            (folder / name).mkdir()
        passwords = {user: secrets.token_hex(8) for user in (*ROLES, INSTALLER, ADMIN)}
        write_users(config, passwords)
        write_certificates(config)
        process = _launch(installation, folder)
        try:
            address = _await_address(process, folder)
            yield SecuredNode(address, config / "ca.pem", config / "other-ca.pem", passwords)
        finally:
            process.terminate()
            process.wait(60)


def _launch(installation: Path, folder: Path) -> subprocess.Popen[bytes]:
    settings = {
        "discovery.type": "single-node",
        "xpack.security.enabled": "true",
        "xpack.security.http.ssl.enabled": "true",
        "xpack.security.http.ssl.key": "node.key",
        "xpack.security.http.ssl.certificate": "node.pem",
        "network.host": "127.0.0.1",
        "http.port": "9400-9499",
        "transport.port": 0,
        "node.portsfile": "true",
        "path.data": folder / "data",
        "path.logs": folder / "logs",
        "path.repo": folder / "snapshots",
        "indices.breaker.total.use_real_memory": "false",
        "cluster.routing.allocation.disk.watermark.low": "1b",
        "cluster.routing.allocation.disk.watermark.high": "1b",
        "cluster.routing.allocation.disk.watermark.flood_stage": "1b",
    }
    command = [str(installation / "bin" / "elasticsearch"), *(f"-E{name}={value}" for name, value in settings.items())]
    if account := node_account(folder):
        user, group = account
        command = ["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups", *command]
        for place in (folder, *folder.rglob("*")):
            os.chown(place, user, group)
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "ES_JAVA_HOME": str(find_jdk(os.environ)),
        "ES_JAVA_OPTS": "-Xms512m -Xmx512m",
        "ES_PATH_CONF": str(folder / "config"),
        "ES_TMPDIR": str(folder / "tmp"),
    }
    with (folder / "console.log").open("wb") as console:
        return subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=console, stderr=subprocess.STDOUT
        )


def _await_address(process: subprocess.Popen[bytes], folder: Path) -> str:
    """Wait until the node answers, and return where."""
    ports, deadline = folder / "logs" / "http.ports", time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        if ports.exists() and (lines := ports.read_text().split()):
            return lines[0]
        time.sleep(0.2)
    raise AssertionError((folder / "console.log").read_text(errors="replace")[-3000:])
