"""Every error of redis-py has been thought of."""

from __future__ import annotations

import inspect

import pytest
from redis import exceptions

from pipeline.core.errors import ServiceRefused, ServiceUnavailable
from workers.redis.connection import translate, translated

PASSING = """
    BusyLoadingError ClusterDownError ConnectionError MasterDownError MaxConnectionsError OutOfMemoryError ReadOnlyError
    TimeoutError TryAgainError WatchError
""".split()
REFUSED = """
    AskError AuthenticationError AuthenticationWrongNumberOfArgsError AuthorizationError ClusterCrossSlotError
    ClusterError DataError ExecAbortError ExternalAuthProviderError InvalidResponse LockError LockNotOwnedError
    ModuleError MovedError NoPermissionError NoScriptError NoSuchFieldsetError PubSubError RedisError ResponseError
""".split()


def test_the_tables_name_every_error_there_is() -> None:
    classes = vars(exceptions).values()
    known = {each.__name__ for each in classes if inspect.isclass(each) and issubclass(each, exceptions.RedisError)}
    assert known == {*PASSING, *REFUSED}


@pytest.mark.parametrize(
    ("name", "kind"), [*((name, ServiceUnavailable) for name in PASSING), *((name, ServiceRefused) for name in REFUSED)]
)
def test_each_is_waited_for_or_refused(name: str, kind: type[Exception]) -> None:
    error = getattr(exceptions, name)
    # Cluster redirections parse their words.
    words = "3999 127.0.0.1:6381" if name in {"AskError", "MovedError"} else "words"
    with pytest.raises(kind) as caught, translated():
        raise error(words)
    assert caught.value.remedy


@pytest.mark.parametrize(
    "words",
    [
        "MISCONF Errors writing to the AOF file: No space left on device",
        "BUSY Redis is busy running a script",
        "NOREPLICAS Not enough good replicas to write.",
    ],
)
def test_server_errors_that_pass_are_known_by_their_first_word(words: str) -> None:
    assert isinstance(translate(exceptions.ResponseError(words)), ServiceUnavailable)


def test_passwords_in_urls_are_not_shown() -> None:
    error = translate(exceptions.ConnectionError("cannot reach redis://:verysecret@host:6379/0"))
    assert "verysecret" not in str(error)
