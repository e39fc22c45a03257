# From tag to ERP document: what the Trace view shows of one name.


def found(name):
	"""What the view keeps in `custom.it`. Never raises: what went wrong is in `said`."""
	wanted = gatepost.words.one_line(name)
	if not wanted:
		return _nothing("Type an order, a material document, a report's id or posting:17.")
	try:
		return shown(gatepost.agent.trace(wanted))
	except gatepost.gateway.Unreachable:
		return _nothing("The agent does not answer. Try again when it is back.")
	except gatepost.agent.Refused as error:
		return _nothing(error.message)


def shown(said):
	"""The answer of the agent as the view binds it. Pure."""
	words, event = gatepost.words, said["event"] or {}
	return {
		"known": True,
		"said": said["found_as"],
		"also": u"; ".join([u"%s: %s" % (one["name"], one["means"]) for one in said["also"]]),
		"arrived": _arrived(event, words),
		"history": [_row(one, words) for one in said["history"]],
		"postings": [_posting(one, words) for one in said["postings"]],
	}


def _nothing(text):
	return {"known": False, "said": text, "also": "", "arrived": [], "history": [], "postings": []}


def _arrived(event, words):
	names = [("Source", "source"), ("Topic or node", "topic"), ("Report", "message")]
	found = [{"name": label, "value": event[name]} for label, name in names if event.get(name)]
	state = words.state(event["became"]) if event.get("became") else ""
	return found + ([{"name": "State", "value": state}] if state else [])


def _row(one, words):
	detail = one.get("detail") or {}
	return {
		"at": words.moment(one["at"]),
		"what": one["action"].replace("_", " "),
		"who": one["actor"],
		"posting": one.get("posting") or "",
		"detail": _told(detail),
	}


def _told(detail):
	"""What a person asks first about a step: why, which score, which document, which hash."""
	parts = []
	for name in ("reason", "reasons", "said", "error", "message", "document", "status", "shown_sha256"):
		value = detail.get(name)
		if value and not isinstance(value, dict):
			text = u"; ".join([u"%s" % one for one in value]) if isinstance(value, list) else u"%s" % value
			parts.append(u"%s: %s" % (name.replace("_", " "), text))
	return u" | ".join(parts + _score(detail))


def _score(detail):
	"""How sure the model was, also where that held nothing up."""
	score = detail.get("score") or {}
	return [u"score: %.2f by %s" % (score["confidence"], score["model"])] if "confidence" in score else []


def _posting(one, words):
	payload = one["payload"]
	quantity = payload.get("quantity") or payload.get("yield") or payload.get("scrap") or ""
	return {
		"id": one["id"],
		"kind": words.kind(one["kind"]),
		"order": payload.get("order", ""),
		"quantity": words.amount(quantity, one["unit"]),
		"state": words.state(one["state"]),
		"document": one.get("document") or "",
	}


def begin(view):
	"""When the view starts: look for what its address names."""
	if view.params.name:
		view.custom.name = view.params.name
		look(view)


def look(view):
	"""Look for what is in the field."""
	view.custom.it = found(view.custom.name)
