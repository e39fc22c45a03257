"""The requests by which an OPC UA server is asked for the history of a node."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from asyncua import ua


def history_request(begin: datetime, end: datetime, most: int) -> ua.ReadRawModifiedDetails:
    """Raw values as they were, without those that a server would make up for the ends."""
    no: Any = False
    count: Any = most
    return ua.ReadRawModifiedDetails(
        IsReadModified=no, StartTime=begin, EndTime=end, NumValuesPerNode=count, ReturnBounds=no
    )


def history_of(
    node: ua.NodeId, wanted: ua.ReadRawModifiedDetails, point: bytes | None, *, release: bool = False
) -> ua.HistoryReadParameters:
    """Of one node, from where an earlier answer ended; or nothing more of it."""
    ends: Any = release
    at: Any = point
    details: Any = wanted
    return ua.HistoryReadParameters(
        HistoryReadDetails=details,
        TimestampsToReturn=ua.TimestampsToReturn.Both,
        ReleaseContinuationPoints=ends,
        NodesToRead=[ua.HistoryReadValueId(NodeId=node, ContinuationPoint=at)],
    )
