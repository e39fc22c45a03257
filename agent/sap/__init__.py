"""How to speak to SAP: session, CSRF token, OAuth, $metadata; used by the target and by the order source."""
