# What the agent is asked, one function a request. Paths and fields are those of docs/ignition/contract.md.

import json

PLAIN = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~"


class Refused(Exception):
	"""The agent answered, and not with yes: `code` to compare, `message` to show, `status` of HTTP."""

	def __init__(self, status, said):
		self.status = status
		self.code = said.get("error") or "http_%s" % status
		self.message = said.get("message") or "the agent answers %s" % status
		Exception.__init__(self)


def board(since):
	"""Everything that lives in the views; only the version where nothing changed since."""
	return _read(gatepost.gateway.get("/v1/board?since=" + quoted(since)))


def approval(id, roles):
	"""One posting as somebody with these roles may see it."""
	query = "&".join(["roles=" + quoted(one) for one in roles])
	return _read(gatepost.gateway.get("/v1/approvals/%d?%s" % (id, query)))


def challenge(id, body):
	"""A nonce for one signature."""
	return _read(gatepost.gateway.post("/v1/approvals/%d/challenge" % id, body, {}))


def sign(id, body, headers):
	"""Approve or refuse, signed."""
	return _read(gatepost.gateway.post("/v1/approvals/%d/sign" % id, body, headers))


def correct(id, body, headers):
	"""Put other figures in its place, signed."""
	return _read(gatepost.gateway.post("/v1/approvals/%d/correct" % id, body, headers))


def lot(id, roles):
	"""A lot that a posting keeps from use, as somebody with these roles may see it, and what may become of it."""
	query = "&".join(["roles=" + quoted(one) for one in roles])
	return _read(gatepost.gateway.get("/v1/follow-ons/%d?%s" % (id, query)))


def lot_challenge(id, body):
	"""A nonce for one choice."""
	return _read(gatepost.gateway.post("/v1/follow-ons/%d/challenge" % id, body, {}))


def lot_sign(id, body, headers):
	"""Choose what becomes of it, signed."""
	return _read(gatepost.gateway.post("/v1/follow-ons/%d/sign" % id, body, headers))


def trace(name):
	"""The whole life of what has this name."""
	return _read(gatepost.gateway.get("/v1/trace/" + quoted(name)))


def quoted(text):
	"""Text as a part of an address."""
	found = [chr(byte) if chr(byte) in PLAIN else "%%%02X" % byte for byte in bytearray(text.encode("utf-8"))]
	return "".join(found)


def _read(answer):
	status, text = answer
	try:
		said = json.loads(text)
	except ValueError:
		raise Refused(status, {"message": "what answers with %s at this address is not the agent" % status})
	if status != 200:
		raise Refused(status, said)
	return said
