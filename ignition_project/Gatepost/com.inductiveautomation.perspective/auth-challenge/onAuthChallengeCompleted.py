def onAuthChallengeCompleted(session, payload, result):
	if payload is not None and "page" in payload and "content" in payload:
		gatepost.signing.complete(session.props.id, session.props.auth.idp, payload, result)
