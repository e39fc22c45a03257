"""How people are told something: by a topic, a web address or mail. One file per channel."""
