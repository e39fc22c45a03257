"""The primary host application: online, offline, and who else says so in its name."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from agent.sparkplug.host import Host
from tests.sparkplug_bench import (
    MS,
    NOW,
)


def test_will_and_birth_have_the_time_of_their_connection():
    """Offline by will, online by birth, with the same time stamp; a later connection has a later one."""
    host = Host("gatepost")
    will = json.loads(host.connecting(NOW))
    birth = host.say(online=True)
    assert will == {"online": False, "timestamp": MS}
    assert birth is not None
    assert json.loads(birth) == {"online": True, "timestamp": MS}
    assert host.say(online=True) is None
    assert json.loads(host.connecting(NOW - timedelta(hours=1)))["timestamp"] > MS


@pytest.mark.parametrize(
    "payload", [b'{"online": false, "timestamp": 1}', b"no json", b"[" * 100_000, b"{}", b"OFFLINE"]
)
def test_whoever_says_that_we_are_offline_is_contradicted(payload: bytes):
    """An old will, or rubbish: we say again that we are online, with the same time stamp."""
    host = Host("gatepost")
    host.connecting(NOW)
    host.say(online=True)
    assert host.heard(payload) is None
    again = host.say(online=True)
    assert again is not None
    assert json.loads(again) == {"online": True, "timestamp": MS}


def test_who_is_offline_by_intention_does_not_contradict():
    """While the store takes nothing we are offline, and hear ourselves say so."""
    host = Host("gatepost")
    host.connecting(NOW)
    host.say(online=True)
    offline = host.say(online=False)
    assert offline is not None
    host.heard(offline)
    assert host.say(online=False) is None


def test_a_second_host_of_the_same_name_is_an_alarm():
    """Another time stamp that is online is another application with our id; told once."""
    host = Host("gatepost")
    host.connecting(NOW)
    host.say(online=True)
    notice = host.heard(b'{"online": true, "timestamp": 5}')
    assert notice is not None
    assert notice.action == "second_host"
    assert host.heard(b'{"online": true, "timestamp": 5}') is None
