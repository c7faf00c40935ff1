"""Every error of redis-py, and every wording of a server, is waited for or refused."""

from __future__ import annotations

import inspect

import pytest
from redis import exceptions
from redis._parsers.base import BaseParser

from pipeline.core.errors import ServiceRefused, ServiceUnavailable
from workers.redis.connection import TcpConnection, translate, translated

PASSING = """
    BusyLoadingError ClusterDownError ConnectionError MasterDownError MaxConnectionsError NoScriptError OutOfMemoryError
    ReadOnlyError TimeoutError TryAgainError WatchError
""".split()
REFUSED = """
    AskError AuthenticationError AuthenticationWrongNumberOfArgsError AuthorizationError ClusterCrossSlotError
    ClusterError DataError ExecAbortError ExternalAuthProviderError InvalidResponse LockError LockNotOwnedError
    ModuleError MovedError NoPermissionError NoSuchFieldsetError PubSubError RedisError ResponseError
""".split()

#: What servers answer while they do not serve. The wordings of scripts, OOM, READONLY and MISCONF are those that Redis
#: 6.2.5, Redis 7.0.15 and Valkey 9.1.2 gave: from Redis 7 the code of a script's error is its first word.
NOT_READY = [
    "READONLY You can't write against a read only replica.",
    "READONLY You can't write against a read only replica. script: 5f0c, on @user_script:3.",
    "ERR Error running script (call to f_5f0c): @user_script:3: @user_script: 3: -READONLY You can't write against a"
    " read only replica.",
    "READONLY You can't write against a read only replica. script: on @user_script:1.",
    "NOREPLICAS Not enough good replicas to write. script: on @user_script:1.",
    "LOADING Redis is loading the dataset in memory",
    "OOM command not allowed when used memory > 'maxmemory'.",
    "OOM command not allowed when used memory > 'maxmemory'. script: 5f0c, on @user_script:1.",
    "ERR Error running script (call to f_5f0c): @user_script:1: @user_script: 1: -OOM command not allowed when used"
    " memory > 'maxmemory'.",
    "MISCONF Errors writing to the AOF file: No space left on device",
    "ERR Error running script (call to f_5f0c): @user_script:1: @user_script: 1: -MISCONF Redis is configured to save"
    " RDB snapshots, but it is currently not able to persist on disk.",
    "EXECABORT Transaction discarded because of: OOM command not allowed when used memory > 'maxmemory'.",
    "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
    "NOREPLICAS Not enough good replicas to write.",
    "CLUSTERDOWN The cluster is down",
    "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    "TRYAGAIN Multiple keys request during rehashing of slot",
    "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)",
    "ERR max number of clients reached",
]
#: What they answer where another program has written a key: a worker sets it aside, and until then callers wait.
WRONG_TYPE = [
    "WRONGTYPE Operation against a key holding the wrong kind of value",
    "ERR Error running script (call to f_5f0c): @user_script:1: WRONGTYPE Operation against a key holding the wrong"
    " kind of value",
]
#: What servers answer to a mistake of ours, or of the person who set them up.
MISTAKES = [
    "ERR user_script:1: Expected value but found invalid token at character 1 script: 5f0c, on @user_script:1.",
    "ERR unknown command 'ZRANGESTORE'",
    "ERR Error running script (call to f_5f0c): @user_script:3: user_script:3: attempt to index a nil value",
    "BUSYKEY Target key name already exists.",
    "NOAUTH Authentication required.",
    "NOPERM this user has no permissions to run the 'eval' command",
    "MOVED 3999 127.0.0.1:6381",
    "ERR the words READONLY and OOM are somewhere in it",
]


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


class Answers:
    """The parser of a connection, with one answer."""

    def __init__(self, answer: object) -> None:
        self.answer = answer

    def read_response(self, **_: object) -> object:
        if isinstance(self.answer, exceptions.ConnectionError):
            raise self.answer
        return self.answer

    def on_disconnect(self) -> None:
        pass


def _read(answer: object) -> object:
    connection = TcpConnection(host="nobody", health_check_interval=0)
    connection._parser = Answers(answer)
    return connection.read_response()


@pytest.mark.parametrize("words", WRONG_TYPE)
@pytest.mark.parametrize(
    ("command", "keys"),
    [
        (("GET", "pagesight:epoch"), "pagesight:epoch"),
        (("EVALSHA", "5f0c", 2, "pagesight:pulse", "pagesight:grace", "value"), "pagesight:pulse, pagesight:grace"),
    ],
)
def test_a_key_of_another_type_is_named_and_waited_for(words: str, command: tuple[object, ...], keys: str) -> None:
    connection = TcpConnection(host="nobody", health_check_interval=0)
    connection._parser = Answers(BaseParser.parse_error(words))
    connection.send_packed_command = lambda *_, **__: None
    connection.send_command(*command)
    with pytest.raises(exceptions.ResponseError) as caught:
        connection.read_response()
    translated_error = translate(caught.value)
    assert isinstance(translated_error, ServiceUnavailable)
    assert str(translated_error).endswith(f"({keys})")
    assert "rename the key" in translated_error.remedy


@pytest.mark.parametrize("words", NOT_READY)
def test_a_server_that_does_not_serve_now_counts_as_a_lost_connection(words: str) -> None:
    with pytest.raises(exceptions.ConnectionError) as caught:
        _read(BaseParser.parse_error(words))
    assert isinstance(translate(caught.value), ServiceUnavailable)
    assert isinstance(translate(BaseParser.parse_error(words)), ServiceUnavailable)


@pytest.mark.parametrize("words", ["READONLY no", "OOM no", "MISCONF no", "UNBLOCKED no"])
def test_so_does_one_that_reports_it_at_the_end_of_a_transaction(words: str) -> None:
    with pytest.raises(exceptions.ConnectionError):
        _read([1, BaseParser.parse_error(words)])


@pytest.mark.parametrize("words", MISTAKES)
def test_a_mistake_is_not_taken_for_a_lost_connection(words: str) -> None:
    error = BaseParser.parse_error(words)
    with pytest.raises(type(error)) as caught:
        _read(error)
    assert isinstance(translate(caught.value), ServiceRefused)


def test_a_missing_script_is_left_to_redis_py_which_loads_it() -> None:
    missing = BaseParser.parse_error("NOSCRIPT No matching script. Please use EVAL.")
    with pytest.raises(exceptions.NoScriptError):
        _read(missing)
    assert isinstance(translate(missing), ServiceUnavailable)


def test_passwords_in_urls_are_not_shown() -> None:
    error = translate(exceptions.ConnectionError("cannot reach redis://:verysecret@host:6379/0"))
    assert "verysecret" not in str(error)
