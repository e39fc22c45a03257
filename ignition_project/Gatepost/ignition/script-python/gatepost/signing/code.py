# From a button to a signature: a nonce of the agent, the challenge of the identity provider, the sealed envelope.
# The agent alone decides; a signature that could not be sent is not kept, the person is told to sign again.

MINUTES = 4  # the nonce is good for five


def begin(session_user, session_id, page_id, wanted):
	"""Ask for a nonce and open the challenge. Empty, or why not, in words for whoever stands there.

	`wanted` has id, shown_sha256, decision, reason, comment; for a posting its version, for a correction field and value,
	for what becomes of a lot how much of it as value.
	"""
	wrong = missing(wanted)
	if wrong:
		return wrong
	words = gatepost.words
	of_lot = wanted["decision"] in words.CHOICES
	asked = {"session_user": session_user or "", "shown_sha256": wanted["shown_sha256"]}
	if of_lot:
		asked.update({"choice": wanted["decision"], "quantity": words.figure(wanted["value"]) or None})
	else:
		asked.update({"version": wanted["version"], "decision": wanted["decision"]})
	ask = gatepost.agent.lot_challenge if of_lot else gatepost.agent.challenge
	try:
		given = ask(int(wanted["id"]), gatepost.envelope.body(asked))
	except gatepost.gateway.Unreachable:
		return "The agent does not answer. Nothing was signed; try again when it is back."
	except gatepost.agent.Refused as error:
		return error.message
	payload = {"page": page_id, "id": int(wanted["id"]), "content": content(wanted, asked, given)}
	gatepost.gateway.challenge(session_id, page_id, MINUTES, payload)
	return ""


def missing(wanted):
	"""What a person still has to fill in; empty when nothing is missing."""
	if not wanted["reason"]:
		return "Choose a reason first."
	if wanted["reason"] == gatepost.words.OTHER and not gatepost.words.one_line(wanted["comment"]):
		return "Say the reason in the comment."
	if wanted["decision"] == "correct" and not (wanted["field"] and gatepost.words.one_line(wanted["value"])):
		return "Say what is to be corrected, and to what."
	return ""


def content(wanted, asked, given):
	"""What is signed, without who signs and when. Pure."""
	words = gatepost.words
	comment = words.one_line(wanted["comment"])
	found = dict(asked)
	found.update({
		"nonce": given["nonce"],
		"shown_sha256": given["shown_sha256"],
		"meaning": words.MEANINGS[asked.get("choice") or asked["decision"]],
		"reason": comment if wanted["reason"] == words.OTHER else wanted["reason"],
		"comment": "" if wanted["reason"] == words.OTHER else comment,
	})
	if asked.get("decision") == "correct":
		found["changes"] = {wanted["field"]: words.figure(wanted["value"])}
	return found


def complete(session_id, idp, payload, result):
	"""The end of a challenge: seal, send, and tell the page what is now true."""
	gateway = gatepost.gateway
	if not result.isSuccess():
		said = {"ok": False, "text": _not_proven(gateway.failure(result))}
	else:
		said = _signed_by(idp, payload, result)
	said["id"] = payload["id"]
	gateway.tell(session_id, payload["page"], "gatepost-signed", said)
	gatepost.poll.run()


def signed(content, signer, idp, gateway_name, now_ms):
	"""The whole content with its signer. Pure; fields one by one, since a payload may be an object of Ignition's."""
	own = ["choice", "quantity"] if "choice" in content.keys() else ["version", "decision"]
	names = ["nonce", "shown_sha256", "meaning", "reason", "comment", "session_user"]
	found = dict([(name, content[name]) for name in own + names])
	if found.get("decision") == "correct":
		found["changes"] = dict([(field, content["changes"][field]) for field in content["changes"].keys()])
	found["signer"] = {
		"user": signer["user"],
		"full_name": signer["full_name"],
		"roles": list(signer["roles"]),
		"idp": idp or "",
	}
	found["gateway"] = gateway_name
	found["signed_at"] = gatepost.words.iso(now_ms)
	return found


def _signed_by(idp, payload, result):
	"""Whatever goes wrong, the person is told."""
	gateway = gatepost.gateway
	try:
		return _send(idp, payload, gateway.identity(result))
	except gateway.NoSigner as error:
		gateway.LOG.error(u"gatepost.gateway.identity: %s" % error)
		return {"ok": False, "text": "The gateway cannot read who you are. Nothing was signed; the gateway's log has more."}
	except gateway.NoSecret as error:
		gateway.LOG.error(error.message)
		return {"ok": False, "text": "The gateway cannot read its secret. Nothing was signed; the gateway's log has more."}
	except gateway.Unreachable:
		return {"ok": False, "text": "No answer of the agent. Look at the posting again; if it still waits, sign again."}
	except gatepost.agent.Refused as error:
		return {"ok": False, "text": error.message}


def _send(idp, payload, signer):
	gateway = gatepost.gateway
	now_ms = gateway.now_ms()
	whole = signed(payload["content"], signer, idp, gateway.name(), now_ms)
	text = gatepost.envelope.body(whole)
	headers = gatepost.envelope.headers(text, whole["nonce"], gateway.secret("gatepost-signing"), now_ms)
	agent, decision = gatepost.agent, whole.get("choice") or whole["decision"]
	post = agent.lot_sign if "choice" in whole else agent.correct if decision == "correct" else agent.sign
	done = post(int(payload["id"]), text, headers)
	gateway.note("gatepost " + decision, "posting %d" % payload["id"], done["message"], signer["user"])
	return {"ok": True, "text": done["message"]}


def _not_proven(why):
	if "cancel" in why:
		return "You have cancelled. Nothing was signed."
	if "timeout" in why:
		return "Nobody answered the question for a password in time. Nothing was signed."
	return "The identity provider did not say who you are. Nothing was signed."
