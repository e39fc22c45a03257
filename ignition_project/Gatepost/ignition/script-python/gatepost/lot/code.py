# A lot that is kept from use, as the Lot view shows it, and what its events call.


def opened(id, roles):
	"""What the view keeps in `custom.it`. Never raises: what went wrong is in `said`."""
	try:
		return shown(gatepost.agent.lot(int(id), roles), gatepost.gateway.now_ms())
	except gatepost.gateway.Unreachable:
		return _nothing("The agent does not answer. This lot cannot be shown now; nothing is lost.")
	except gatepost.agent.Refused as error:
		return _nothing(error.message)


def shown(found, now_ms):
	"""The answer of the agent as the view binds it. Pure."""
	words = gatepost.words
	left = words.amount(found["left"], found["unit"]) or "the whole batch"
	rows = [
		("Material", u"%s  %s" % (found["material_text"], found["material"])), ("Place", found["storage_location"]),
		("Order", found["order"]), ("Work centre", found["work_center"]), ("Kept from use", _ago(found["since"], now_ms, words)),
		("All of it", words.amount(found["quantity"], found["unit"])),
		("Before", "somebody has said of a part of it what becomes of it" if found["decided"] else ""),
	]
	return {
		"known": True,
		"said": "",
		"id": found["posting"],
		"title": u"Lot %s" % found["lot"],
		"left": left,
		"figure": words.amount(found["left"], "").replace(" ", ""),
		"unit": found["unit"],
		"severity": found["severity"].upper(),
		"open": words.amount(found["left"], "") != "0",
		"may": found["may"],
		"suggested": found["suggested"],
		"usual": u"%s is usual for a %s defect" % (words.CHOICES[found["suggested"]], found["severity"]),
		"costs": dict([(one, _cost(cost, found["currency"], words)) for one, cost in found["costs"].items()]),
		"facts": [{"name": name, "value": value} for name, value in rows if value],
		"shown_sha256": found["shown_sha256"],
	}


def _ago(since, now_ms, words):
	waited = words.age((now_ms - words.moment(since)) // 1000)
	return "since just now" if waited == "now" else "for " + waited


def _cost(cost, currency, words):
	if cost is None:
		return "price times quantity"
	return words.money(cost, currency) if words.amount(cost, "") != "0" else "nothing"


def _nothing(said):
	found = dict([(name, "") for name in ("title", "left", "figure", "unit", "severity", "suggested", "usual", "shown_sha256")])
	found.update({"known": False, "said": said, "id": 0, "open": False, "may": False, "facts": []})
	found["costs"] = dict([(one, "") for one in gatepost.words.CHOICES])
	return found


# What the view's events call.


def look(view):
	"""Ask the agent for the lot once, as the session's user may see it."""
	view.custom.it = opened(gatepost.words.number(view.params.id), gatepost.approval.roles(view.session))


def choose(view, choice):
	"""One of the three buttons."""
	words, custom = gatepost.words, view.custom
	custom.decision, custom.meaning, custom.reasons = choice, words.MEANINGS[choice], words.reasons(choice)
	custom.reason, custom.said, custom.value = "", "", custom.it.figure


def sign(component):
	"""The button that opens the challenge."""
	custom, it = component.view.custom, component.view.custom.it
	wanted = {
		"id": it.id, "shown_sha256": it.shown_sha256, "decision": custom.decision, "reason": custom.reason,
		"comment": custom.comment, "value": custom.value,
	}
	custom.ok = False
	custom.said = gatepost.signing.begin(
		gatepost.approval.user(component.session), component.session.props.id, component.page.props.pageId, wanted
	)


def told(view, payload):
	"""What became of a signature on this page."""
	if payload["id"] == view.custom.it.id:
		view.custom.ok, view.custom.said = payload["ok"], payload["text"]
		if payload["ok"]:
			view.custom.decision, view.custom.comment = "", ""
		look(view)
