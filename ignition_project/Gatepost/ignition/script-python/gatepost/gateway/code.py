# What touches the gateway: tags, secrets, HTTP, clock, messages, the challenge. Everything else of this library is
# plain Python and runs without one.
#
# Marked UNVERIFIED is what nobody has tried on a real gateway yet; ignition_project/README.md has the list.

from java.lang import Exception as JavaException
import time

LOG = system.util.getLogger("gatepost")
CONNECT_MS = 2000
ANSWER_MS = 4000
FOLDER = "[default]Gatepost/"
SECRETS = "Gatepost"  # name of the secret provider
# Java asks for HTTP/2 by default, which the agent does not speak.
CLIENT = system.net.httpClient(timeout=CONNECT_MS, version="HTTP_1_1")


class Unreachable(Exception):
	"""No answer of the agent: `message` says what went wrong."""

	def __init__(self, message):
		Exception.__init__(self)
		self.message = message


class NoSecret(Unreachable):
	"""The gateway has no token or no signing secret, or may not read it."""


class NoSigner(Exception):
	"""The challenge was passed, and who passed it cannot be read."""


def now_ms():
	"""Milliseconds since 1970, by the gateway's clock."""
	return int(time.time() * 1000)


def read(name):
	"""The value of one of our tags; None where it is not there or not good."""
	found = system.tag.readBlocking([FOLDER + name])[0]
	return found.value if found.quality.isGood() else None


def write(values):
	"""Write name -> value into our tags, in one call."""
	if values:
		names = sorted(values)
		results = system.tag.writeBlocking([FOLDER + name for name in names], [values[name] for name in names])
		for name, result in zip(names, results):
			if not result.isGood():
				LOG.warn("tag %s%s was not written: %s; import tags/gatepost.json" % (FOLDER, name, result))


def table(columns, rows):
	"""Rows as what a tag of type DataSet keeps."""
	return system.dataset.toDataSet(columns, rows)  # iglint: ignore[SCR204] 8.1 has no other spelling


def secret(name):
	"""`gatepost-token` or `gatepost-signing`: of the secret provider (8.3), else of the gateway's environment (8.1).

	Raises NoSecret.
	"""
	try:
		if hasattr(system, "secrets"):
			with system.secrets.readSecretValue(SECRETS, name) as kept:
				return kept.getSecretAsString()
		return _of_environment(name.upper().replace("-", "_"))
	except (Exception, JavaException) as error:
		raise NoSecret(u"the secret %s cannot be read: %s" % (name, error))


def _of_environment(name):
	from java.lang import System as JavaSystem
	found = JavaSystem.getenv(name) or JavaSystem.getProperty(name)
	if not found:
		raise ValueError("the gateway's environment has no %s" % name)
	return found


def moment(ms):
	"""Milliseconds since 1970 as what a tag of type DateTime keeps."""
	return system.date.fromMillis(ms)


def get(path):
	"""Status and text of an answer. Raises Unreachable."""
	return _asked(lambda url, headers: CLIENT.get(url, headers=headers, timeout=ANSWER_MS), path, {})


def post(path, body, headers):
	"""Status and text of an answer to these very bytes. Raises Unreachable."""
	sent = dict(headers)
	sent["Content-Type"] = "application/json"
	return _asked(lambda url, all: CLIENT.post(url, data=body, headers=all, timeout=ANSWER_MS), path, sent)


def _asked(how, path, headers):
	address = read("Settings/Address")
	if not address:
		raise Unreachable("the tag %sSettings/Address is empty: it has the address of the agent" % FOLDER)
	headers["Authorization"] = "Bearer " + secret("gatepost-token")
	try:
		answer = how(address.rstrip("/") + path, headers)
		return answer.statusCode, answer.text
	except (Exception, JavaException) as error:
		raise Unreachable(u"no answer: %s" % error)


def challenge(session_id, page_id, minutes, payload):
	"""Ask whoever stands there to prove who they are. The answer arrives in the session's auth-challenge event."""
	system.perspective.authenticationChallenge(
		sessionId=session_id, pageId=page_id, forceAuth=True, timeout=minutes, payload=payload
	)


def identity(result):
	"""Who passed the challenge, in the contract's words. Raises NoSigner. UNVERIFIED: the getters of the context.

	All access to Ignition's objects about the signer is in this function: if one has another name on your version, it
	is mended here, and only here.
	"""
	try:
		user = result.getAsSuccess().getContext().getUser()
		known = [user.get(one) for one in ("username", "firstname", "lastname")]
		roles = [u"%s" % one for one in user.getRoles()]
	except (Exception, JavaException) as error:
		raise NoSigner(u"%s" % error)
	if not known[0]:
		raise NoSigner("the user has no name")
	return {"user": u"%s" % known[0], "full_name": u" ".join([u"%s" % one for one in known[1:] if one]), "roles": roles}


def failure(result):
	"""Why a challenge ended without a signer: generic, timeout or cancelled. UNVERIFIED: the error's form."""
	return (u"%s" % result.getAsError()).lower()


def tell(session_id, page_id, message, payload):
	"""Tell the views of one page."""
	system.perspective.sendMessage(message, payload, scope="page", sessionId=session_id, pageId=page_id)


def note(action, target, value, actor):
	"""A second copy of a decision in the gateway's own audit profile, where one is named; the agent's is the record."""
	profile = read("Settings/AuditProfile")
	if profile:
		try:
			system.util.audit(action=action, actionTarget=target, actionValue=value, actor=actor, auditProfile=profile)
		except (Exception, JavaException) as error:
			LOG.warn("audit profile %s took nothing: %s" % (profile, error))


def name():
	"""What this gateway calls itself in a signature."""
	return read("Settings/GatewayName") or "gateway"


def go(page):
	"""Show another page of the session whose script this is."""
	system.perspective.navigate(page=page)
