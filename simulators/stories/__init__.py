"""Stories for newcomers: each plays one workflow on the bench, with a beginning, a conflict and an end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

# name → "module:function"; the function gets a `Stage` and plays in the place of the line
STORIES: Final[Mapping[str, str]] = {
    "scrap": "simulators.stories.scrap:play",
    "backflush": "simulators.stories.backflush:play",
    "reconcile": "simulators.stories.reconcile:play",
    "order-release": "simulators.stories.order_release:play",
}
# name → workflow → the mode that it has while the story is played, where that is another than in the configuration
MODES: Final[Mapping[str, Mapping[str, str]]] = {
    "backflush": {"consumption": "advise", "backflush": "auto"},
    "order-release": {"order_release": "auto"},
}
# name → workflow → options that it has while the story is played: nobody wants to wait for a shift
OPTIONS: Final[Mapping[str, Mapping[str, Mapping[str, object]]]] = {
    "reconcile": {"reconciliation": {"wait_minutes": 0.1}, "consumption": {"double_report_seconds": 0}}
}
