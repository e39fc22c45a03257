# What a session sees of the queue: filtered and dressed. Pure, and no wider than the rows that the tag holds.

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
	return not words or words in u" ".join([u"%s" % value for value in one.values()]).lower()


def _dressed(one):
	shown = dict(one)
	shown["risk"] = one["risk"].upper()
	return _cell(shown, "risk", DRESS.get(one["risk"], ""))


def _blocked(one):
	stands = one["dead"] or one["doubtful"]
	name = "Gatepost/Stands/High" if stands else "Gatepost/Stands/Medium" if one["held"] else "Gatepost/Stands/Low"
	return _cell(one, "constraint", name)
