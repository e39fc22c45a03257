# The board of the agent as values of tags. Pure: the same board makes the same values.

APPROVALS = [
	"id", "version", "risk", "kind", "line", "order", "material", "quantity", "worth", "age", "reason",
]
ORDERS = ["order", "material", "quantity", "status", "held", "waiting", "dead", "doubtful", "since", "constraint"]
FINDINGS = [
	"id", "event", "posting", "risk", "cause", "material", "text", "location", "batch", "order", "quantity", "sense",
	"worth", "age", "evidence", "state", "proposal",
]
LOTS = ["id", "since", "lot", "order", "material", "left", "severity", "usual"]
SOURCES = ["name", "state", "trouble"]
TARGETS = ["name", "state", "trouble", "in_the_air"]
MINUTE = 60000  # milliseconds
MODELS = ["workflow", "model", "drift"]


def tables(board):
	"""Name of a tag -> columns and rows, of what is listed. Ages move on together, at the full minute: with each row at
	a time of its own, five hundred would send a new table to every session at nearly every poll."""
	words, now = gatepost.words, gatepost.words.moment(board["now"]) // MINUTE * MINUTE
	health = board["health"]
	return {
		"Board/Approvals": (APPROVALS, [_approval(one, now, words) for one in board["approvals"]]),
		"Board/Orders": (ORDERS, [_order(one, now, words) for one in board["orders"]]),
		"Board/Findings": (FINDINGS, [_finding(one, now, words) for one in board["findings"] or []]),
		"Board/Lots": (LOTS, [_lot(one, now, words) for one in board["lots"]]),
		"Board/Sources": (SOURCES, [_source(one) for one in health["sources"]]),
		"Board/Targets": (TARGETS, [_target(one) for one in health["targets"]]),
		"Board/Models": (MODELS, [[one["workflow"], one["model"], one["drift"] or "as trained"] for one in health["models"]]),
	}


def numbers(board):
	"""Name of a tag -> value, of what is counted."""
	health, counts = board["health"], board["counts"]
	now, oldest = gatepost.words.moment(board["now"]), health["oldest_at"]
	return {
		"Board/Version": board["version"],
		"Board/Held": counts["held"],
		"Board/HighRisk": counts["high_risk"],
		"Board/Dead": counts["dead"],
		"Board/Doubtful": counts["doubtful"],
		"Board/Quarantined": counts["quarantined"],
		"Board/LeftOut": board["left_out"],
		"Board/FindingsLeftOut": board["findings_left_out"],
		"Board/Reconciles": board["findings"] is not None,
		"Board/Backlog": health["backlog"],
		"Board/OldestAge": gatepost.words.age((now - gatepost.words.moment(oldest)) // 1000) if oldest else "",
		"Board/Ready": health["ready"],
		"Board/Reason": health["reason"],
		"Board/ChainOk": health["chain_ok"],
	}


def _approval(one, now, words):
	waited = (now - words.moment(one["created_at"])) // 1000
	signed = u"%d of %d signed: " % (len(one["signed_by"]), one["signers"]) if one["signers"] > 1 else u""
	return [
		one["id"], one["version"], one["risk"], words.kind(one["kind"]), one["line"], one["order"],
		one["material_text"] or one["material"], words.amount(one["quantity"], one["unit"]),
		words.money(one["value"], one["currency"]), words.age(waited) + (" !" if one["escalated"] else ""),
		signed + one["reason"],
	]


def _order(one, now, words):
	since = words.age((now - words.moment(one["since"])) // 1000) if one["since"] else ""
	return [
		one["order"], one["material_text"] or one["material"], words.amount(one["quantity"], one["unit"]), one["status"],
		one["held"], one["waiting"], one["dead"], one["doubtful"], since, one["constraint"] or "nothing stands in the way",
	]


def _finding(one, now, words):
	proposal, age = one["proposal"], words.age((now - words.moment(one["found_at"])) // 1000)
	sense = "too little booked" if one["excess"].startswith("-") else "too much booked"
	return [
		one["id"], one["event"], (proposal["id"] or 0) if proposal else 0, one["risk"], one["cause"], one["material"],
		one["material_text"], one["storage_location"], one["batch"], one["order"],
		words.amount(one["excess"].lstrip("-"), one["unit"]), sense if float(one["excess"]) else "",
		words.money(one["value"], one["currency"]), age, u"; ".join(one["evidence"]), one["state"],
		_proposed(proposal, words) if proposal else "",
	]


def _proposed(one, words):
	"""What would put it right: of which kind, how much, or which document it takes back."""
	if one["takes_back"]:
		return u"take back document %s" % one["takes_back"]
	return u"%s %s" % (words.kind(one["kind"]).lower(), words.amount(one["quantity"], one["unit"]))


def _lot(one, now, words):
	usual, cost = one["suggested"], one["costs"][one["suggested"]]
	told = u"%s, costs %s" % (words.CHOICES[usual], words.money(cost, one["currency"])) if cost else words.CHOICES[usual]
	return [
		one["posting"], words.age((now - words.moment(one["since"])) // 1000), one["lot"], one["order"],
		u"%s  %s" % (one["material_text"], one["material"]), words.amount(one["left"], one["unit"]) or "the whole batch",
		one["severity"], told,
	]


def _source(one):
	return [one["name"], "connected" if one["connected"] else "not connected", one["error"]]


def _target(one):
	return [one["name"], "available" if one["available"] else "waits", one["trouble"], one["in_the_air"]]
