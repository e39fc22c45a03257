"""The contract between gateway and agent: what it prints has the shape of the real thing, and names every refusal."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from agent.web import follow_ons
from agent.web import gateway_models as models

PAGE = Path("docs/ignition/contract.md").read_text()
PRINTED = dict(re.findall(r"^```json ([\w-]+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
ANSWERS: dict[str, Any] = {
    "board-unchanged": models.Board,
    "board": models.Board,
    "challenge": models.Given,
    "signed": models.SignedAnswer,
    "lot": follow_ons.FollowOn,
    "chosen": follow_ons.Chosen,
}
ASKED: dict[str, Any] = {
    "challenge-request": models.Challenge,
    "sign-request": models.Sign,
    "correct-request": models.Correct,
    "choice-challenge": follow_ons.Challenge,
    "choice": follow_ons.SignedChoice,
}


def test_every_printed_body_has_its_shape():
    """Answers are what the models allow, and name every field that a gateway may rely on; requests are understood."""
    assert set(PRINTED) == {*ANSWERS, *ASKED, "approval"}
    for name, model in ANSWERS.items():
        model.model_validate(json.loads(PRINTED[name]))
    for name, model in ASKED.items():
        whole = re.sub(r'"0b9c…[^"]*"', f'"{"0" * 64}"', PRINTED[name]).replace("qk3V…", "q" * 43)
        model.model_validate_json(whole)
    printed = json.loads(PRINTED["board"])
    for model, one in (
        (models.Board, printed),
        (models.BoardHealth, printed["health"]),
        (models.BoardCounts, printed["counts"]),
        (models.BoardApproval, printed["approvals"][0]),
        (models.BoardOrder, printed["orders"][0]),
        (models.BoardLot, printed["lots"][0]),
        (follow_ons.FollowOn, json.loads(PRINTED["lot"])),
        (models.BoardFinding, printed["findings"][0]),
        (models.BoardProposal, printed["findings"][0]["proposal"]),
        (models.Record, {"supersedes", "signers", "signed_by", *json.loads(PRINTED["approval"])["record"]}),
        (models.Before, json.loads(PRINTED["approval"])["history"][0]),
    ):
        assert set(one) == set(model.model_fields), model


def test_every_refusal_is_on_the_page():
    """Each code with which a signature can be refused is explained."""
    made = "access/envelope.py", "people/signatures.py", "people/choosing.py", "web/gateway.py"
    sources = "".join(Path(f"agent/{name}").read_text() for name in made)
    codes = set(re.findall(r'(?:SignatureRefused\(|posting_id, )\s*"(\w+)"', sources))
    assert {"signature_wrong", "nonce_used", "no_right", "erp_would_refuse"} <= codes
    assert {code for code in codes if f"`{code}`" not in PAGE} == set()
