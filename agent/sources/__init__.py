"""Where events come from: one file per protocol, one line in the table below."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

# kind in the configuration → "module:class"; what the class takes as `config` are the keys of the kind
SOURCES: Final[Mapping[str, str]] = {
    "mqtt": "agent.sources.mqtt:MqttSource",
    "http": "agent.sources.http:HttpSource",
    "erp_orders": "agent.sources.erp_orders:ErpOrders",
    "sparkplug": "agent.sources.sparkplug:SparkplugSource",
    "opcua": "agent.sources.opcua:OpcuaSource",
}
