# What a session sees of the queue: filtered and dressed. Pure, and no wider than the rows that the tag holds.

STATES = {"stuck": "stuck: the ERP refused the correction, or may have booked it"}
SEVERITY = {"critical": "Gatepost/Risk/High", "major": "Gatepost/Risk/Medium", "minor": "Gatepost/Risk/Low"}
DRESS = {"high": "Gatepost/Risk/High", "medium": "Gatepost/Risk/Medium", "low": "Gatepost/Risk/Low"}


def rows(table):
	"""The rows of a table as dictionaries; empty where there is none."""
	if table is None:
		return []
	names = list(table.getColumnNames())
	return [
		dict([(name, table.getValueAt(row, column)) for column, name in enumerate(names)])
		for row in range(table.getRowCount())
	]


def shown(table, line, risk, words):
	"""Held postings of a line, of a risk, in which these words stand; empty filters take everything."""
	found = [one for one in rows(table) if _fits(one, line, risk, (words or "").lower())]
	return [_dressed(one) for one in found]


def lines(table):
	"""The lines that have something in the queue, for a dropdown."""
	names = sorted(set([one["line"] for one in rows(table)]))
	return [{"value": "", "label": "All lines"}] + [{"value": one, "label": one} for one in names]


def choices(table, name, every):
	"""The values of a column, for a dropdown that begins with all of them."""
	found = sorted(set([one[name] for one in rows(table) if one[name]]))
	return [{"value": "", "label": every}] + [{"value": one, "label": one} for one in found]


def findings(table, reconciles, material, place, words):
	"""Cards of open findings of a material, at a place, in which these words stand; what is said where there is none."""
	every = rows(table)
	fit = [one for one in every if (material or one["material"]) == one["material"] and (place or one["location"]) == one["location"]]
	cards = [_card(one) for one in fit if _has(one, (words or "").lower())]
	if cards:
		return {"rows": cards, "said": ""}
	if not reconciles:
		return {"rows": [], "said": "Nobody compares: reconciliation is not among the workflows of the agent's configuration."}
	if every:
		return {"rows": [], "said": "Nothing that is open fits these filters; without them there is more."}
	return {"rows": [], "said": "Nothing is open: what was reported, booked and counted agrees, as far as it has come in. What was put right is in the trace of its order."}


def blocked(table):
	"""Orders, those dressed that something stands in the way of."""
	return [_blocked(one) for one in rows(table)]


def version(table, id):
	"""The version under which a posting is held; 0 where it is not in the queue any more."""
	for one in rows(table):
		if one["id"] == id:
			return one["version"]
	return 0


def of_kind(table, kind, words):
	"""Held postings of a kind whose reason has these words."""
	return [_dressed(one) for one in rows(table) if one["kind"] == kind and words in one["reason"].lower()]


def scrap(table):
	"""Held postings for which somebody must say what caused the scrap."""
	return [
		_dressed(one) for one in rows(table)
		if one["kind"] == "Scrap" or one["kind"] == "Confirmation" and "scrap without a reason" in one["reason"].lower()
	]


def lots(table):
	"""Lots that are kept from use, dressed by how bad the defect is."""
	return [_cell(dict(one, severity=one["severity"].upper()), "severity", SEVERITY.get(one["severity"], "")) for one in rows(table)]


def stated(table):
	"""Sources or targets, their state dressed."""
	good = ("connected", "available")
	return [_cell(one, "state", "Gatepost/State/Good" if one["state"] in good else "Gatepost/State/Bad") for one in rows(table)]


def _cell(one, name, classes):
	dressed = dict(one)
	dressed[name] = {"value": one[name], "style": {"classes": classes}}
	return dressed


def _fits(one, line, risk, words):
	if (line and one["line"] != line) or (risk and one["risk"] != risk):
		return False
	return _has(one, words)


def _has(one, words):
	return not words or words in u" ".join([u"%s" % value for value in one.values()]).lower()


def _card(one):
	waits, posting = one["state"] == "waits for a person", int(one["posting"])
	proposal = u"%s: %s (posting %d)" % ("Proposed" if waits else "Correction", one["proposal"], posting) if posting else ""
	if one["proposal"] and not posting:
		proposal = u"Advised, nothing is written: %s" % one["proposal"]
	batch = u", batch %s" % one["batch"] if one["batch"] else ""
	at = u" at %s" % one["location"] if one["location"] else ""
	about = [u"order " + one["order"] if one["order"] else "", u"found %s" % _ago(one["age"]), STATES.get(one["state"], one["state"])]
	return {
		"page": "/approval/%d" % posting if posting else u"/trace/event:%s" % one["event"],
		"risk": one["risk"].upper(),
		"dress": DRESS.get(one["risk"], ""),
		"cause": _begun(one["cause"]),
		"where": (u"%s  %s%s%s" % (one["text"], one["material"], at, batch)).strip(),
		"evidence": _begun(one["evidence"]),
		"about": u",  ".join([part for part in about if part]),
		"amount": one["quantity"],
		"sense": one["sense"],
		"worth": one["worth"],
		"proposal": proposal,
		"button": "Look and sign" if waits and posting else "Look",
	}


def _begun(text):
	"""As a sentence begins."""
	return text[:1].upper() + text[1:]


def _ago(age):
	return "just now" if age == "now" else age + " ago"


def _dressed(one):
	shown = dict(one)
	shown["risk"] = one["risk"].upper()
	return _cell(shown, "risk", DRESS.get(one["risk"], ""))


def _blocked(one):
	stands = one["dead"] or one["doubtful"]
	name = "Gatepost/Stands/High" if stands else "Gatepost/Stands/Medium" if one["held"] else "Gatepost/Stands/Low"
	return _cell(one, "constraint", name)
