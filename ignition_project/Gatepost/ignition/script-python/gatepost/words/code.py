# What people read: ages, quantities, kinds, states, and what a signature means.

import calendar
from datetime import datetime, timedelta

KINDS = {"goods_issue": "Goods issue", "confirmation": "Confirmation", "reversal": "Reversal"}
STATES = {
	"held": "waits for a person", "ready": "goes to the ERP", "sending": "is being sent", "in_doubt": "sent, no answer",
	"doubtful": "booked or not: a person looks", "dead": "refused by the ERP", "acknowledged": "booked",
	"refused": "refused", "superseded": "corrected", "simulated": "would have been posted",
}
MEANINGS = {
	"approve": "I approve this posting as it is shown",
	"refuse": "I refuse this posting; it shall not be booked",
	"correct": "I correct this posting and approve it with my figures",
}
CHOICES = {"scrap": "Scrap", "rework": "Rework", "use_as_is": "Use as it is"}
MEANINGS.update({
	"scrap": "I choose that so much of this lot is scrapped",
	"rework": "I choose that so much of this lot is reworked",
	"use_as_is": "I choose that so much of this lot is used as it is",
})
OTHER = "Other: see comment"
REASONS = {
	"approve": ["Measured again, it is right", "Start-up or rework explains it", "Agreed with the shift lead", OTHER],
	"refuse": ["Scale or counter was wrong", "Reported twice", "Wrong order or material", OTHER],
	"scrap": ["Cannot be used", "Agreed with quality", OTHER],
	"rework": ["Can be mended", "Agreed with quality", OTHER],
	"use_as_is": ["The defect does not matter here", "Agreed with the customer", OTHER],
	"correct": ["Scale was not tared", "Counted by hand", "Reason was missing", "Looked at the piece", OTHER],
}
FIELDS = {"quantity": "Quantity", "yield": "Yield", "scrap": "Scrap", "rework": "Rework", "scrap_reason": "Scrap reason", "cause": "Cause", "account": "G/L account"}


def moment(text):
	"""Milliseconds since 1970 of an ISO time in UTC, as the agent writes it."""
	day, clock = text[:10].split("-"), text[11:19].split(":")
	return calendar.timegm([int(one) for one in day + clock]) * 1000


def iso(ms):
	"""ISO time in UTC of milliseconds since 1970."""
	at = datetime(1970, 1, 1) + timedelta(milliseconds=ms)
	return at.strftime("%Y-%m-%dT%H:%M:%S.%f+00:00")


def age(seconds):
	"""How long something has waited, in the coarsest unit that helps."""
	if seconds < 60:
		return "now"
	if seconds < 3600:
		return "%d min" % (seconds // 60)
	if seconds < 2 * 86400:
		return "%d h" % (seconds // 3600)
	return "%d d" % (seconds // 86400)


def amount(number, unit):
	"""A decimal string with its unit: zeros that say nothing go, thousands are set apart by a thin gap."""
	text = u"%s" % (number or "")
	if not text:
		return u""
	whole, _, part = text.partition(".")
	part = part.rstrip("0")
	sign, digits = (u"-", whole[1:]) if whole.startswith("-") else (u"", whole)
	groups = []
	while len(digits) > 3:
		groups.insert(0, digits[-3:])
		digits = digits[:-3]
	text = sign + u" ".join([digits] + groups) + (u"." + part if part else u"")
	return (text + u" " + unit).strip() if unit else text


def money(number, currency):
	"""A decimal string with its currency, two decimals."""
	whole, _, part = (u"%s" % (number or "0")).partition(".")
	return u"%s.%s %s" % (amount(whole, ""), (part + "00")[:2], currency)


def kind(name):
	"""A kind of posting."""
	return KINDS.get(name, name.replace("_", " ").capitalize())


def state(name):
	"""A state of a posting."""
	return STATES.get(name, name)


def reasons(decision):
	"""What a dropdown offers as reasons for a decision."""
	return [{"value": one, "label": one} for one in REASONS.get(decision, [])]


def one_line(text):
	"""Text from a field in one line, as it is signed."""
	return u" ".join((u"%s" % (text or "")).split())


def figure(text):
	"""A number or a code as somebody typed it, with a point for a decimal comma."""
	return one_line(text).replace(",", ".")


def number(text):
	"""A posting's number out of a page's address; 0 where it is none."""
	text = u"%s" % (text or "")
	return int(text) if text.isdigit() else 0
