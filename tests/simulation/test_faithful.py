"""The simulated server is faithful: random commands and scripts have the replies and effects of a plain server."""

from __future__ import annotations

import random
from contextlib import closing

import pytest
from hiredis import Reader, pack_command

from tests.fixtures.redis import RedisServer
from tests.simulation.grounds import simulated_server
from tests.simulation.server import Wire

COMMANDS = 400
FAR_MS = 4_000_000_000_000  # a time that comes on neither clock
SCRIPTS = (
    "redis.call('HSET', KEYS[1], ARGV[1], ARGV[2]) return redis.call('HLEN', KEYS[1])",
    "return { redis.sha1hex(ARGV[1]), cjson.encode({ ARGV[2] }), string.format('%.3f', tonumber(ARGV[2]) / 7) }",
    "local reply = redis.pcall('RPUSH', KEYS[1], ARGV[1]) return reply.err or reply",
    "return redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])",
    "return redis.call('XADD', KEYS[1], ARGV[2] .. '-1', 'job', ARGV[1])",
    "error('stop at ' .. ARGV[1])",
    "return #redis.call('LRANGE', KEYS[1], 0, -1)",
)
TEMPLATES = (
    "SET KEY TEXT", "SET KEY TEXT NX", "INCR KEY", "APPEND KEY TEXT", "GET KEY", "DEL KEY",
    "HSET KEY TEXT NUMBER", "HINCRBY KEY TEXT NUMBER", "HGETALL KEY", "HMGET KEY a b c", "HDEL KEY TEXT",
    "SADD KEY TEXT", "SREM KEY TEXT", "SMEMBERS KEY", "SCARD KEY",
    "ZADD KEY NUMBER TEXT", "ZRANGE KEY 0 -1 WITHSCORES", "ZRANGEBYSCORE KEY -inf NUMBER LIMIT 0 2", "ZPOPMIN KEY",
    "RPUSH KEY TEXT", "LPOP KEY", "LRANGE KEY 0 -1", "LLEN KEY", "EXISTS KEY",
    "XADD KEY NUMBER-2 job TEXT", "XLEN KEY", "XRANGE KEY - +", "XGROUP CREATE KEY pool 0 MKSTREAM",
    "XDEL KEY NUMBER-2", "XREADGROUP GROUP pool w1 COUNT 2 STREAMS KEY >", "XACK KEY pool NUMBER-2",
    "XPENDING KEY pool", f"PEXPIREAT KEY {FAR_MS}", "PEXPIRETIME KEY", "PERSIST KEY", "TYPE KEY",
    "SCRIPT EXISTS NUMBER", "NOSUCHCOMMAND KEY",
)  # fmt: skip
READS = {  # of a key by its type
    "string": "GET {}",
    "hash": "HGETALL {}",
    "set": "SMEMBERS {}",
    "zset": "ZRANGE {} 0 -1 WITHSCORES",
    "list": "LRANGE {} 0 -1",
    "stream": "XINFO STREAM {} FULL",
}
CLOCKS = {b"seen-time", b"active-time", b"pel", b"pending"}  # of a consumer, by the server's clock


@pytest.fixture(scope="module")
def plain():
    with closing(RedisServer()) as process, closing(Wire(str(process.start().socket_path))) as wire:
        wire.ask(("HELLO", "3"))
        yield wire


@pytest.fixture(scope="module")
def simulated():
    """Ask the simulated server through a connection of a schedule."""
    with simulated_server() as server:
        server.begin(None, fresh=True)
        raw: list[bytes] = []
        session = server.open(raw.append)

        def ask(*commands):
            server.execute(session, b"".join(map(pack_command, commands)))
            reader = Reader()
            reader.feed(b"".join(raw))
            raw.clear()
            return [reader.gets() for _ in commands]

        yield ask
        server.finish()


def random_command(chance) -> tuple[str, ...]:
    """Return a command or a script; a third of them of another type than that of their key."""
    words = {"KEY": f"{chance.choice('hszlx')}{chance.randint(0, 2)}", "TEXT": chance.choice("abcdé")}
    number = str(chance.randint(1, 30))
    if chance.random() < 0.3:
        return "EVAL", chance.choice(SCRIPTS), "1", words["KEY"], words["TEXT"], number
    parts = chance.choice(TEMPLATES).split(" ")
    return tuple(words.get(part, part.replace("NUMBER", number)) for part in parts)


def comparable(value: object) -> object:
    """Return a reply without the order of sets and the times of the server."""
    if isinstance(value, Exception):
        return type(value).__name__, str(value)
    if isinstance(value, dict):
        return {key: comparable(item) for key, item in value.items() if key not in CLOCKS}
    if isinstance(value, list):
        return [comparable(item) for item in value]
    return value


def replies(ask, commands) -> list[object]:
    found = []
    for command in commands:
        (reply,) = ask(command)
        in_no_order = command[0] in {"SMEMBERS", "KEYS"} and isinstance(reply, list)
        found.append(sorted(reply) if in_no_order else comparable(reply))
    return found


def state(ask) -> dict[bytes, object]:
    """Return the content and the expiry of all keys."""
    (keys,) = replies(ask, [("KEYS", "*")])
    return {key: replies(ask, _reads(ask, key)) for key in keys}


def _reads(ask, key: bytes) -> list[tuple[str, ...]]:
    (kind,) = ask(("TYPE", key))
    return [tuple(READS[kind.decode()].format(key.decode()).split(" ")), ("PEXPIRETIME", key.decode())]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_random_commands_have_the_same_effects(plain, simulated, seed):
    """Replies, errors, and the keys at the end are those of a plain server."""
    chance = random.Random(seed)
    commands = [("FLUSHALL",), *(random_command(chance) for _ in range(COMMANDS))]
    expected = replies(plain.ask, commands)
    for command, wanted, found in zip(commands, expected, replies(simulated, commands), strict=True):
        assert found == wanted, command
    assert state(simulated) == state(plain.ask)


def test_a_blocking_read_of_a_list_with_elements(plain, simulated):
    """A blocking read, which the simulation carries out itself, takes the first element, as on a plain server."""
    commands = [("FLUSHALL",), ("RPUSH", "l", "one", "two"), ("BLPOP", "none", "l", "1"), ("LLEN", "l")]
    assert replies(simulated, commands) == replies(plain.ask, commands)
