"""Restricted use of a batch (`Batch` of API_BATCH_SRV), and its end: one flag of a record, for all its stock."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from agent.ports import Kind
from agent.sap.call import Call, Rules, Unfit, service_of
from agent.sap.formats import string_literal

LONGEST: Final = 10
RESTRICTED: Final = "MatlBatchIsInRstrcdUseStock"


def status(payload: Mapping[str, Any], key: str, rules: Rules) -> Call:
    """The flag as it shall be; one such change is as good as another, so it carries no key. Raises Unfit."""
    if not isinstance(payload["restricted"], bool):
        raise Unfit(f"payload.restricted: must be true or false, not {payload['restricted']!r}")
    for name in ("material", "batch"):
        if not payload[name]:
            raise Unfit(f"payload.{name}: must name the {name}")
    if len(payload["batch"]) > LONGEST:
        raise Unfit(f"payload.batch: {payload['batch']!r} has more than the {LONGEST} characters of a batch in SAP")
    keys = {
        "Material": string_literal(payload["material"]),
        "BatchIdentifyingPlant": string_literal(payload["plant"] if rules.batch_by_plant else ""),
        "Batch": string_literal(payload["batch"].upper()),
    }
    service = service_of(Kind.BATCH_STATUS, rules)
    return Call(service, "Batch", {RESTRICTED: payload["restricted"]}, keys, method="PATCH", guarded=True)
