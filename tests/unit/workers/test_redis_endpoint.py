"""URLs of Redis: what each connects to, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.core.errors import SettingsError
from workers.redis.connection import RedisEndpoint, SocketConnection, TcpConnection, TlsConnection

LOGIN = {"username": "fleet", "password": "p@ss/w:rd"}
NO_LOGIN = {"username": None, "password": None}


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://h", {"connection_class": TcpConnection, "host": "h", "port": 6379, "db": 0, **NO_LOGIN}),
        ("redis://h:1/2", {"connection_class": TcpConnection, "host": "h", "port": 1, "db": 2, **NO_LOGIN}),
        ("redis://[::1]:1/2", {"connection_class": TcpConnection, "host": "::1", "port": 1, "db": 2, **NO_LOGIN}),
        ("redis://fleet:p%40ss%2Fw%3Ard@h", {"connection_class": TcpConnection, "host": "h", **LOGIN}),
        ("rediss://fleet:p%40ss%2Fw%3Ard@h?db=3", {"connection_class": TlsConnection, "host": "h", "db": 3, **LOGIN}),
        ("unix:///run/a%20b.sock?db=3", {"connection_class": SocketConnection, "path": "/run/a b.sock", "db": 3}),
        ("unix://fleet:p%40ss%2Fw%3Ard@/run/a.sock", {"connection_class": SocketConnection, "db": 0, **LOGIN}),
    ],
)
def test_a_url_names_the_connection(url: str, expected: dict[str, Any]) -> None:
    assert RedisEndpoint(url).parameters().items() >= expected.items()


@pytest.mark.parametrize(
    "url",
    [
        "http://secret@h",
        "redis://h/secret",
        "redis://h:99999",
        "redis://:secret/rest@h:1/0",
        "redis://[secret",
        "unix://",
        "redis://h?ssl_ca_certs=x",
        "rediss://h?ssl_cert_reqs=none",
        "rediss://h?ssl_check_hostname=false",
        "rediss://h?ssl_ca_certs=/nothing/there",
        "rediss://h?ssl_keyfile=/nothing/there",
    ],
)
def test_other_urls_are_refused_without_showing_a_password(url: str) -> None:
    with pytest.raises(SettingsError) as caught:
        RedisEndpoint(url).parameters()
    assert "secret" not in str(caught.value)
    assert caught.value.remedy
    assert "secret" not in RedisEndpoint(url).shown


def test_a_file_that_is_no_certificate_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    with pytest.raises(SettingsError, match="TLS files"):
        RedisEndpoint("rediss://h", tmp_path / "ca.pem").parameters()
