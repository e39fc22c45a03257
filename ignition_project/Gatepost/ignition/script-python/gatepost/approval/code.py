# One posting as the Approval view shows it: the agent's record in words, and bars for what was expected.

NO_BARS = {
	"known": False, "actual": 0, "expected": 0, "from": 0, "width": 0, "share": "", "actual_text": "",
	"expected_text": "", "range_text": "", "outside": False,
}


def opened(id, roles):
	"""What the view keeps in `custom.it`. Never raises: what went wrong is in `said`."""
	try:
		return shown(gatepost.agent.approval(int(id), roles), gatepost.gateway.now_ms())
	except gatepost.gateway.Unreachable:
		return _nothing("The agent does not answer. This posting cannot be shown now; nothing is lost.")
	except gatepost.agent.Refused as error:
		return _nothing(error.message)


def shown(found, now_ms):
	"""The answer of the agent as the view binds it. Pure."""
	words, record = gatepost.words, found["record"]
	floor = record["floor"]
	return {
		"known": True,
		"said": "",
		"id": found["id"],
		"version": found["version"],
		"held": found["state"] == "held",
		"state": words.state(found["state"]),
		"risk": found["risk"].upper(),
		"shown_sha256": found["shown_sha256"],
		"can": dict([(one, one in found["allowed"]) for one in ("approve", "refuse", "correct")]),
		"title": "%s %d" % (words.kind(record["kind"]), found["id"]),
		"amount": words.amount(record["quantity"], record["unit"]),
		"material": _material(record),
		"value": words.money(record["value"], record["currency"]),
		"facts": _facts(record, floor, words, now_ms),
		"reasons": [{"text": one} for one in _reasons(record)],
		"sentences": [{"text": one} for one in _sentences(record)],
		"bars": bars(floor, record["expected"], record["quantity"], record["unit"]),
		"will_post": [{"name": one["name"], "value": one["value"]} for one in record["will_post"]],
		"history": [_before(one, words) for one in found["history"]],
		"correctable": [{"value": one, "label": words.FIELDS.get(one, one)} for one in record["correctable"]],
		"causes": [_cause(one) for one in found["suggested"]],
		"cause_field": found["suggested"][0]["field"] if found["suggested"] else "",
		"signed": _signed(record),
		"masked": u"Not shown to your role: " + u", ".join(found["masked"]) if found["masked"] else "",
	}


def bars(floor, expected, quantity, unit):
	"""What was reported beside what was expected, each as a share of the widest; empty without an expectation."""
	if not expected or not quantity:
		return NO_BARS
	words = gatepost.words
	actual, usual = float(quantity), float(expected["quantity"])
	least, most = float(expected["least"]), float(expected["most"])
	widest = max(actual, usual, most) or 1.0
	return {
		"known": True,
		"actual": _percent(actual, widest),
		"expected": _percent(usual, widest),
		"from": _percent(least, widest),
		"width": max(_percent(most, widest) - _percent(least, widest), 1),
		"share": "%d %% of what was expected" % round(100 * actual / usual) if usual else "none was expected",
		"actual_text": words.amount(quantity, unit),
		"expected_text": words.amount(expected["quantity"], expected["unit"]),
		"range_text": u"%s to %s is usual" % (words.amount(expected["least"], ""), words.amount(expected["most"], expected["unit"])),
		"outside": actual < least or actual > most,
	}


def _nothing(said):
	found = {"known": False, "held": False, "said": said, "bars": NO_BARS}
	found.update(dict([(name, []) for name in ("facts", "reasons", "sentences", "will_post", "history", "correctable", "causes")]))
	found.update(dict([(name, "") for name in ("state", "risk", "title", "amount", "material", "value", "signed", "masked", "cause_field")]))
	found["can"] = {"approve": False, "refuse": False, "correct": False}
	return found


def _percent(value, widest):
	return int(round(100.0 * max(value, 0.0) / widest))


def _material(record):
	if record["material_text"] and record["material"]:
		return u"%s  %s" % (record["material_text"], record["material"])
	return record["material_text"] or record["material"]


def _facts(record, floor, words, now_ms):
	waited = words.age((now_ms - words.moment(floor["received_at"])) // 1000) if floor["received_at"] else "?"
	rows = [
		("Order", u"%s  operation %s" % (record["order"], record["operation"]) if record["operation"] else record["order"]),
		("Line", record["line"]),
		("Reported", words.amount(floor["quantity"], floor["unit"])),
		("When", waited if waited == "now" else waited + " ago"),
		("From", u"%s  %s" % (floor["source"], floor["topic"])),
		("Report", floor["message"]),
	]
	rows += _made(record, words) + [_live(one) for one in floor["live"]]
	return [{"name": name, "value": value} for name, value in rows if value]


def _made(record, words):
	"""What a confirmation tells beside its first quantity."""
	payload = record["payload"]
	told = [(name, payload.get(name)) for name in ("yield", "scrap", "rework") if name in payload]
	rows = [(words.FIELDS[name], words.amount(value, record["unit"])) for name, value in told]
	return rows + [(words.FIELDS["scrap_reason"], payload.get("scrap_reason") or "none told")] if rows else []


def _live(one):
	"""A fact of the plant that the decision looked at: what of what, and how it was."""
	value = one.get("value")
	told = "unknown" if value is None else u"%s %s" % (value, one.get("unit") or "")
	return u"%s of %s" % (one["fact"].replace("_", " "), one["of"]), told.strip()


def _reasons(record):
	model = record["model"]
	said = list(record["reasons"])
	if model:
		said += [one for one in model["reasons"] if one not in said]
		what = "the cause is " + model["said"] if model["said"] else "this is as usual"
		said.append("%s is %d %% sure that %s" % (model["name"], round(100 * model["confidence"]), what))
	return said


def _sentences(record):
	"""What it is about, for each reader; those that would name what is masked are left out."""
	readers = [one for one in ("operator", "planner", "accountant") if record["said"].get(one, "***") != "***"]
	return [u"For the %s: %s" % (one, record["said"][one]) for one in readers]


def _signed(record):
	if record["signers"] < 2:
		return ""
	names = u", ".join(record["signed_by"]) or "nobody yet"
	return u"%d people must sign; signed: %s" % (record["signers"], names)


def _cause(one):
	called = u"%s: %s" % (one["value"], one["text"]) if one.get("text") else one["value"]
	if one.get("share") is not None:
		return {"value": one["value"], "text": u"%s  (%d %%)" % (called, round(100 * one["share"]))}
	return {"value": one["value"], "text": u"%s  (%d of %d here)" % (called, one["times"], one["of"])}


def _before(one, words):
	return {
		"when": words.moment(one["created_at"]),
		"order": one["order"],
		"quantity": words.amount(one["quantity"], one["unit"]),
		"state": words.state(one["state"]),
		"by": one["decided_by"] or "",
		"why": one["why"] or "",
		"document": one["document"] or "",
	}


# What the view's events call.


def look(view):
	"""Ask the agent for the posting once, as the session's user may see it."""
	view.custom.it = opened(gatepost.words.number(view.params.id), roles(view.session))


def changed(view, version):
	"""The queue has another version of this posting, or none: look again, for it was changed or decided."""
	it = view.custom.it
	if it.known and it.held and version != it.version:
		look(view)


def choose(view, decision):
	"""One of the three buttons."""
	words, custom = gatepost.words, view.custom
	custom.decision, custom.meaning, custom.reasons = decision, words.MEANINGS[decision], words.reasons(decision)
	custom.reason, custom.said = "", ""


def caused(view, payload):
	"""One of the suggested causes of scrap was pressed: what is left is a reason and the signature."""
	choose(view, "correct")
	view.custom.field, view.custom.value = view.custom.it.cause_field, payload["value"]
	view.custom.reason = "Reason was missing" if view.custom.field == "scrap_reason" else "Looked at the piece"


def sign(component):
	"""The button that opens the challenge."""
	custom, it = component.view.custom, component.view.custom.it
	wanted = {
		"id": it.id, "version": it.version, "shown_sha256": it.shown_sha256, "decision": custom.decision,
		"reason": custom.reason, "comment": custom.comment, "field": custom.field, "value": custom.value,
	}
	custom.ok = False
	custom.said = gatepost.signing.begin(
		user(component.session), component.session.props.id, component.page.props.pageId, wanted
	)


def told(view, session, payload):
	"""What became of a signature on this page."""
	if payload["id"] == view.custom.it.id:
		view.custom.ok, view.custom.said = payload["ok"], payload["text"]
		if payload["ok"]:
			view.custom.decision, view.custom.comment = "", ""
		look(view)


def roles(session):
	"""The roles of whoever is logged on to the session."""
	known = session.props.auth.user
	return [u"%s" % one for one in known.roles] if known and known.roles else []


def user(session):
	"""Who is logged on to the session; empty: nobody."""
	known = session.props.auth.user
	return u"%s" % known.userName if known and known.userName else ""
