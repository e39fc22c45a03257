"""Sessions of edge nodes: births, numbers, aliases, deaths, requests for births, and what outlives a restart."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from agent.errors import StoreUnfit
from agent.sparkplug.session import CLOCK_S, Effects, Lost
from agent.tags.values import Change, Quality, Write
from tests.sparkplug_bench import (
    BOOLEAN,
    INT32,
    INT64,
    MS,
    NOW,
    STRING,
    TAGS,
    UINT32,
    birth_of_device,
    message,
    metric,
    nbirth,
    ndeath,
    payload,
    template,
)
from tests.sparkplug_nodes import ALL, OF_DEVICE, Plant, actions, data, lost, said


def test_births_bring_the_values_of_node_and_device():
    """After NBIRTH and DBIRTH the node is online and every tag has a value; that is worth a checkpoint."""
    plant = Plant()
    born = plant.born(100)
    assert said(born)["total"] == 100
    assert set(said(born)) == ALL
    assert plant.node.state == "online"
    assert born.remember
    assert not born.notices


def test_data_come_by_alias_and_by_name():
    """An alias stands for the name that the birth gave it; changes of one message stay together."""
    plant = Plant()
    plant.born()
    heard = plant.hear(
        data(2, metric(value=105, alias=1), metric(value=1, alias=2, field=14)), data(3, metric("Total", 106, UINT32))
    )
    assert [[one.now.value for one in step] for step in heard.steps if not isinstance(step, Lost)] == [
        [105, True],
        [106],
    ]
    assert not heard.remember


def test_what_no_tag_reads_is_recognised_and_not_looked_at():
    """A declared metric that nobody reads causes nothing, even if its value makes no sense."""
    plant = Plant()
    plant.hear(
        message("NBIRTH", nbirth()),
        message("DBIRTH", payload(*birth_of_device(1), metric("Other", 5, INT32, alias=77), seq=1), "D"),
    )
    heard = plant.hear(data(2, metric(value=1.5, alias=77, field=13)))
    assert heard == Effects()


def test_historical_values_are_marked():
    """What a node stored while nobody listened comes as such."""
    plant = Plant()
    plant.born()
    heard = plant.hear(data(2, metric(value=101, alias=1, historical=True, at=MS - 60000)))
    ((change,),) = (step for step in heard.steps if not isinstance(step, Lost))
    assert change == Change("total", change.now, historical=True)
    assert change.now.at == NOW - timedelta(minutes=1)


def test_messages_out_of_order_are_put_in_order():
    """What came too early waits for its turn; nothing is lost and nobody is asked."""
    plant = Plant()
    plant.born()
    assert not plant.hear(data(4)).steps
    assert not plant.hear(data(3)).steps
    heard = plant.hear(data(2))
    assert [step[0].now.value for step in heard.steps if not isinstance(step, Lost)] == [2, 3, 4]
    assert not plant.later(60).rebirths


def test_numbers_go_round():
    """After 255 comes 0."""
    plant = Plant()
    plant.born()
    for seq in (*range(2, 256), *range(5)):
        assert said(plant.hear(data(seq))) == {"total": seq}
    assert plant.node.gaps == 0


def test_a_missing_number_makes_the_tags_stale_and_asks_for_births():
    """After the reorder timeout the gap is noted and births are asked for; until they come data decide nothing."""
    plant = Plant(reorder_s=2)
    plant.born()
    assert not plant.hear(data(3)).steps
    assert not plant.later(1.9).rebirths
    heard = plant.later(0.2)
    assert heard.rebirths == ["G/N"]
    assert lost(heard) == ALL
    (gap,) = heard.notices
    assert (gap.action, gap.detail["first_missing"], gap.detail["missing"]) == ("sequence_gap", 2, 1)
    assert not plant.hear(data(4)).steps
    assert said(plant.born(120))["total"] == 120
    assert plant.node.shown(plant.now().at)["trouble"]["over"]


def test_without_patience_a_gap_is_one_at_once():
    """reorder_s 0 waits for nothing."""
    plant = Plant(reorder_s=0)
    plant.born()
    assert plant.hear(data(3)).rebirths == ["G/N"]


def test_a_message_that_comes_twice_is_taken_once():
    """The same number with the same bytes is a repetition: no gap, no second change."""
    plant = Plant()
    plant.born()
    plant.hear(data(2))
    assert not plant.hear(data(2)).steps
    assert not plant.later(10).rebirths
    assert plant.node.duplicates == 1


def test_a_birth_that_was_missed_is_noticed_by_its_numbers():
    """A node that began anew unheard does not pass for the one before: its numbers do not go on."""
    plant = Plant()
    plant.born()
    plant.hear(data(2), data(3), data(4), data(1))
    assert plant.later(3).rebirths == ["G/N"]
    assert plant.node.state == "stale"


def test_a_late_join_asks_for_births():
    """Data before any birth are no values; the node is asked."""
    plant = Plant()
    heard = plant.hear(data(17))
    assert not heard.steps
    assert heard.rebirths == ["G/N"]


def test_an_alias_that_nobody_declared_makes_stale_and_asks():
    """It may be that a birth was missed: what the other aliases mean is no longer certain."""
    plant = Plant()
    plant.born()
    heard = plant.hear(data(2, metric(value=1, alias=1), metric(value=5, alias=55)))
    assert said(heard) == {}
    assert lost(heard) == ALL
    assert heard.rebirths == ["G/N"]
    assert actions(heard) == ["metric_undeclared"]


def test_an_alias_that_even_the_rebirth_does_not_declare_is_let_be():
    """A node that sends what it never declares is useless for that metric only, and is not asked for ever."""
    plant = Plant()
    plant.born()
    plant.hear(data(2, metric(value=5, alias=55)))
    plant.born()
    heard = plant.hear(data(2, metric(value=7, alias=1), metric(value=5, alias=55)))
    assert said(heard) == {"total": 7}
    assert plant.node.state == "online"


def test_aliases_mean_what_the_latest_birth_says():
    """After a rebirth the same alias may be another metric."""
    plant = Plant()
    plant.born()
    plant.hear(
        message("NBIRTH", nbirth()),
        message(
            "DBIRTH", payload(metric("Total", 9, UINT32, alias=3), metric("Order", "A", STRING, alias=1), seq=1), "D"
        ),
    )
    assert said(plant.hear(data(2, metric(value=10, alias=3), metric(value="B", alias=1, field=15)))) == {
        "total": 10,
        "order": "B",
    }


def test_an_alias_of_two_metrics_belongs_to_nobody():
    """A birth that gives an alias twice is refused for both: no value lands in the wrong tag."""
    plant = Plant()
    heard = plant.hear(
        message("NBIRTH", nbirth()),
        message(
            "DBIRTH", payload(metric("Total", 9, UINT32, alias=3), metric("Order", "A", STRING, alias=3), seq=1), "D"
        ),
    )
    assert "order" not in said(heard)
    assert [refusal.error.reason for refusal in heard.refusals] == ["bad_alias"]
    heard = plant.hear(data(2, metric(value=10, alias=3)))
    assert not heard.steps
    assert [refusal.error.reason for refusal in heard.refusals] == ["bad_alias"]


def test_a_death_makes_node_and_devices_stale():
    """The NDEATH of this session: every tag, and a notice; no request, nobody would answer."""
    plant = Plant()
    plant.born(bd=4)
    heard = plant.hear(message("NDEATH", ndeath(4)))
    assert lost(heard) == ALL
    assert actions(heard) == ["node_dead"]
    assert not heard.rebirths
    assert heard.remember
    assert not plant.later(600).rebirths


def test_the_death_of_an_earlier_session_is_nothing():
    """A will that the broker publishes late has the number of its own session."""
    plant = Plant()
    plant.born(bd=4)
    heard = plant.hear(message("NDEATH", ndeath(3)))
    assert heard == Effects()
    assert plant.node.state == "online"


def test_a_death_without_a_number_makes_stale_and_asks():
    """Whose it is cannot be known; the node will say whether it lives."""
    plant = Plant()
    plant.born(bd=4)
    heard = plant.hear(message("NDEATH", payload(seq=None)))
    assert lost(heard) == ALL
    assert heard.rebirths == ["G/N"]


def test_the_death_of_a_device_is_that_of_its_tags():
    """Its tags are stale, the node and its other metrics live, the numbers go on."""
    plant = Plant()
    plant.born()
    heard = plant.hear(message("DDEATH", payload(seq=2), "D"))
    assert lost(heard) == OF_DEVICE
    assert plant.node.state == "online"
    assert said(plant.hear(message("NDATA", payload(metric(value=1.5, alias=9, field=12), seq=3)))) != {}
    assert plant.node.shown(NOW)["dead_devices"] == ["D"]
    again = plant.hear(message("DBIRTH", payload(*birth_of_device(7), seq=4), "D"))
    assert said(again)["total"] == 7
    assert plant.node.shown(NOW)["dead_devices"] == []


def test_after_a_birth_of_the_node_its_devices_wait_for_their_own():
    """A reborn node says nothing about its devices until their births come."""
    plant = Plant()
    plant.born()
    assert lost(plant.hear(message("NBIRTH", nbirth(bd=1)))) >= OF_DEVICE
    heard = plant.hear(data(1))
    assert not heard.steps
    assert heard.rebirths == ["G/N"]


def test_a_tag_that_no_birth_has_is_named():
    """A mistyped metric is told at the first birth, and has no value."""
    plant = Plant({**TAGS, "typo": "G/N/D:Totel"})
    heard = plant.born()
    (notice,) = heard.notices
    assert (notice.action, notice.detail) == ("metrics_missing", {"of": "G/N/D", "tags": ["typo"]})


def test_a_metric_that_has_become_another_type_is_named():
    """A counter that was a whole number and is a text now is noticed, also across a restart."""
    plant = Plant()
    plant.born()
    again = Plant()
    again.nodes.recall(plant.nodes.kept(), again.now())
    again.hear(message("NBIRTH", nbirth()))
    heard = again.hear(message("DBIRTH", payload(*birth_of_device(1)[1:], metric("Total", "9", STRING), seq=1), "D"))
    (notice,) = heard.notices
    assert notice.action == "metric_changed"
    assert (notice.detail["was"], notice.detail["is"]) == ("UINT32", "STRING")


def test_a_birth_is_believed_although_it_lacks_what_it_must_have():
    """Without bdSeq or the Rebirth metric: noted once, values count, any death is its own."""
    plant = Plant()
    bare = message("NBIRTH", payload(metric("Speed", 1.5, 9), seq=0))
    assert actions(plant.hear(bare))[:1] == ["birth_incomplete"]
    assert "birth_incomplete" not in actions(plant.hear(bare))
    assert plant.node.state == "online"
    assert lost(plant.hear(message("NDEATH", ndeath(77)))) == ALL


def test_a_clock_that_is_an_hour_off_is_an_alarm_once():
    """The difference stands in the status, the values count."""
    plant = Plant()
    hour = message("NBIRTH", nbirth(metric("Speed", 1.5, 9), at=MS + 3_600_000))
    (notice,) = (one for one in plant.hear(hour).notices if one.action == "clock_skew")
    assert notice.detail["seconds"] == 3600
    assert "clock_skew" not in actions(plant.hear(hour))
    assert plant.node.shown(NOW)["clock_skew_s"] == 3600


def told_at(plant: Plant, seq: int, off_s: float = 0, **options: Any) -> list[str]:
    """What comes of data whose node's clock is so far off."""
    at = MS + int((plant.ticks - 1000 + off_s) * 1000)
    return actions(plant.hear(message("DDATA", payload(metric(value=100, alias=1, **options), seq=seq, at=at), "D")))


def test_a_clock_that_goes_wrong_between_births_is_seen_by_the_data():
    """Within some seconds, told once, and the status says how long it lasted."""
    plant = Plant()
    plant.born()
    plant.ticks += 60
    assert "clock_skew" in told_at(plant, 2, 3600)
    plant.ticks += 60
    assert "clock_skew" not in told_at(plant, 3, 3600)
    assert plant.node.shown(plant.now().at)["clock"] == {
        "what": "its clock is off by 3600 s", "since": NOW + timedelta(seconds=60), "lasted_s": 60.0, "over": False,
    }  # fmt: skip
    plant.ticks += 60
    assert "clock_skew" not in told_at(plant, 4)
    shown = plant.node.shown(plant.now().at)
    assert (shown["clock_skew_s"], shown["clock"]["lasted_s"], shown["clock"]["over"]) == (0, 120.0, True)


def test_what_was_stored_or_written_earlier_says_nothing_about_a_clock():
    """Historical values have the time of then, and a death that of the connection that ended."""
    plant = Plant()
    plant.born()
    plant.ticks += 4000
    assert "clock_skew" not in told_at(plant, 2, -3600, historical=True)
    dead = payload(metric("bdSeq", 0, INT64), seq=None, at=MS)
    assert "clock_skew" not in actions(plant.hear(message("NDEATH", dead)))
    assert plant.node.clock is None


def test_a_clock_is_not_looked_at_with_every_message():
    """Once in some seconds is enough, and costs nothing."""
    plant = Plant()
    plant.born()
    plant.ticks += 1
    assert "clock_skew" not in told_at(plant, 2, 3600)
    plant.ticks += CLOCK_S
    assert "clock_skew" in told_at(plant, 3, 3600)


def test_members_of_a_template_are_tags():
    """Named Template/member; data carry only what changed."""
    plant = Plant({"speed": "G/N:Motor/Speed", "depth": "G/N:Motor/In/Depth", "no": "G/N:Motor/None"})
    inner = metric("In", template(metric("Depth", 2, INT32)), 19)
    heard = plant.hear(
        message("NBIRTH", nbirth(metric("Motor", template(metric("Speed", 5, INT32), inner), 19, alias=4)))
    )
    assert said(heard) == {"speed": 5, "depth": 2}
    assert heard.notices[0].detail["tags"] == ["no"]
    heard = plant.hear(message("NDATA", payload(metric(value=template(metric("Speed", 6)), alias=4, field=18), seq=1)))
    assert said(heard) == {"speed": 6}


def test_elements_that_an_array_no_longer_has_are_bad():
    """A shorter array has no value for them."""
    plant = Plant({"second": "G/N:Row[1]"})
    plant.hear(message("NBIRTH", nbirth(metric("Row", b"\x01\x02", 26, alias=4, field=16))))
    heard = plant.hear(message("NDATA", payload(metric(value=b"\x01", alias=4, field=16), seq=1)))
    ((change,),) = (step for step in heard.steps if not isinstance(step, Lost))
    assert change.now.quality is Quality.BAD


def test_commands_and_other_nodes_are_none_of_our_business():
    """NCMD and DCMD are never executed, whoever sends them; nodes without a tag are not followed."""
    plant = Plant()
    plant.born()
    command = payload(metric("Node Control/Rebirth", 1, BOOLEAN), seq=None)
    heard = plant.hear(
        message("NCMD", command),
        message("DCMD", command, "D"),
        message("NCMD", b"\xff"),
        message("NDATA", b"\xff", node="G/X"),
    )
    assert heard == Effects()
    assert plant.nodes.of_others == 1


def test_the_state_outlives_a_restart():
    """Number of the session, aliases and types come back; until its birth the node is stale, so it decides nothing."""
    plant = Plant()
    plant.born(bd=6)
    kept = plant.nodes.kept()
    again = Plant()
    again.nodes.recall(kept, again.now())
    assert (again.node.state, again.node.bd_seq) == ("stale", 6)
    assert again.node.table.find("D", "Total").alias == 1
    assert not again.hear(data(2)).steps
    assert again.nodes.kept() == kept.replace(b'"online":true', b'"online":false')
    assert said(again.born(130))["total"] == 130


@pytest.mark.parametrize("kept", [b"", b"{", b"[]", b'{"version":9,"nodes":{}}', b'{"version":1,"nodes":{"G/N":{}}}'])
def test_a_checkpoint_that_cannot_be_read_is_no_empty_one(kept: bytes):
    """Nothing kept is a first start; anything unreadable stops the agent with a sentence."""
    if not kept:
        Plant().nodes.recall(kept, Plant().now())
        return
    with pytest.raises(StoreUnfit, match="checkpoint of the Sparkplug nodes"):
        Plant().nodes.recall(kept, Plant().now())


def test_a_tag_is_written_while_its_node_is_online():
    """As a DCMD by alias; a node that is stale is not written to."""
    plant = Plant()
    assert plant.nodes.command(Write("ack", value=True), plant.now()) is None
    plant.born()
    command = plant.nodes.command(Write("ack", value=True), plant.now())
    assert command is not None
    assert command.topic == "spBv1.0/G/DCMD/N/D"


def test_the_same_refusal_is_kept_once_in_an_hour():
    """Quarantine gets one of a kind, the others are counted."""
    plant = Plant()
    kept = [plant.nodes.quarantined(plant.hear(message("NDATA", b"\xff")).refusals, plant.now()) for _ in range(5)]
    assert [len(one) for one in kept] == [1, 0, 0, 0, 0]
    assert plant.nodes.refused == {"not_sparkplug": 5}
    plant.ticks += 3601
    assert len(plant.nodes.quarantined(plant.hear(message("NDATA", b"\xff")).refusals, plant.now())) == 1


# what we say of ourselves
