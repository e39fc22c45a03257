# One timer of the gateway polls the agent; what it hears is in tags, which every session binds.

# What was written last, so that a tag changes only when there is something else to show. Lost when the project is
# saved: then everything is written once more.
LAST = {"board": None, "written": {}, "away_since": None}


def run():
	"""Ask once, and write what is new. Harmless when it runs twice, or on the second node of a pair."""
	gateway = gatepost.gateway
	known = LAST["board"]
	try:
		heard = gatepost.agent.board(known["version"] if known else "")
	except gateway.Unreachable as error:
		_away(gateway, u"no answer: %s" % error.message)
	except gatepost.agent.Refused as error:
		_away(gateway, u"%s (%s)" % (error.message, error.code))
	else:
		_here(gateway, known, heard)


def _here(gateway, known, heard):
	board = known if heard["unchanged"] else heard
	if board is None:
		return
	LAST["board"], LAST["away_since"] = board, None
	ages = dict(board)
	ages["now"] = heard["now"]
	values = gatepost.board.numbers(ages)
	values.update({"Board/Online": True, "Board/Away": ""})
	fresh = _new(values)
	for name, (columns, rows) in gatepost.board.tables(ages).items():
		if _new({name: rows}):
			fresh[name] = gateway.table(columns, rows)
	gateway.write(fresh)


def _away(gateway, why):
	"""What was shown stays; only that it is old, and since when, is new."""
	if LAST["away_since"] is None:
		LAST["away_since"] = gateway.now_ms()
		gateway.LOG.warn(u"the agent is away: %s" % why)
	since = gateway.moment(LAST["away_since"])
	gateway.write(_new({"Board/Online": False, "Board/Away": why, "Board/AwaySince": since}))


def _new(values):
	fresh = dict([(name, value) for name, value in values.items() if LAST["written"].get(name, _new) != value])
	LAST["written"].update(fresh)
	return fresh
