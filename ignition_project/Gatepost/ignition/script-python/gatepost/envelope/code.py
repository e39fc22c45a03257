# The envelope of a signature: the very bytes that are sent, and the headers that seal them.

import hashlib
import hmac
import json


def body(content):
	"""JSON in ASCII alone, so that the bytes are the same whatever encoding a client takes for text."""
	return json.dumps(content, sort_keys=True, separators=(",", ":"))


def headers(text, nonce, secret, now_ms):
	"""HMAC-SHA256 over time, nonce and the body's SHA-256."""
	seconds = "%d" % (now_ms // 1000)
	sealed = "\n".join([seconds, nonce, hashlib.sha256(text.encode("utf-8")).hexdigest()])
	code = hmac.new(secret.encode("utf-8"), sealed.encode("utf-8"), hashlib.sha256).hexdigest()
	return {"X-Gatepost-Timestamp": seconds, "X-Gatepost-Signature": code}
