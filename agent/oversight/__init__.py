"""What decides, watched: challengers, promotion, doubt, explanations, decisions computed again, parallel runs."""
