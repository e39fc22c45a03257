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
		_here(gateway, known, heard)
	except gateway.Unreachable as error:
		_away(gateway, error.message)
	except gatepost.agent.Refused as error:
		_away(gateway, u"%s (%s)" % (error.message, error.code))
	except Exception as error:  # whatever it is, nobody shall take old tags for new ones
		_away(gateway, u"its answer is not understood: %r" % error)


def _here(gateway, known, heard):
	board = known if heard["unchanged"] else heard
	ages = dict(board)
	ages["now"] = heard["now"]
	values, tables = gatepost.board.numbers(ages), gatepost.board.tables(ages)
	values.update({"Board/Online": True, "Board/Away": ""})
	LAST["board"], LAST["away_since"] = board, None
	fresh = _new(values)
	for name, (columns, rows) in tables.items():
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
