"""Where postings go: one file per ERP, one line in the table below."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

# kind in the configuration → "module:class"; what the class takes as `config` are the keys of the kind
TARGETS: Final[Mapping[str, str]] = {
    "sap_s4": "agent.erp.sap_s4:SapS4",
    "notify": "agent.erp.notify:Notify",
    "line": "agent.line.target:Line",
}
